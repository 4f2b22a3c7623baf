"""What runs on the device: Python 3.8, numpy, nothing else.

Crop geometry, normalisation, heatmap decoding and timing live here only; the host uses the same
code, so what was scored is what ships.
"""
