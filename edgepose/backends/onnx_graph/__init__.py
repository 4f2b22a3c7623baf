"""One quantized graph as ONNX, and the dialects that runtimes want it in."""
