"""Benchmarks and the making of shipped models: run by hand, never timed in the tests."""
