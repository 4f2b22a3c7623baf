"""What the backends share: the manifest's header, the ONNX Runtime session, this CPU's name."""
