"""The sample layouts, read once for all scans of a test run.

Reading one starts a process, which loads compiled kernels: two seconds of a test's three.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.layout import ingest
from tests.support.shared import make_once
from tests.support.small_scan import DENSE

read = ingest._read


def read_samples_once(factory: pytest.TempPathFactory) -> None:
    """Read a sample layout the first time it is asked for; copy what was read from then on."""

    def read_or_copy(
        path: Path, scratch: Path, request: dict[str, Any], limits: ingest.Limits
    ) -> tuple[Path, tuple[str, ...]]:
        if path.resolve().parent != DENSE.parent:
            return read(path, scratch, request, limits)

        def make(folder: Path) -> None:
            _, notes = read(path, folder, request, limits)
            (folder / "notes.json").write_text(json.dumps(notes))

        asked = json.dumps([path.name, request, repr(limits)])
        name = f"read-{hashlib.blake2b(asked.encode(), digest_size=8).hexdigest()}"
        folder = make_once(factory, name, make)
        shutil.copytree(folder / "out", scratch / "out")
        return scratch / "out", tuple(json.loads((folder / "notes.json").read_text()))

    ingest._read = read_or_copy
