"""Lithography simulation of regions and hotspots, unit by unit."""
