"""A part of a scan, for job arrays without Dask: ``--shard i/n``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.errors import UsageError
from stages.tiles import Tile


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the tiles: consecutive ones, as neighbours share patterns."""

    number: int
    """From 1."""
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse ``i/n``.

        Raises
        ------
        UsageError
            The text is not of that form.
        """
        number, _, of = text.partition("/")
        if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
            return cls(int(number), int(of))
        raise UsageError(f"--shard {text!r} is not i/n, part i of n, i from 1 to n")

    def choose(self, tiles: Sequence[Tile]) -> tuple[Tile, ...]:
        """Return the tiles of this part."""
        ends = [len(tiles) * part // self.of for part in (self.number - 1, self.number)]
        return tuple(tiles[slice(*ends)])
