"""Lithography simulation of regions and of hotspots, unit by unit."""
