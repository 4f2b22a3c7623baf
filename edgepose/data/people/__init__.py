"""Synthetic people: a deterministic renderer of people with known joints.

skeleton3d and poses make a posed 3D skeleton, body and wardrobe put flesh and clothes on it,
camera looks at it, raster turns the mesh into pixels, background/props/finish make it a picture,
scene puts one picture together. World: metres, x = the person's left, y up, z = forward.
"""
