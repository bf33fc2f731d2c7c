"""Audit: how many hotspots a scan missed, estimated from a random sample of simulated clips."""
