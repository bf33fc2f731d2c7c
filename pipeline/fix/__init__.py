"""Fixes: what to change in the layout so that its hotspots print."""
