"""Compile kernels in a second process, from the last that a scan needs to the first.

in       the model of a scan
out      kernels, in the cache
promise  nothing, where those of scoring are there, or there is one processor; if the process fails,
         the scan compiles them itself

The scan compiles its kernels from the first that it needs. Where both meet, one waits for the other
(`stages.compiler`), so that each processor compiles about half. It is for the first scan on a
machine.
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
    """Compile in a second process, if it is needed, as long as this one does its work.

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
    process = subprocess.Popen(
        [*_CHILD, str(model.path), model.digest], env=os.environ | {"PYTHONPATH": python_path},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Compile the kernels of the model whose path and digest are the arguments, then others."""
    look_for_garbage_seldom()
    import pipeline.engine.without_torch  # before what imports torch
    from pipeline.passes.units import measure_scoring

    path, digest = sys.argv[1:]
    measure_scoring(ModelFile(Path(path), digest), "cpu", True, "int8")
    with interpreting_brief(True):  # what a small layout needs no kernels for
        import pipeline.passes.preload  # noqa: F401 - draws


if __name__ == "__main__":
    main()
