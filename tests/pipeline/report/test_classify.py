"""The stage ``classes``: tables that fit together, computed again only when they must be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.config import ClassesConfig
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run, write_table
from pipeline.passes.job import load_model_process
from pipeline.report.classify import CLASSES, FINDINGS, make_rules, read_findings
from pipeline.report.page.class_cards import gather_cells, gather_class_cards
from pipeline.report.run_view import RunView, open_view
from stages.errors import ConfigError, IncompleteError
from tests.support.small_scan import Hotscan, SmallScan


@pytest.fixture(scope="module")
def view(reference: Run) -> RunView:
    return open_view(reference)


def test_the_tables_fit_together(view: RunView) -> None:
    findings, classes = view.findings, view.classes
    assert list(findings) == [spot.id for spot in view.hotspots]
    assert [row.id for row in classes] == list(range(1, len(classes) + 1))
    for row in classes:
        members = [each for each in findings.values() if each.class_id == row.id]
        scores = [view.hotspots[each.id - 1].score for each in members]
        assert len(members) == row.hotspots
        assert findings[row.representative].class_id == row.id
        assert findings[row.representative].moved_dbu == 0
        assert (row.worst_score, row.median_score) == (max(scores), np.median(scores))
        assert row.moved_dbu == max(each.moved_dbu or 0 for each in members) <= 10
    sizes = [row.hotspots for row in classes]
    assert sizes == sorted(sizes, reverse=True)
    assert len(classes) < len(findings)


def test_the_place_that_fails_is_in_the_core_or_near(view: RunView) -> None:
    reach = view.job.core_dbu / 2 + 2 * 214
    for spot in view.hotspots:
        row = view.findings[spot.id]
        assert abs(row.place_x_dbu - spot.x_dbu) <= reach
        assert abs(row.place_y_dbu - spot.y_dbu) <= reach


def test_cards_hold_every_hotspot_of_their_class(view: RunView) -> None:
    cards = gather_class_cards(view, load_model_process(view.model))
    assert [card.row for card in cards] == list(view.classes[: view.config.report.top])
    assert all(len(card.listed) == min(card.row.hotspots, 20) for card in cards)
    assert all(card.paths[0] for card in cards if card.feature == "space")
    spread = {card.row.id for card in cards if card.spread_paths[0]}
    moved = {card.row.id for card in cards if card.row.moved_dbu}
    assert spread <= {card.row.id for card in cards if card.row.patterns > 1}
    assert moved <= spread
    assert sum(row.hotspots for row in gather_cells(view)) == len(view.hotspots)


def test_another_tolerance_computes_the_classes_alone(
    reference: Run, small_scan: SmallScan, tmp_path: Path
) -> None:
    shutil.copytree(reference.path, tmp_path / "run")
    before = (tmp_path / "run" / "hotspots.parquet").read_bytes()
    with Ledger(reference.ledger, read_only=True) as ledger:
        scored = ledger.finished("scores")
    settings = {"tiles": {"size_um": 100.0}, "classes": {"edge_tolerance_nm": 0.0, "shift_nm": 0.0}}
    result = small_scan(tmp_path / "run", **settings)
    with Ledger(result.run.ledger, read_only=True) as ledger:
        assert ledger.finished("scores") == scored
    assert result.run.hotspots.read_bytes() == before
    exact = open_view(result.run)
    assert len(exact.classes) >= len(open_view(reference).classes)
    assert {row.moved_dbu for row in exact.findings.values()} == {0}
    by_area = small_scan(result.run.path, **{**settings, "classes": {"area_match": 0.9}})
    differs = [row.differs for row in open_view(by_area.run).findings.values()]
    assert all(share is not None and 0 <= share <= 0.1 for share in differs)


def test_a_radius_below_the_resolution_is_refused(view: RunView) -> None:
    process = load_model_process(view.model)
    with pytest.raises(ConfigError, match=r"radius_nm is 200; of process krf130 .* 212.6 nm"):
        make_rules(ClassesConfig(radius_nm=200.0), process, view.job, 1.0)
    assert make_rules(ClassesConfig(radius_nm=300.0), process, view.job, 1.0).tolerance.half == 600


@pytest.mark.parametrize(
    ("column", "value"), [("id", 7), ("class_id", 0), ("feature", "hole"), ("turn", 8),
                          ("place_x_dbu", float("nan")), ("place_y_dbu", 1e300)],
)  # fmt: skip
def test_a_damaged_table_is_refused(
    view: RunView, tmp_path: Path, column: str, value: object
) -> None:
    table = pq.read_table(view.run.path / FINDINGS)
    at = table.schema.get_field_index(column)
    values = [value, *table[column].to_pylist()[1:]]
    (tmp_path / "run").mkdir()
    write_table(
        tmp_path / "run" / FINDINGS,
        table.set_column(at, table.schema.field(at), [values]),
    )
    with pytest.raises(IncompleteError, match=FINDINGS):
        read_findings(Run(tmp_path / "run"), len(view.hotspots))


def test_a_missing_table_is_named(view: RunView, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=f"no {FINDINGS} yet; finish the scan with"):
        read_findings(Run(tmp_path), len(view.hotspots))
    assert (view.run.path / CLASSES).exists()


def test_options_of_the_command_line(scan: Hotscan, tmp_path: Path) -> None:
    assert scan("--edge-tolerance", "3", "--area-match", "0.97").code == 0
    config = (tmp_path / "run" / "run.json").read_text()
    assert '"edge_tolerance_nm": 3.0' in config
    assert '"area_match": 0.97' in config
    refused = scan("--area-match", "1.5")
    assert refused.code == 2
    assert "[classes] area_match is 1.5" in refused.err
