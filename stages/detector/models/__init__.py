"""Trained detectors: the checkpoint, a user's own module, ONNX, and what a scan asks of each."""
