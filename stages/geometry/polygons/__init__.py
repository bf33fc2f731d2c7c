"""Exact coverage of polygons of any angle."""
