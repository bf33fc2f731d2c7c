"""Run by KLayout: what a user does with the package, without a screen. Prints a line of JSON.

klayout -z -nc -rd package=... -rd layout=... -rd program=... -rd out=... -r klayout_session.py
"""

import json
import sys
import time
from pathlib import Path

import pya

sys.path.insert(0, str(Path(package) / "python"))  # noqa: F821  (defined by -rd)
from hotscan_klayout import menu, results
from hotscan_klayout.command import Job, make_scan_command

window = pya.Application.instance().main_window()
window.load_layout(layout, 1)  # noqa: F821
view = pya.LayoutView.current()
menu.install()
menu.install()
settings = menu.make_settings(view, "68/20", visible=False)
view.zoom_box(pya.DBox(1, 2, 3, 4))
visible = menu.make_settings(view, "68/20", visible=True)
command = make_scan_command(program, settings)  # noqa: F821
command[command.index("--out") + 1] = out  # noqa: F821
job, seen = Job(command), set()
while job.code is None:
    seen.add(job.progress()[0])
    time.sleep(0.05)
database = results.load_markers(view, Path(out))  # noqa: F821
items = list(database.each_item())
cancelled = Job([sys.executable or "python3", "-c", "import time; time.sleep(60)"])
cancelled.cancel()
print(
    json.dumps(
        {
            "code": job.code,
            "printed": job.read(),
            "stages": sorted(seen),
            "entries": [
                name
                for name in ("scan", "scan_visible", "load", "waive", "fix")
                if window.menu().is_valid(f"{menu.MENU}.{name}")
            ],
            "hotspots": sorted(
                {
                    number
                    for item in items
                    if (number := results.find_hotspot(database, item)) is not None
                }
            ),
            "pictures": sum(item.has_image() for item in items),
            "visible": list(visible.region_um or ()),
            "whole": settings.region_um,
            "cancelled": cancelled.wait(10),
        }
    )
)
