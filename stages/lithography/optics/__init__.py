"""From mask to image to resist."""
