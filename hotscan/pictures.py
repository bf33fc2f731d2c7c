"""Drawings, as notebooks show them."""

from __future__ import annotations

from pathlib import Path

from hotscan.settings import PathLike


class Picture(str):
    """A drawing as SVG text; a notebook shows it as a picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)

    def save(self, path: PathLike) -> Path:
        """Write the drawing to a file, and return its path."""
        Path(path).write_text(self, encoding="utf-8")
        return Path(path)


class PngPicture(bytes):
    """A drawing as a PNG; a notebook shows it as a picture."""

    __slots__ = ()

    def _repr_png_(self) -> bytes:
        return bytes(self)

    def save(self, path: PathLike) -> Path:
        """Write the drawing to a file, and return its path."""
        Path(path).write_bytes(self)
        return Path(path)
