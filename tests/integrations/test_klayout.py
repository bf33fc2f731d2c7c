"""The KLayout package, in a real KLayout without a screen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.scan.inspect_run import export_run

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "integrations" / "klayout"
TINY = CHECKOUT / "sample_layouts" / "tiny.gds"


def test_the_package_says_what_it_is() -> None:
    grain = ElementTree.parse(PACKAGE / "grain.xml").getroot()
    assert grain.tag == "salt-grain"
    assert grain.findtext("name") == "hotscan"
    macro = ElementTree.parse(PACKAGE / "pymacros" / "hotscan.lym").getroot()
    assert macro.findtext("autorun") == "true"
    assert "install()" in str(macro.findtext("text"))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `klayout_session.py` saw."""
    klayout = shutil.which("klayout")
    if klayout is None:
        pytest.skip("the program klayout is not installed (Debian: apt install klayout)")
    folder = tmp_path_factory.mktemp("klayout")
    values = {
        "package": PACKAGE, "layout": TINY, "out": folder / "run",
        "program": Path(sys.executable).with_name("hotscan"),
    }  # fmt: skip
    defined = [part for name, value in values.items() for part in ("-rd", f"{name}={value}")]
    script = Path(__file__).with_name("klayout_session.py")
    environment = {"QT_QPA_PLATFORM": "offscreen", "KLAYOUT_HOME": str(folder)}
    done = subprocess.run(
        [klayout, "-z", "-nc", *defined, "-r", str(script)], capture_output=True, text=True,
        timeout=300, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "run": folder / "run", "folder": folder}


def test_a_scan_runs_in_the_background_and_says_how_far_it_is(session: dict[str, Any]) -> None:
    assert session["code"] == 0, session["printed"]
    assert {"clips", "scores", "confirm"} & set(session["stages"])


def test_every_hotspot_is_a_marker_and_categories_have_pictures(session: dict[str, Any]) -> None:
    table = session["folder"] / "hotspots.json"
    export_run(session["run"], "json", table, None)
    hotspots = [row["id"] for row in json.loads(table.read_text())]
    assert session["hotspots"] == hotspots
    assert session["pictures"] > 3


def test_the_visible_part_is_the_region_of_the_scan(session: dict[str, Any]) -> None:
    left, bottom, right, top = session["visible"]
    assert session["whole"] is None
    assert left <= 1 < 3 <= right
    assert bottom <= 2 < 4 <= top


def test_the_menu_has_its_entries_and_a_job_can_be_cancelled(session: dict[str, Any]) -> None:
    assert session["entries"] == ["scan", "scan_visible", "load", "waive", "fix"]
    assert session["cancelled"] != 0
