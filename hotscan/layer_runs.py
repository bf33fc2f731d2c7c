"""Scans of several layers, each judged by itself."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from hotscan.runs import Run
from hotscan.settings import PathLike, SessionSettings, progress_of, refuse_unknown, resources

if TYPE_CHECKING:
    import pyarrow as pa


class LayerRuns:
    """A scan of several layers in its run directory.

    Attributes
    ----------
    path : pathlib.Path
        The run directory.

    Raises
    ------
    UsageError
        When the directory holds no run of several layers.
    """

    def __init__(self, path: PathLike) -> None:
        from pipeline.scan.layers import is_of_layers
        from stages.errors import UsageError

        self.path = Path(path)
        if not is_of_layers(self.path):
            raise UsageError(f"{self.path} holds a scan of one layer; open it as a hotscan.Run")

    def __repr__(self) -> str:
        return f"<hotscan.LayerRuns {str(self.path)!r}: {', '.join(self.runs)}>"

    def status(self) -> dict[str, Any]:
        """Return how far the scan is: its state, and the status of each layer that has begun."""
        from pipeline.scan.layers import status_any

        return status_any(self.path)

    @property
    def runs(self) -> dict[str, Run]:
        """The scan of each layer that has begun, by layer/datatype."""
        from pipeline.scan.layers import list_begun

        return {layer: Run(path) for layer, path in list_begun(self.path).items()}

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` holds: counts of all layers, and in ``layers`` a row for each.

        Raises
        ------
        IncompleteError
            When the scan has not come to its report.
        """
        values: dict[str, Any] = json.loads(self._find("metrics.json").read_text())
        return values

    @property
    def complete(self) -> bool:
        """Whether every place of every layer has a verdict."""
        return bool(self.status()["state"] == "complete")

    @property
    def hotspots(self) -> pa.Table:
        """The hotspots of all layers, with the columns ``layer`` and ``layer_name``.

        Raises
        ------
        IncompleteError
            When the scan has not come to its report.
        """
        import pyarrow.parquet as pq

        from pipeline.engine.storage.tables import explain_damage

        path = self._find("hotspots.parquet")
        with explain_damage(path, advice="write it again with run.resume()"):
            return pq.read_table(path)

    def resume(self, **session: Unpack[SessionSettings]) -> LayerRuns:
        """Continue a scan that was stopped, with the settings that it began with."""
        from pipeline.scan.layers import resume_layers

        refuse_unknown("resume", session, SessionSettings)
        with progress_of(session) as listen:
            resume_layers(self.path, resources(session), listen)
        return LayerRuns(self.path)

    def _find(self, name: str) -> Path:
        from stages.errors import IncompleteError

        path = self.path / "report" / name
        if not path.exists():
            raise IncompleteError(f"{self.path} has no report yet; finish it with run.resume()")
        return path

    def _repr_html_(self) -> str:
        names = ("shown", "hotspots", "hotspots_confirmed", "model", "known", "complete")
        head = "".join(f"<th>{name}</th>" for name in names)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(row[name]))}</td>" for name in names) + "</tr>"
            for row in self.metrics["layers"]
        )
        return f"<table><caption>hotscan scan</caption><tr>{head}</tr>{rows}</table>"
