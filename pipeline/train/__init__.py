"""Training detectors on datasets."""
