"""Joints in pictures, videos and cameras: frames in, people with names, files out."""
