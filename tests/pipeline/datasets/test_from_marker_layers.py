"""Marked layouts as datasets: small ones against painting, the benchmarks against their tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import gdstk
import numpy as np
import numpy.typing as npt
import pytest
import zarr

from pipeline.datasets.from_marker_layers import (
    BENCHMARKS,
    EVERY_TOP,
    SPEC,
    MarkedRequest,
    Marking,
    import_benchmark,
    import_marked,
    place_marked_clips,
)
from pipeline.datasets.store import load_dataset
from pipeline.layout import ingest
from stages.contracts import Layer
from stages.errors import ConfigError, LayoutError, UsageError
from tests.support.marked import (
    CLIP_UM,
    COLD,
    COLD_UM,
    CORE_UM,
    HOT,
    HOT_UM,
    MARKING,
    PIXEL_UM,
    TRAIN_UM,
    drawn,
    marks,
    square,
    wires,
    write,
)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("marked") / "marked.oas", {"top": [*drawn(), *marks()]})


@pytest.fixture(scope="module")
def dataset(layout: Path) -> Path:
    import_marked(MarkedRequest(layout=layout, out=layout.with_name("dataset"), marking=MARKING))
    return layout.with_name("dataset")


def arrays(path: Path) -> dict[str, npt.NDArray[np.int64]]:
    group = zarr.open_group(path, mode="r")
    return {each.name: np.asarray(group[each.name]) for each in path.iterdir() if each.is_dir()}


def painted(x_um: float, y_um: float) -> npt.NDArray[np.uint8]:
    """The clip at a place, pixel by pixel."""
    picture = np.zeros((64, 64), np.uint8)
    for shape in drawn():
        (x0, y0), (x1, y1) = shape.points.min(axis=0), shape.points.max(axis=0)
        for dx, dy in shape.repetition.get_offsets() if shape.repetition.size else [(0, 0)]:
            edges = np.array([x0 + dx - x_um, x1 + dx - x_um, y0 + dy - y_um, y1 + dy - y_um])
            a, b, c, d = np.clip(np.rint((edges + CLIP_UM / 2) / PIXEL_UM), 0, 64).astype(int)
            picture[c:d, a:b] = 255
    return picture


def twins(picture: npt.NDArray[np.uint8]) -> list[bytes]:
    turned = [np.rot90(picture, quarter) for quarter in range(4)]
    return [twin.tobytes() for one in turned for twin in (one, one.T)]


def test_nine_clips_stand_at_each_core(dataset: Path) -> None:
    made = arrays(dataset)
    expected = Counter()
    for at in [*HOT_UM, *COLD_UM]:
        for dx in (-1200, 0, 1200):
            for dy in (-1200, 0, 1200):
                centre = dx == dy == 0
                place = round(at[0] * 1000) + dx, round(at[1] * 1000) + dy
                expected[(*place, centre and at in HOT_UM, at not in TRAIN_UM, not centre)] += 1
    names = ("x_dbu", "y_dbu", "label", "split", "role")
    rows = zip(*(made[name].tolist() for name in names), strict=True)
    assert Counter(rows) == expected


def test_pictures_are_what_is_painted(dataset: Path) -> None:
    made = arrays(dataset)
    for x, y, pattern in zip(made["x_dbu"], made["y_dbu"], made["pattern"], strict=True):
        picture = made["raster"][pattern, 0]
        assert picture.tobytes() in twins(painted(x / 1000, y / 1000))
    assert len(np.unique(made["key"], axis=0)) == len(made["key"])


def test_the_counts_are_of_the_protocols(layout: Path, tmp_path: Path) -> None:
    made = import_marked(MarkedRequest(layout=layout, out=tmp_path / "d", marking=MARKING))
    patterns = made.pop("patterns")
    assert patterns == len(arrays(tmp_path / "d")["raster"])
    assert made == {
        "clips": 63, "hotspots": 3, "non_hotspots": 4,
        "train_hotspots": 1, "train_non_hotspots": 2, "train_non_hotspots_scan": 26,
        "test_hotspots": 2, "test_non_hotspots": 2, "test_non_hotspots_scan": 34,
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_dataset_says_where_it_comes_from(dataset: Path, layout: Path) -> None:
    loaded = load_dataset(dataset)
    assert (loaded.spec, loaded.process, loaded.layers) == (SPEC, "arfi45", ("1/0",))
    assert loaded.provenance["layout"] == {
        "name": "marked.oas", "sha256": ingest.compute_sha256(layout)
    }  # fmt: skip
    assert loaded.provenance["labels"] == "marked in the layout"
    assert loaded.provenance["marking"]["train_window"] == ["4/0"]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("protocol", ["core", "scan"])
def test_a_part_holds_its_clips_with_their_pictures(
    dataset: Path, split: str, protocol: str
) -> None:
    whole, made = load_dataset(dataset), arrays(dataset)
    part = whole.subset(split, protocol)
    kept = made["split"] == (split == "test")
    if protocol == "core":
        kept &= made["role"] == 0
    assert np.array_equal(part.label, made["label"][kept])
    assert np.array_equal(part.key[part.pattern], made["key"][made["pattern"][kept]])
    assert np.array_equal(part.raster[part.pattern], made["raster"][made["pattern"][kept]])
    assert len(part.raster) == len(np.unique(part.pattern)) < len(whole.raster)


def test_a_part_of_an_unknown_protocol_is_refused(dataset: Path) -> None:
    with pytest.raises(UsageError, match="protocol is 'all'; it must be core or scan"):
        load_dataset(dataset).subset("test", "all")


def test_odd_cores_stand_at_the_middle_of_their_box(tmp_path: Path) -> None:
    """An L of two cores, and a path, each with 35 nm of odd length."""
    corners = [(0, 0), (2.035, 0), (2.035, 1.2), (1.2, 1.2), (1.2, 1.535), (0, 1.535)]
    shapes = [
        gdstk.Polygon([(x + 20, y + 20) for x, y in corners], layer=HOT[0]),
        gdstk.FlexPath([(40, 40.6), (41.2, 40.6)], 1.2, layer=COLD[0]),
        *wires((20, 20), 0), *wires((40, 40), 1),
    ]  # fmt: skip
    path = write(tmp_path / "odd.gds", {"top": shapes})
    import_marked(
        MarkedRequest(
            layout=path, out=tmp_path / "d", marking=Marking(("1/0",), ("2/0",), ("3/0",))
        )
    )
    made = arrays(tmp_path / "d")
    cores = made["role"] == 0
    places = zip(made["x_dbu"][cores], made["y_dbu"][cores], made["label"][cores], strict=True)
    assert sorted(places) == [(21017, 20767, True), (40600, 40600, False)]
    assert "split" not in made
    loaded = load_dataset(tmp_path / "d")
    assert loaded.subset("train") is loaded.subset("test") is loaded


def test_training_neighbours_over_a_training_hotspot_are_left_out() -> None:
    """Random cores, some near each other; every pair is looked at."""
    rng = np.random.default_rng(3)
    centres = rng.integers(0, 12_000, (40, 2))
    boxes = np.concatenate((centres - 600, centres + 600), axis=1)
    window = np.array([[0, 0, 6000, 12_000]])
    places = place_marked_clips([boxes[:10], boxes[10:], window], MARKING, 1200)
    found = Counter(
        zip(places.x_dbu, places.y_dbu, places.label, places.split, places.role, strict=True)
    )
    train = centres[:, 0] < 6000
    expected = Counter()
    for n, (x, y) in enumerate(centres.tolist()):
        for dx in (-1200, 0, 1200):
            for dy in (-1200, 0, 1200):
                at, neighbour = np.array((x + dx, y + dy)), bool(dx or dy)
                near = (np.abs(centres[:10] - at).max(axis=1) < 1200) & train[:10]
                if not (neighbour and train[n] and near.any()):
                    expected[(*at, n < 10 and not neighbour, not train[n], neighbour)] += 1
    assert found == expected
    assert found.total() < 9 * 40


def test_cells_of_one_clip_each_give_the_clips_of_one_cell(dataset: Path, tmp_path: Path) -> None:
    """Each core with its wires in a cell of its own, at a place of its own."""
    hot = [[*wires(at, n), square(at, CORE_UM, HOT)] for n, at in enumerate(HOT_UM)]
    cold = [[*wires(at, n + 3), square(at, CORE_UM, COLD)] for n, at in enumerate(COLD_UM)]
    cells = {f"clip{n}": shapes for n, shapes in enumerate([*hot, *cold])}
    whole = load_dataset(dataset)
    marking = Marking(("1/0",), ("2/0",), ("3/0",))
    for suffix in (".oas", ".gds"):
        path = write(tmp_path / f"cells{suffix}", cells)
        out = tmp_path / f"d{suffix}"
        with pytest.raises(ConfigError, match="the layout has 7 top cells"):
            import_marked(MarkedRequest(layout=path, out=out, marking=marking))
        import_marked(MarkedRequest(layout=path, out=out, marking=marking, cell=EVERY_TOP))
        one = load_dataset(out)
        keys = [
            Counter(zip(map(bytes, made.key[made.pattern]), made.label, made.role, strict=True))
            for made in (whole, one)
        ]
        assert keys[0] == keys[1]


def test_a_benchmark_may_lack_some_of_its_markers(tmp_path: Path) -> None:
    shapes = [
        *wires((20, 20), 0), *wires((40, 40), 1),
        square((20, 20), CORE_UM, (21, 0)), square((40, 40), CORE_UM, (23, 0)),
    ]  # fmt: skip
    for shape in shapes[:-2]:
        shape.layer = 10
    path = write(tmp_path / "a.oas", {"top": shapes})
    made = import_benchmark("iccad2019", path, tmp_path / "d", SPEC, process="arfi45")
    assert (made["hotspots"], made["non_hotspots"]) == (1, 1)
    for shape in shapes[:-2]:
        shape.layer = 1000
    path = write(tmp_path / "b.oas", {"top": shapes})
    made = import_benchmark("iccad2012", path, tmp_path / "e", SPEC, process="arfi45")
    assert made["clips"] == 18


@pytest.mark.parametrize(
    ("marking", "error", "message"),
    [
        (Marking(("1/0",), (), ("3/0",)), UsageError, "has no layer for hotspot; name one with --"),
        (Marking(("1/0",), ("9/0",), ("3/0",)), ConfigError, "has no layer 9/0; layers present: 1"),
    ],
)
def test_what_is_not_marked_is_refused(
    layout: Path, marking: Marking, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        import_marked(MarkedRequest(layout=layout, out=tmp_path / "d", marking=marking))
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_never_written_over(layout: Path, dataset: Path) -> None:
    with pytest.raises(UsageError, match="exists; choose another --out, or remove it"):
        import_marked(MarkedRequest(layout=layout, out=dataset, marking=MARKING))


def test_a_layout_that_marks_no_hotspot_is_refused(tmp_path: Path) -> None:
    top = gdstk.Cell("unused")
    shapes = [*wires((20, 20), 0), square((20, 20), CORE_UM, COLD)]
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    library.new_cell("top").add(*shapes)
    library.add(top.add(square((0, 0), CORE_UM, HOT)))
    library.write_oas(tmp_path / "a.oas")
    marking = Marking(("1/0",), ("2/0",), ("3/0",))
    with pytest.raises(LayoutError, match="marks 0 hotspots and 1 non-hotspots; a dataset needs"):
        import_marked(MarkedRequest(
            layout=tmp_path / "a.oas", out=tmp_path / "d", marking=marking, cell="top"
        ))  # fmt: skip


ICCAD2012 = {
    4: {"train": (95, 4452), "test": (177, 3386)},
    5: {"train": (26, 2716), "test": (41, 2111)},
}
"""Hotspots and non-hotspots, as the contest counts them."""

SCAN = {4: 31_890, 5: 19_327}
"""Non-hotspots of the 3x3 scan of the test cores."""


@pytest.mark.parametrize("design", [4, 5])
def test_iccad2012_has_the_clips_that_its_file_marks(
    design: int, shared_data: Callable[[str], Path]
) -> None:
    """Layer 10000/0 marks the middle of every clip of the published set of pictures."""
    path = shared_data(f"hotspots/iccad2012/iccad12-{design}.OAS")
    marking = BENCHMARKS["iccad2012"]
    *boxes, squares = ingest.read_boxes(path, [*marking.markers, Layer(10_000, 0)])
    places = place_marked_clips(boxes, marking, 1200)
    counts = places.counts()
    for split, (hot, cold) in ICCAD2012[design].items():
        assert (counts[f"{split}_hotspots"], counts[f"{split}_non_hotspots"]) == (hot, cold)
    assert counts["test_non_hotspots_scan"] == SCAN[design]
    published = (places.split == 1) | (places.role == 0)
    ours = zip(places.x_dbu[published].tolist(), places.y_dbu[published].tolist(), strict=True)
    middles = (squares[:, :2] + squares[:, 2:]) // 2
    assert sorted(ours) == sorted(map(tuple, middles.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize(("design", "seen"), [(4, 0.42), (5, 0.51)])
def test_the_known_leak_of_iccad2012(
    design: int, seen: float, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """The share of the test hotspots whose geometry is that of a training hotspot."""
    path = shared_data(f"hotspots/iccad2012/iccad12-{design}.OAS")
    import_benchmark("iccad2012", path, tmp_path / "d", SPEC, process="arfi45")
    dataset = load_dataset(tmp_path / "d")
    train, test = (dataset.subset(split, "core") for split in ("train", "test"))
    known = {key.tobytes() for key in train.key[train.pattern[train.label]]}
    hot = [key.tobytes() in known for key in test.key[test.pattern[test.label]]]
    assert np.mean(hot) == pytest.approx(seen, abs=0.01)
