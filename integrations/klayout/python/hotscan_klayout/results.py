"""The results of a scan in a KLayout view: markers with pictures, fixes as a layout.

in       a run directory, a view
out      a report database in the marker browser, further cell views
"""

from __future__ import annotations

import base64
import gzip
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pya

MOST_PICTURES = 200
"""Categories whose first marker gets a picture."""
_PICTURE_PX = 240
_AROUND_UM = 2.0


def load_markers(view: pya.LayoutView, run: Path) -> pya.ReportDatabase:
    """Load the hotspots of a run into the marker browser, with pictures of the layout.

    Raises
    ------
    FileNotFoundError
        When the run has no report yet.
    """
    path = run / "report" / "hotspots.lyrdb.gz"
    if not path.is_file():
        raise FileNotFoundError(f"{run} has no markers; scan it first, or finish the scan")
    database = view.rdb(view.create_rdb(f"hotspots of {run.name}"))
    with tempfile.TemporaryDirectory() as folder:
        pictured = Path(folder) / "hotspots.lyrdb"
        pictured.write_bytes(_add_pictures(view, gzip.decompress(path.read_bytes())))
        database.load(str(pictured))
    database.name = f"hotspots of {run.name}"
    return database


def show_markers(view: pya.LayoutView, database: pya.ReportDatabase) -> None:
    """Open the marker browser on a database."""
    index = next(i for i in range(view.num_rdbs()) if view.rdb(i).name == database.name)
    view.show_rdb(index, view.active_cellview_index())


def _add_pictures(view: pya.LayoutView, content: bytes) -> bytes:
    """Return a report database with the layout around the first marker of each category.

    In the file, as KLayout lets nobody change the markers that it has loaded.
    """
    root = ElementTree.fromstring(content)
    seen: set[str | None] = set()
    for item in root.iter("item"):
        category, box = item.findtext("category"), _find_box(item)
        if category in seen or box is None or len(seen) == MOST_PICTURES:
            continue
        seen.add(category)
        around = box.enlarged(_AROUND_UM, _AROUND_UM)
        pixels = view.get_pixels_with_options(_PICTURE_PX, _PICTURE_PX, 0, 0, 0, around)
        image = item.find("image")
        image = ElementTree.SubElement(item, "image") if image is None else image
        image.text = base64.b64encode(pixels.to_png_data()).decode()
    return ElementTree.tostring(root)


def _find_box(item: ElementTree.Element) -> pya.DBox | None:
    """Return the first box among the values of a marker, in um."""
    for value in item.iter("value"):
        if (value.text or "").startswith("box: "):
            return pya.DBox.from_s(value.text.removeprefix("box: "))
    return None


def find_hotspot(database: pya.ReportDatabase, item: pya.RdbItem) -> int | None:
    """Return the number of the hotspot of a marker; None where it has none."""
    rank = database.user_tag_id("rank")
    for value in item.each_value():
        if value.tag_id == rank and value.is_float():
            return round(value.float())
    return None


def show_fixes(view: pya.LayoutView, run: Path) -> int:
    """Lay what fixes take away and add over the layout; return the index of the cell view.

    Raises
    ------
    FileNotFoundError
        When no fixes were searched.
    """
    path = run / "report" / "fixes.gds"
    if not path.is_file():
        raise FileNotFoundError(f"{run} has no fixes; search them with: hotscan fix {run}")
    return int(view.load_layout(str(path), True))
