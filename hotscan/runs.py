"""A scan in its run directory: look at it, resume, audit, fix and export it."""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from hotscan.pictures import Picture
from hotscan.settings import PathLike, SessionSettings, progress_of, refuse_unknown, resources

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from hotscan.detectors import Model
    from pipeline.report.run_view import RunView

Format = Literal["gds", "oas", "lyrdb", "calibre", "junit", "csv", "json", "parquet", "clips"]


class Run:
    """A scan in its run directory.

    Attributes
    ----------
    path : pathlib.Path
        The run directory.

    Raises
    ------
    UsageError
        When the directory holds no run.
    """

    def __init__(self, path: PathLike, model: Model | None = None) -> None:
        from pipeline.engine.storage.replica import locate_run
        from pipeline.engine.storage.run_directory import Run as RunDirectory
        from pipeline.engine.storage.run_record import read_record

        self.path = locate_run(path)
        self._model = model
        self._directory = RunDirectory(self.path)
        read_record(self._directory)

    def __repr__(self) -> str:
        return f"<hotscan.Run {str(self.path)!r}: {self.status()['state']}>"

    def status(self) -> dict[str, Any]:
        """Return how far the scan is: state, units of each stage, what failed."""
        from pipeline.scan.inspect_run import run_status

        return run_status(self.path)

    @property
    def complete(self) -> bool:
        """Whether every place of the area has a verdict."""
        return bool(self.status()["state"] == "complete")

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` holds: counts, coverage, seconds.

        Raises
        ------
        IncompleteError
            When the scan has not come to its report.
        """
        from stages.errors import IncompleteError

        path = self._directory.report / "metrics.json"
        if not path.exists():
            raise IncompleteError(f"{self.path} has no report yet; finish it with run.resume()")
        self._require_intact("report")
        values: dict[str, Any] = json.loads(path.read_text())
        return values

    @property
    def hotspots(self) -> pa.Table:
        """The hotspots, a row each, best score first; lengths in dbu, ``dbu_nm`` in the schema.

        Raises
        ------
        IncompleteError
            When the scan has not come to its hotspots.
        """
        from pipeline.layout.ingest import open_packed
        from pipeline.report.classify import read_findings
        from pipeline.report.run_results import read_hotspot_table, read_hotspots
        from stages.exports.tables import add_findings

        self._require_intact("hotspots", "classes")
        findings = read_findings(self._directory, len(read_hotspots(self._directory)))
        table = read_hotspot_table(self._directory)
        return add_findings(table, findings, open_packed(self._directory.layout).dbu_nm)

    @property
    def classes(self) -> pa.Table:
        """The classes of the hotspots, a row each, those of most hotspots first; lengths in dbu.

        Raises
        ------
        IncompleteError
            When the scan has not come to its classes.
        """
        from pipeline.report.classify import read_class_table

        self._require_intact("classes")
        return read_class_table(self._directory)

    def _require_intact(self, *stages: str) -> None:
        from pipeline.engine.session import require_intact
        from pipeline.engine.storage.ledger import Ledger

        with Ledger(self._directory.ledger, read_only=True) as ledger:
            require_intact(self._directory, ledger, *stages)

    def to_pandas(self) -> Any:
        """Return the hotspots as a pandas data frame; needs pandas."""
        return self.hotspots.to_pandas()

    def resume(self, **session: Unpack[SessionSettings]) -> Run:
        """Continue a scan that was stopped, with the settings that it began with."""
        from pipeline.scan.scan import resume as resume_scan

        refuse_unknown("resume", session, SessionSettings)
        with progress_of(session) as listen:
            resume_scan(self.path, resources(session), listen, self._model)
        return Run(self.path, self._model)

    def audit(
        self, clips: str = "3%", *, seed: int = 0, **session: Unpack[SessionSettings]
    ) -> dict[str, Any]:
        """Estimate how many hotspots the scan missed, from a random sample of simulated clips.

        Parameters
        ----------
        clips
            A share of the clips like ``"3%"``, a number, or what one worker simulates in a time
            like ``"600s"``. With more clips than before, only the added ones are simulated.
        seed
            Another seed draws other clips.

        Returns
        -------
        dict
            The figures of `metrics` whose names begin with ``audit_``.
        """
        from pipeline.config import load_config
        from pipeline.scan.scan import resume as resume_scan

        refuse_unknown("audit", session, SessionSettings)
        asked = load_config(None, {"audit": {"size": clips, "seed": seed}}).audit
        with progress_of(session) as listen:
            resume_scan(self.path, resources(session), listen, self._model, audit=asked)
        return {name: said for name, said in self.metrics.items() if name.startswith("audit_")}

    def fix(
        self,
        out: PathLike | None = None,
        *,
        rules: Mapping[str, Any] | None = None,
        **session: Unpack[SessionSettings],
    ) -> pa.Table:
        """Search for the smallest moves of drawn edges that mend the hotspots of this scan.

        Parameters
        ----------
        out
            Layout file to write, with the fixes applied.
        rules
            Design rules, with the keys of the table ``[fix]``: width_nm, space_nm, grid_nm, vias,
            enclosure_nm.

        Returns
        -------
        pyarrow.Table
            A row per hotspot that fails in simulation: what mends it, or why nothing does.

        Raises
        ------
        UsageError
            When its hotspots were not simulated.
        """
        from pipeline.config import load_config
        from pipeline.engine.storage.tables import read_table
        from pipeline.fix.apply import write_fixed_layout
        from pipeline.report.fix_table import FIXES, TABLE
        from pipeline.scan.scan import resume as resume_scan

        refuse_unknown("fix", session, SessionSettings)
        asked = load_config(None, {"fix": {**(rules or {}), "enabled": True}}).fix
        with progress_of(session) as listen:
            resume_scan(self.path, resources(session), listen, self._model, fixing=asked)
        if out is not None and (lost := write_fixed_layout(self.path, Path(out))):
            warnings.warn("; ".join(lost), stacklevel=2)
        return read_table(self.path / TABLE, FIXES)

    def waive(
        self,
        waivers: PathLike,
        *,
        reason: str,
        by: str,
        classes: Sequence[int] = (),
        hotspots: Sequence[int] = (),
        expires: date | str | None = None,
    ) -> str:
        """Accept hotspots, by the geometry around what fails; return the id of the waiver.

        Parameters
        ----------
        waivers
            File that it is added to, created when absent. Give it to `scan`, `write_report`,
            `export` or `diff`.
        reason, by
            Why they are accepted, and who accepts them.
        classes, hotspots
            Ids; of a class all hotspots that it has now.
        expires
            Last day; no end by default.
        """
        from pipeline.report.waive import WaiveRequest, parse_grounds, waive_hotspots

        request = WaiveRequest(
            run=self.path, file=Path(waivers), grounds=parse_grounds(reason, by, expires),
            classes=classes, hotspots=hotspots, model=self._model,
        )  # fmt: skip
        return waive_hotspots(request).waiver.id

    def export(
        self,
        format: Format,
        out: PathLike,
        *,
        marker_layer: int | None = None,
        waivers: PathLike | None = None,
    ) -> Path:
        """Write the hotspots for another tool, and return the path; as ``hotscan export``."""
        from pipeline.scan.inspect_run import export_run

        export_run(self.path, format, Path(out), marker_layer, Path(waivers) if waivers else None)
        return Path(out)

    def write_report(self, *, waivers: PathLike | None = None) -> Path:
        """Write the report again, and return the path of its page; with other waivers, if given."""
        from pipeline.scan.inspect_run import report_again

        report_again(self.path, Path(waivers) if waivers else None)
        return self._directory.report / "index.html"

    def picture(self, hotspot: int) -> Picture:
        """Return the drawing of a hotspot's clip as SVG: shapes, core and, if simulated, print.

        Parameters
        ----------
        hotspot
            Its id, from 1.

        Raises
        ------
        KeyError
            When there is no such hotspot.
        """
        from pipeline.report.hotspot_picture import draw_hotspot

        return Picture(draw_hotspot(self._view, hotspot))

    @cached_property
    def _view(self) -> RunView:
        from pipeline.report.run_view import open_view

        return open_view(self._directory, self._model)

    def _repr_html_(self) -> str:
        status = self.status()
        rows = {"state": status["state"], "layout": status["layout"], "run": str(self.path)}
        rows |= {name: f"{status[name]:,}" for name in ("clips", "patterns", "hotspots")}
        if status["state"] in ("complete", "incomplete"):
            metrics = self.metrics
            rows["area covered"] = f"{metrics['area_covered_um2']:,.0f} um2"
            rows["coverage"] = f"{metrics['coverage_fraction']:.2%}"
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td>{html.escape(value)}</td></tr>"
            for name, value in rows.items()
        )
        return f"<table><caption>hotscan scan</caption>{cells}</table>"
