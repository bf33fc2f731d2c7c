"""What a scan finds, misses and saves; classes, fixes, waivers and the review."""
