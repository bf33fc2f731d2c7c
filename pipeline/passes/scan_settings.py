"""The settings of a scan, as stored in its ``run.json``.

in       a resolved config, a model, the run directories to reuse, a shard
out      `ScanSettings`, and per stage the inputs to which its finished units are bound
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import STAGE_SETTINGS, ScanConfig, as_dict, load_config
from pipeline.engine.storage.replica import name_run, place_run
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import Inputs, RunRecord, differences, read_readable_record
from pipeline.passes.shard import Shard
from stages.errors import RunMismatchError, UsageError

LAYERS = "layers"
"""The task of a run of several layers, which holds a scan of each."""


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """Everything that a scan depends on besides its layout."""

    config: ScanConfig
    """Resolved: with the values of the model and the process filled in."""
    model_digest: str
    since: tuple[Path, ...] = ()
    """Runs whose results are reused."""
    shard: Shard | None = None
    """Part of the tiles to scan; None for all."""

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {
            "config": as_dict(self.config),
            "model_digest": self.model_digest,
            "since": [name_run(path.resolve()) for path in self.since],
            "shard": str(self.shard) if self.shard else None,
        }

    @classmethod
    def of(cls, record: RunRecord) -> ScanSettings:
        """Return the settings of a record.

        Raises
        ------
        UsageError
            When the record is not of a scan, or has settings that no scan writes.
        """
        if record.task == LAYERS:
            raise UsageError(
                "the run holds a scan of each of several layers; give one of them, which are "
                "below its folder layers"
            )
        if record.task != "scan":
            raise UsageError(
                f"the run is one of hotscan {record.task}, not of a scan (run.json says so); give "
                "the --out of a scan"
            )
        values = record.settings
        try:
            return cls(
                load_config(None, values["config"]),
                str(values["model_digest"]),
                tuple(place_run(name) for name in values["since"]),
                Shard.parse(values["shard"]) if values["shard"] else None,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"run.json has settings that no scan writes ({type(error).__name__}: {error}); "
                "scan into a new run directory"
            ) from error


def change_reader(config: ScanConfig, reader: Mapping[str, float | None] | None) -> ScanConfig:
    """Return a config with other limits on reading the layout, which never change the answer.

    Parameters
    ----------
    reader
        Keys of ``[reader]``; None where one stays as it is.
    """
    tables = as_dict(config)
    given = {name: value for name, value in (reader or {}).items() if value is not None}
    return load_config(None, {**tables, "reader": {**tables["reader"], **given}})


def collect_inputs(record: RunRecord) -> Inputs:
    """Return the inputs that each stage of a scan is the first to depend on.

    The model enters by its digest, not its name; sizes and devices do not change results.
    """
    tables = record.settings["config"]
    inputs = {stage: select_settings(tables, names) for stage, names in STAGE_SETTINGS.items()}
    inputs["layout"] = {"layout": record.layout.sha256, **inputs["layout"]}
    inputs["clips"]["model"] = record.settings["model_digest"]
    return inputs


def require_same_inputs(path: Path, first: RunRecord, other_path: Path, other: RunRecord) -> None:
    """Refuse to merge shards of different scans.

    Raises
    ------
    RunMismatchError
        When layout, model or a setting differs; the text names each.
    """
    then, now = (
        {name: value for stage in collect_inputs(record).values() for name, value in stage.items()}
        for record in (first, other)
    )
    if differ := list(differences(then, now)):
        raise RunMismatchError(
            f"{path} and {other_path} are no shards of one scan: {'; '.join(differ)}; scan each "
            "shard with the same settings"
        )


def keep_sizes(run: Run, config: ScanConfig) -> ScanConfig:
    """Return a config with the sizes of the run that is there, if any.

    They never change the answer, but the units of the run are named by them.
    """
    record = read_readable_record(run)
    if record is None or record.task != "scan":
        return config
    before = ScanSettings.of(record).config
    scores = {"shard_patterns": before.scores.shard_patterns}
    confirming = {"batch_windows": before.confirm.batch_windows}
    return config.model_copy(
        update={
            "tiles": before.tiles,
            "scores": config.scores.model_copy(update=scores),
            "confirm": config.confirm.model_copy(update=confirming),
        }
    )


def select_settings(
    tables: Mapping[str, Mapping[str, Any]], names: tuple[str, ...]
) -> dict[str, Any]:
    """Return settings by ``[table] key``; a name is a whole table, or ``table.key``."""
    chosen = {}
    for name in names:
        table, _, key = name.partition(".")
        values = tables.get(table, {})
        for each in [key] if key else values:
            chosen[f"[{table}] {each}"] = values.get(each)
    return chosen
