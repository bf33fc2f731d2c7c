"""Fields in which a fix is tried: they hold all that it has an effect on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.fix.ground import Ground
from stages.contracts import Box, Layer
from stages.fixes.bench import make_bench
from stages.fixes.moves import UNCHANGED, Change, to_change
from stages.fixes.rules import DesignRules
from stages.layout.builder import pack_layout
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder
from stages.lithography.process import load_process
from tests.support.hierarchy import make_library

MET1 = Layer(68, 20)
KRF = load_process("krf130")
NO_LIMITS = replace(
    KRF.limits, pinch_share=0.1, space_share=0.1, epe_nm=500.0, line_end_epe_nm=500.0
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    file = tmp_path_factory.mktemp("ground") / "library.gds"
    make_library().write_gds(file)
    layout = pack_layout(file, (MET1,), "top")
    bench = make_bench(load_process("krf130"), "none", 1.0, DesignRules(140, 140), 5)
    return Ground(layout.packed[0], layout.cells[0], (), bench)


def test_what_is_near_the_place_is_simulated_with_it(ground: Ground) -> None:
    core = Box(-1280, -640, 0, 640)
    moved = Change((), ((-500, 70, 500, 90),))
    assert ground.list_windows((0, 0), moved, [core]) == [(0, 0)]


def test_what_is_further_has_a_field_of_its_own_that_holds_it(ground: Ground) -> None:
    core, rect = Box(1280, -640, 2560, 640), (-3000, 0, -2900, 10)
    windows = ground.list_windows((0, 0), Change((rect,), ()), [core])
    assert windows == [(0, 0), (1920, 0), (-2950, 5)]
    half, effect = ground.bench.far.core_dbu // 2, ground.bench.effect
    assert Box(*windows[2], *windows[2]).grow(half).intersect(Box(*rect).grow(effect)) == (
        Box(*rect).grow(effect)
    )
    assert ground.list_windows((0, 0), UNCHANGED, []) == [(0, 0)]


@pytest.fixture(scope="module")
def pulled_back() -> Ground:
    """A line that begins before its contact, and does not reach it."""
    builder = LayerBuilder()
    shapes = np.array([[0, -70, 9000, 70], [435, -130, 755, 130]])
    builder.add_cell("top", shapes, [], NO_PLACEMENTS)
    bench = make_bench(load_process("krf130"), "none", 1.0, DesignRules(140, 140), 5)
    return Ground(builder.build(), ("top",), (), bench)


def test_a_fix_is_verified_as_a_scan_simulates_the_core(pulled_back: Ground) -> None:
    core = Box(-640, -640, 640, 640)
    reason, left = pulled_back.verify((0, 0), UNCHANGED, [core])
    assert (reason, bool(left)) == ("", True)
    mended = to_change(pulled_back.search((0, 0), [core], UNCHANGED).moves)
    assert pulled_back.verify((0, 0), mended, [core]) == ("", [])
    # Fields that are judged with room find nothing, and a scan of the clip still would.
    lenient = replace(pulled_back.bench, process=replace(KRF, limits=NO_LIMITS))
    blind = Ground(pulled_back.packed, ("top",), (), lenient)
    assert blind.try_change((0, 0), UNCHANGED, [core]) == ("", [])
    reason, left = blind.verify((0, 0), UNCHANGED, [core])
    assert reason == ""
    assert left
    assert any(abs(x) < 100 for x, _ in left)
    assert all(abs(x) < 640 and abs(y) < 200 for x, y in left)
