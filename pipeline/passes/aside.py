"""Compile kernels beside a scan, from the last that it needs.

in       the model of a scan
out      kernels, in the cache
promise  nothing, where those of scoring are there, or there is one processor; if a process fails,
         the scan compiles them itself

One process compiles the kernels of scoring, one the others from the last to the first, the scan
from the first to the last. Where two meet, one waits for the other (`stages.compiler`). It is for
the first scan on a machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.engine.memory import look_for_garbage_seldom
from pipeline.passes.model_file import ModelFile
from stages.compiled import interpreting_brief
from stages.detector.integer import kernels
from stages.kernel_folders import has_kernels
from stages.threads import count_processors

_CHILD = [sys.executable, "-P", "-m", "pipeline.passes.aside"]


@contextmanager
def compile_aside(model: ModelFile, is_compiled: bool) -> Iterator[None]:
    """Compile in other processes, if it is needed, as long as this one does its work.

    Parameters
    ----------
    is_compiled
        Whether this machine scores by kernels: a network in integers, and no workers of others.
    """
    if count_processors() < 2 or not is_compiled or has_kernels(Path(kernels.__file__)):
        yield
        return
    root = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    processes = [
        subprocess.Popen(
            [*_CHILD, *arguments], env=os.environ | {"PYTHONPATH": python_path},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for arguments in ((str(model.path), model.digest), ())
    ]  # fmt: skip
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Compile the kernels of the model whose path and digest are given, else those of drawing."""
    look_for_garbage_seldom()
    import pipeline.engine.without_torch  # before what imports torch
    from pipeline.passes.units import measure_scoring

    if sys.argv[1:]:
        path, digest = sys.argv[1:]
        measure_scoring(ModelFile(Path(path), digest), "cpu", True, "int8")
    else:
        with interpreting_brief(True):  # what a small layout needs no kernels for
            import pipeline.passes.preload  # noqa: F401 - draws


if __name__ == "__main__":
    main()
