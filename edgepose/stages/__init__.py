"""One file per recipe word. Each exposes `Config` and `run(model, config, context)`."""
