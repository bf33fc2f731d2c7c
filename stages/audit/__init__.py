"""Audit: how many hotspots a scan missed, by random samples; certify: until enough are known."""
