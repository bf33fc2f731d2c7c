"""What changed between two scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hotscan.runs import Run
from hotscan.settings import PathLike

if TYPE_CHECKING:
    import pyarrow as pa

    from hotscan.runs import Format
    from pipeline.report.compare import Comparison


class Diff:
    """Two scans, compared by the geometry around what fails.

    Attributes
    ----------
    counts : dict
        How many hotspots are ``new``, ``fixed``, ``moved``, ``same``; of those that were there, how
        many are ``worse``; of the new ones, how many are ``waived``.
    complete : bool
        Whether both scans are: else what is new may have been there before.
    """

    def __init__(self, found: Comparison) -> None:
        self._found = found
        self.counts = found.count()
        self.complete = found.complete

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {self.counts[name]:,}" for name in ("new", "fixed", "moved"))
        return f"<hotscan.Diff: {told}, same {self.counts['same']:,}>"

    @property
    def table(self) -> pa.Table:
        """A row per hotspot of the second scan, and per one of the first that is fixed."""
        import pyarrow as pa

        return pa.Table.from_pylist(self._found.list_rows())

    def export_new(self, format: Format, out: PathLike) -> Path:
        """Write the new hotspots for another tool, as `Run.export`; return the path."""
        from pipeline.report.export import export_hotspots

        export_hotspots(self._found.view_of_new, format, Path(out), [])
        return Path(out)


def diff(before: Run | PathLike, after: Run | PathLike, *, waivers: PathLike | None = None) -> Diff:
    """Compare two scans of a layout before and after it was edited.

    Parameters
    ----------
    before, after
        Runs, or their directories.
    waivers
        File of waivers for both, in place of those that they were scanned with.

    Raises
    ------
    UsageError
        When they are of different processes, layers, database units or radii, or only one is
        simulated.
    """
    from pipeline.report.compare import compare_runs

    first, second = (run if isinstance(run, Run) else Run(run) for run in (before, after))
    file = Path(waivers) if waivers is not None else None
    return Diff(compare_runs(first.path, second.path, file, (first._model, second._model)))
