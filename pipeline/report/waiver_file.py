"""Files of waivers: read, added to, and taken from.

in       the path of a file
out      its waivers, checked
promise  a file that cannot be read whole is refused by name, never taken for an empty one; it is
         written whole or not at all
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.engine.storage.run_directory import write_whole
from stages.errors import ConfigError, UsageError
from stages.review.waivers import Waiver, format_waivers, parse_waivers

_MOST_BYTES = 256 << 20


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """Return the waivers of a file.

    Raises
    ------
    UsageError
        When the file cannot be read.
    ConfigError
        When something in it is refused.
    """
    try:
        if path.stat().st_size > _MOST_BYTES or not path.is_file():
            raise UsageError(f"waivers {path} is no file of at most {_MOST_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"waivers {path} cannot be read ({error.strerror}); give --waivers the file that "
            "`hotscan waive` wrote"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"waivers {path}: it is not UTF-8: {error}") from error
    try:
        return parse_waivers(text)
    except ConfigError as error:
        raise ConfigError(f"waivers {path}: {error}") from error


def add_waiver(path: Path, waiver: Waiver) -> None:
    """Add a waiver to a file, which is created when absent; one of the same id is replaced.

    Raises
    ------
    UsageError, ConfigError
        As `read_waivers`, and when the file cannot be written.
    """
    before = read_waivers(path) if path.exists() else ()
    _write(path, [*(each for each in before if each.id != waiver.id), waiver])


def remove_waiver(path: Path, waiver: str) -> None:
    """Take a waiver out of a file, by its id; errors as of `add_waiver`."""
    _write(path, [each for each in read_waivers(path) if each.id != waiver])


def _write(path: Path, waivers: Sequence[Waiver]) -> None:
    try:
        write_whole(path, format_waivers(waivers).encode())
    except OSError as error:
        raise UsageError(
            f"waivers {path} cannot be written ({error.strerror}); choose another --waivers"
        ) from error
