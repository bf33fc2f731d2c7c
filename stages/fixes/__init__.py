"""Fixes of hotspots: small moves of drawn edges that print and keep the design's rules."""
