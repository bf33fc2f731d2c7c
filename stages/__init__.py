"""The computation: functions of values, each over one unit of work.

A stage knows no run directory, no Zarr and no Dask; what it returns depends on its arguments
alone. Five modules touch files, because their format or their cache is part of the computation:
`stages.layout` reads layout files, `stages.detector.models.checkpoint` reads and writes model
files, and `stages.compiler`, `stages.kernel_folders` and
`stages.lithography.optics.kernel_cache` keep compiled functions and optical kernels on disk, which
are the same whether they are loaded or computed.
Everything else that is written, `pipeline` writes.
"""
