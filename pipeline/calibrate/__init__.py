"""Fitting a process to measurements: the file of gauges, the layout to measure, the result."""
