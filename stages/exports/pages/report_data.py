"""The content of the report page of a scan, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from shapely import Polygon

from stages.contracts import Box, Bytes, Float32s, Hotspot, RasterSpec, Verdict
from stages.exports.pages.class_card import ClassCard
from stages.exports.pages.fix_card import FixSummary
from stages.findings import CellCount, Finding, Review

MANY = 20
"""Classes whose share of the hotspots is told."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The model of the scan, and what it was measured at elsewhere."""

    name: str
    digest: str
    process: str
    """Name of the process whose printing failures the network was trained on."""
    recall: float | None
    """Share of the hotspots of `measured_on` found at this threshold; None: not measured."""
    false_alarm_rate: float | None
    """Share of the other clips there flagged at this threshold; None: not measured."""
    measured_on: str
    """The clips that the two rates were measured on, in words; never those of this layout."""


@dataclass(frozen=True, slots=True)
class MeasuredRecall:
    """What a random sample of simulated clips says of the scan, with intervals of 95 %."""

    clips: int
    """Clips of the sample."""
    recall: float | None
    """None where there seems to be no hotspot; then so are its limits."""
    recall_low: float | None
    recall_high: float | None
    missed: float
    """Hotspots that the scan missed."""
    missed_low: int
    missed_high: int


@dataclass(frozen=True, slots=True)
class CertifiedRecall:
    """What certifying says of the scan, with a lower bound of 95 %."""

    reached: bool
    """Whether recall and bound are what was asked for."""
    recall: float | None
    """None where no look was made."""
    recall_low: float
    asked: float
    within: float
    clips: int
    """Clips that were simulated."""
    share: float
    """Of all clips."""


@dataclass(frozen=True, slots=True)
class NotScanned:
    """A region without a verdict."""

    box: Box
    why: str


@dataclass(frozen=True, slots=True)
class KnownHotspot:
    """A hotspot that the model was trained on."""

    picture: Bytes
    """(layer, row, column), rows upward, turned as patterns are."""
    distance: float
    """Between its features and those of the hotspot of the scan: 0 if equal, at most 2."""
    alike: Float32s | None = None
    """(rows, columns) how much each place of it is like the hotspot of the scan, 0 or more."""


@dataclass(frozen=True, slots=True)
class WaiverRow:
    """A waiver, and what it is good for."""

    id: str
    state: str
    hotspots: int
    """Hotspots that it covers, or would if it were not over."""
    reason: str
    by: str
    given: str
    expires: str
    """The last day; empty for none."""


@dataclass(frozen=True, slots=True)
class ChangedSpot:
    """A hotspot that is new, or one of the earlier scan that is fixed."""

    name: str
    """Its id, in its own scan."""
    x_um: float
    y_um: float
    level: int | None
    waived: bool
    class_id: int
    cell: str


@dataclass(frozen=True, slots=True)
class ChangeSummary:
    """What changed since an earlier scan."""

    before: str
    """Name of its run directory."""
    refused: str = ""
    """Why the two are not compared; empty where they are."""
    complete: bool = True
    """Whether both scans are."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Hotspots that are ``new``, ``fixed``, ``moved`` and the ``same``; of the new ones those that
    are ``waived``; of the others those that are ``worse``."""
    new: Sequence[ChangedSpot] = ()
    """By level, then rank."""
    fixed: Sequence[ChangedSpot] = ()


@dataclass(frozen=True, slots=True)
class ReportData:
    """The content of the page."""

    layout: str
    """Name of the layout file."""
    layout_digest: str
    top: str
    dbu_nm: float
    layers: tuple[str, ...]
    """Names of the layers, in the order of the pictures' channels."""
    extent: Box
    """Box of the chosen layers."""
    roi: Box | None
    """The requested region; None for the whole extent."""
    raster: RasterSpec
    model: ModelCard
    sampling: str
    """How clips were chosen, in words."""
    threshold: float
    hotspots: Sequence[Hotspot]
    """By rank."""
    pictures: Mapping[int, Bytes]
    """Id of a hotspot to the raster of its clip as placed, (layer, row, column), rows upward."""
    occurrences: Mapping[int, int]
    """Index of a pattern to the number of clips in the scan that are that pattern."""
    clips: int
    patterns: int
    clips_not_scored: int
    complete: bool
    coverage_fraction: float
    """Share of the requested area that was scanned."""
    area_covered_um2: float
    not_scanned: tuple[NotScanned, ...]
    seconds: Mapping[str, float]
    """Stage to elapsed seconds, in order of the stages."""
    config: str
    """The resolved configuration, as TOML."""
    version: str
    """Of hotscan."""
    finished: str
    """When the scan ended, in words."""
    warnings: tuple[str, ...] = ()
    shown: int = 30
    """Most hotspots to show with a picture."""
    verdicts: Mapping[int, Verdict] | None = None
    """Verdict by simulation of each hotspot, by id; None when simulation was not asked for."""
    to_simulate: Set[int] | None = None
    """Ids of the hotspots that were to be simulated; all when `verdicts` are and this is not."""
    order: Sequence[Hotspot] | None = None
    """The hotspots in the order of their cards; by rank by default."""
    contours: Mapping[int, Sequence[Polygon]] = field(default_factory=dict)
    """Id of a shown hotspot to its printed contours at the corner of its worst defect, in dbu."""
    measured: MeasuredRecall | None = None
    """Recall on this layout; None when it was not measured."""
    certified: CertifiedRecall | None = None
    """What was certified of it; None where that was not asked for, or is unfinished."""
    evidence: Mapping[int, Float32s] = field(default_factory=dict)
    """Id of a shown hotspot to what each place adds to its log odds, (row, column), rows upward."""
    known: Mapping[int, KnownHotspot] = field(default_factory=dict)
    """Id of a shown hotspot to the most similar one that the model was trained on."""

    reviews: Mapping[int, Review] = field(default_factory=dict)
    """Id of a hotspot to its level and waiver."""
    levels: Mapping[int, int] = field(default_factory=dict)
    """Level to how many hotspots have it, less those that are waived."""
    waived: int = 0
    """Hotspots that are waived."""
    waivers: Sequence[WaiverRow] = ()
    findings: Mapping[int, Finding] = field(default_factory=dict)
    """Id of a hotspot to its class and the cell at fault."""
    classes: Sequence[ClassCard] = ()
    """The largest classes."""
    class_count: int = 0
    """How many classes there are."""
    cells: Sequence[CellCount] = ()
    """The cells at fault with most hotspots."""
    cell_count: int = 0
    """How many cells, pairs of cells and wirings are at fault."""
    in_largest: int = 0
    """Hotspots in the `MANY` largest classes."""
    fixes: FixSummary | None = None
    """None where none were searched."""
    changes: ChangeSummary | None = None
    """None where there is no earlier scan."""
    unasked: Sequence[str] = ()
    """Layers of the file that were not scanned."""

    @property
    def ordered(self) -> Sequence[Hotspot]:
        """The hotspots in the order of their cards."""
        return self.hotspots if self.order is None else self.order

    @property
    def not_simulated(self) -> int:
        """How many hotspots should have been simulated and were not."""
        if self.verdicts is None:
            return 0
        asked = self.hotspots if self.to_simulate is None else self.to_simulate
        return len(asked) - len(self.verdicts)

    @property
    def whole(self) -> bool:
        """Whether the page may say "complete": any gap outweighs `complete`."""
        gaps = self.not_scanned or self.clips_not_scored or self.coverage_fraction < 1
        gaps = gaps or self.not_simulated
        return self.complete and not gaps
