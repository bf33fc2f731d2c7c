"""An open benchmark: clips of metal and of vias at four densities, labelled after OPC.

``python -m benchmarks.open_benchmark`` makes it; docs/reference/open_benchmark.md is its datasheet.
"""
