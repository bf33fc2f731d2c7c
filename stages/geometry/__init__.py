"""Compiled kernels over integer geometry, the ground that all stages stand on."""
