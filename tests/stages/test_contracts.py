from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.contracts import Box, Layer, PackedLayout, RasterSpec
from stages.errors import ConfigError, LayoutError
from stages.lengths import to_um, to_um_each

COORDINATE = st.integers(-50, 50)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(COORDINATE), draw(COORDINATE)
    return Box(x, y, x + draw(st.integers(0, 40)), y + draw(st.integers(0, 40)))


def places(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box.x_min, box.x_max) for y in range(box.y_min, box.y_max)}


@given(
    st.lists(st.integers(-(2**48), 2**48) | st.integers(-9999, 9999), min_size=1),
    st.sampled_from([1.0, 0.5, 0.25, 0.1, 5.0, 0.001, 1e-6]) | st.floats(1e-6, 100),
)
def test_many_lengths_are_rounded_as_one_is(values: list[int], dbu_nm: float) -> None:
    """To the last bit: tables are equal whichever of the two wrote them."""
    for each in (values, [value + 0.5 for value in values], [5e5 * value for value in values]):
        assert to_um_each(np.array(each), dbu_nm).tolist() == [to_um(v, dbu_nm) for v in each]


class TestBox:
    @given(boxes(), boxes())
    def test_intersection_holds_the_places_of_both(self, one: Box, other: Box) -> None:
        both = one.intersect(other)
        assert (places(both) if both else set()) == places(one) & places(other)
        assert both == other.intersect(one)

    @given(boxes())
    def test_area_is_the_number_of_places(self, box: Box) -> None:
        assert box.area == box.width * box.height == len(places(box))

    @given(boxes(), st.integers(0, 30))
    def test_shrinking_undoes_growing(self, box: Box, by_dbu: int) -> None:
        assert box.grow(by_dbu).grow(-by_dbu) == box
        assert box.grow(by_dbu).area == (box.width + 2 * by_dbu) * (box.height + 2 * by_dbu)

    @pytest.mark.parametrize("corners", [(1, 0, 0, 0), (0, 1, 0, 0)])
    def test_a_box_that_ends_before_it_begins_is_refused(
        self, corners: tuple[int, int, int, int]
    ) -> None:
        with pytest.raises(ConfigError, match="ends before it begins"):
            Box(*corners)


class TestLayer:
    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
    def test_parse_reads_what_str_writes(self, layer: int, datatype: int) -> None:
        assert Layer.parse(str(Layer(layer, datatype))) == Layer(layer, datatype)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "68",
            "68/",
            "/20",
            "68/20/1",
            "-1/0",
            "met1/0",
            "4294967296/0",
            "0/4294967296",
            "²/0",
        ],
    )
    def test_what_is_no_layer_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(ConfigError) as caught:
            Layer.parse(text)
        assert repr(text) in str(caught.value)


class TestRasterSpec:
    @pytest.mark.parametrize(
        ("pixel_nm", "clip_px", "core_px", "layers"),
        [
            (0.0, 64, 32, 1),
            (40.0, 63, 32, 1),  # odd clip: its centre lies in a pixel
            (40.0, 64, 31, 1),  # odd core
            (40.0, 32, 64, 1),  # core over clip
            (40.0, 64, 0, 1),
            (40.0, 64, 32, 0),
        ],
    )
    def test_impossible_pictures_are_refused(
        self, pixel_nm: float, clip_px: int, core_px: int, layers: int
    ) -> None:
        with pytest.raises(ConfigError):
            RasterSpec(pixel_nm, clip_px, core_px, layers)

    @given(st.integers(1, 400), st.sampled_from([0.05, 0.1, 0.25, 0.5, 1.0, 1 / 3, 2.0, 5.0]))
    def test_a_pixel_of_whole_dbu_is_found_despite_float_noise(
        self, pixel_dbu: int, dbu_nm: float
    ) -> None:
        assert RasterSpec(pixel_dbu * dbu_nm, 64, 32).pixel_dbu(dbu_nm) == pixel_dbu

    @pytest.mark.parametrize("dbu_nm", [3.0, 7.0, 80.0, 1000.0])
    def test_a_pixel_of_broken_dbu_is_refused(self, dbu_nm: float) -> None:
        with pytest.raises(ConfigError, match="whole number of database units"):
            RasterSpec(40.0, 64, 32).pixel_dbu(dbu_nm)

    @given(st.integers(1, 100), st.integers(0, 100))
    def test_a_clip_is_its_core_and_two_halos(self, half_core: int, halo: int) -> None:
        spec = RasterSpec(10.0, 2 * (half_core + halo), 2 * half_core)
        assert spec.core_nm + 2 * spec.halo_nm == spec.clip_nm
        assert spec.halo_nm == 10.0 * halo


def test_an_empty_layout_names_its_cell_and_layers() -> None:
    with pytest.raises(LayoutError, match=r"'chip'.* 68/20, 69/20"):
        _ = PackedLayout("chip", 1.0, (Layer(68, 20), Layer(69, 20)), ()).extent
