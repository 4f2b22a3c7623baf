"""The one INT8 grid: quantizer, calibration, the quantized graph."""
