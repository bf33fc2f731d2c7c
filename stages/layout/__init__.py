"""Layout files as packed arrays."""
