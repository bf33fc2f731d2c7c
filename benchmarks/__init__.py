"""Benchmarks and the making of shipped models: run by hand, never timed in the tests."""

import pipeline.cli  # noqa: F401  what the command sets before NumPy is loaded
