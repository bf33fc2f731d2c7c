"""What the open benchmark consists of: five sets, each of regions of several layouts.

in       nothing
out      a `Region` for each part: where its layout comes from, and how it is labelled
promise  no layout, and no seed, is both trained and tested on
"""

from __future__ import annotations

from dataclasses import dataclass

from sample_layouts.vias import DENSITIES, LAYERS
from stages.contracts import Layer, RasterSpec


@dataclass(frozen=True, slots=True)
class Vias:
    """A square of a via layer, drawn from a seed."""

    layer: str
    """One of `sample_layouts.vias.DENSITIES`."""
    seed: int
    side_um: float


@dataclass(frozen=True, slots=True)
class Metal:
    """Met1 of a real layout, shrunk."""

    file: str
    """Among the data."""
    address: str
    """Where the public has the same metal, in GDSII."""
    cell: str | None = None
    """None for the only top cell."""
    box_um: tuple[float, float, float, float] | None = None
    """Part of the cell, before it is shrunk; None for all of it."""
    least_nm: float = 44.5
    """What the least width of sky130's met1, 140 nm, is shrunk to. Half a nanometre below that of
    the process about one clip in a hundred of a crowded block fails after OPC; at 45 nm one in four
    hundred does."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a set: one layout, one dataset."""

    set: str
    split: str
    """``train`` or ``test``."""
    number: int
    source: Vias | Metal

    @property
    def name(self) -> str:
        """Return where it lies in the benchmark's folder."""
        return f"{self.set}/{self.split}-{self.number:02d}"

    @property
    def layer(self) -> Layer:
        """Return the layer that is labelled."""
        return Layer(*LAYERS[self.source.layer]) if isinstance(self.source, Vias) else MET1

    @property
    def process(self) -> str:
        """Return the process that it is printed with."""
        return "arfi45-via" if isinstance(self.source, Vias) else "arfi45"

    @property
    def spec(self) -> RasterSpec:
        """Return the picture of its clips."""
        return VIA_SPEC if isinstance(self.source, Vias) else METAL_SPEC


VIA_SPEC = RasterSpec(pixel_nm=25.0, clip_px=80, core_px=24)
"""Clips of 2.0 um, as those of Geng et al., ICCAD 2020."""
METAL_SPEC = RasterSpec(pixel_nm=30.0, clip_px=80, core_px=20)
MET1 = Layer(68, 20)
SETS = ("metal", *DENSITIES)
"""The merged vias are the four together."""
SIDE_UM = 72.0
PARTS = {"train": 5, "test": 12}
"""Squares of each density."""
TEST_SEED = 1000
"""The first square to test on; those to train on begin with seed 0."""

TINYTAPEOUT = "https://raw.githubusercontent.com/TinyTapeout"
CHIP = "layouts/tt02_user_project_wrapper.gds.gz"
CHIP_ADDRESS = (
    f"{TINYTAPEOUT}/tinytapeout-02/f97b89d3f23ab6a268c241b929c4c675e8522fe3"
    "/gds/user_project_wrapper.gds.gz"
)
CHIP_CORNERS_UM = (
    (600, 1400), (0, 1400), (400, 1400), (1000, 1000), (200, 1000), (0, 1800), (2000, 400),
    (400, 1000), (600, 1200), (1600, 1200),
)  # fmt: skip
"""Of the ten squares of 200 um, on a grid of 200 um, with most shapes of met1."""
BLOCKS = "layouts/tt05_tiles_shelfpacked.oas"
BLOCK_COMMITS = {
    # The busiest blocks of the shuttle, each by another author, and a commit that holds it.
    "tt_um_rejunity_ay8913": "6ce3ea51564e619b3b4faf91bcdc4f32286357ce",
    "tt_um_nickjhay_processor": "3543b1543fb94833b0bb9fae833a3ddc9096c9c1",
    "tt_um_urish_simon": "4b11b28f77604aa9bbaa69e1d771a32bf6b7acd3",
    "tt_um_hodgkin_huxley": "975aa34f08dfc21096f7216000c7819435daa074",
    "tt_um_haozhezhu_top": "5d4478a32754d801e2fac8b77720b1103dc4d164",
    "tt_um_kskyou": "9d234ab34ec1328455ede33150d059c7c7c40cf5",
    "tt_um_dlmiles_tt05_i2c_bert": "9a16a5dd95777e4f5a6a9df95d58cc074d7df0a8",
    "tt_um_devinatkin_stopwatch": "fbc241b2ca49daef54fbeb9930d86fcad3ecbb06",
    "tt_um_gfg_development_tros": "058152d78ebe828166485e774147323406503d8b",
    "tt_um_thermocouple": "8fbdc6dc47b1bf8a455c3cfc488d5e7c768c0ae0",
    "tt_um_algofoogle_vga_spi_rom": "13881f445f24438ab6ca3d2ba5469f8f3d848896",
    "tt_um_synth_GyanepsaaS": "7cd3c257c141bac40c30791a6f3c33254f8bee5d",
    "tt_um_adaptive_lif": "5365c10eb69b5d6584273c1d692880d382dd2afb",
    "tt_um_tomkeddie_a": "09dceae57f405bcbd78aabd5127f7bb647598f48",
    "tt_um_diadatp_spigot_e": "32be6b55c0d78b843fe5a93f0a3f488c96e790b7",
    "tt_um_psychogenic_neptuneproportional": "7736a526dbde3fbe1e5adb8061390a24c68baa96",
    "tt_um_vga_clock": "e846f6e6fdc01c284625e3b2666b415a8d6802a2",
    "tt_um_mvm": "36ddac396bd813ba29870dad631ef5df3fc41341",
    "tt_um_multiplexed_clock": "402e8cf737cecff48cce3ab9d713fecf19a8876d",
    "tt_um_myuart": "57a3bf66687aeee97524860087ffdbfcf2c8766c",
    "tt_um_flappy_vga_cutout1": "4b2bf5901d41c401b1d0e79c9c908c35f5e6966f",
    "tt_um_gharenthi_top": "085b43073d04c6686df5fba10a2679fea46633ef",
    "tt_um_uwuifier": "ddc0b411cae24f30b61ef483e47c9952bd0e6c80",
    "tt_um_rgb_mixer": "0a0bc434239e26b8498096d29e415d38dbb4a492",
    "tt_um_jleugeri_ticktocktokens": "ba5dfa42cc26ad9db3e2571700e48f9d9a466309",
    "tt_um_Leaky_Integrate_Fire_nfjesifb": "5552959e187471148ca08e8542037b0e6f383656",
    "tt_um_proppy_bytebeat": "699f2d8328c7128581ea4129a99fb18b55b8bfe8",
    "tt_um_Fiona_CMU": "7ca8cbc8ad05b1152e6053719c3b92a0179c2d98",
    "tt_um_meriac_play_tune": "fa77c2a8f8aac8f6d8448bb94bb94eb897316a0c",
    "tt_um_gchenfc_seven_segment_gerry": "b032ffe390ec1108af9fcd24c75178fa25b61323",
    "tt_um_wokwi_376553022662786049": "4c7792593fe355b978a3209930e0286d3680b206",
    "tt_um_reflex_game": "588e4f640c10b61511f745fbf49984aa46091ed6",
    "tt_um_rjmorgan11_calculator_chip": "368ccaba1411735320a256a631c0defabcac7583",
    "tt_um_carlosgs99_cro_udg": "b1c64c94550161b7739dc2193761b3f7a255f31b",
}


def list_regions(*, small: bool = False) -> tuple[Region, ...]:
    """Return every region; with `small` two tiny ones of each set, the metal of samples."""
    if small:
        parts, side_um = dict.fromkeys(PARTS, 1), 4.8
        train = [Metal("dense.gds.gz", "", box_um=(48.0, 48.0, 62.0, 62.0))]
        test = [Metal("block.gds.gz", "", box_um=(48.0, 48.0, 62.0, 62.0))]
    else:
        parts, side_um = PARTS, SIDE_UM
        train = [
            Metal(CHIP, CHIP_ADDRESS, box_um=(x, y, x + 200, y + 200)) for x, y in CHIP_CORNERS_UM
        ]
        test = [
            Metal(BLOCKS, f"{TINYTAPEOUT}/tinytapeout-05/{commit}/projects/{name}/{name}.gds", name)
            for name, commit in BLOCK_COMMITS.items()
        ]
    metal = [
        Region("metal", split, number, source)
        for split, sources in (("train", train), ("test", test))
        for number, source in enumerate(sources)
    ]
    vias = [
        Region(layer, split, number, Vias(layer, first + number, side_um))
        for layer in DENSITIES
        for split, first in (("train", 0), ("test", TEST_SEED))
        for number in range(parts[split])
    ]
    return (*metal, *vias)
