"""The command on what hotscan caches: warm."""

from __future__ import annotations

import time

import typer

from pipeline.cli.options import Quiet


def warm(quiet: Quiet = False) -> None:
    """Compile all kernels now, not in the first scan.

    For images, and for installs whose users cannot write the cache; HOTSCAN_CACHE names its folder.
    """
    from pipeline.cli.progress import Progress
    from pipeline.scan.warm import warm_cache

    started = time.monotonic()
    with Progress(quiet=quiet) as progress:
        folder = warm_cache(progress)
    typer.echo(f"all kernels are compiled, in {time.monotonic() - started:.0f} s: {folder}")
