"""Imaging: from mask to image to resist."""
