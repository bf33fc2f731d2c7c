"""The audit of a scan: what it missed, from a random sample of simulated clips."""
