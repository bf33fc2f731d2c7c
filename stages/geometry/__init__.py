"""Compiled kernels on integer geometry, shared by all stages."""
