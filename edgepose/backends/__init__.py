"""One file per runtime: emit an artifact, open it for execution."""
