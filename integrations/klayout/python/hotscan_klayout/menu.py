"""The menu Tools / Lithography hotspots, its dialog, and the jobs behind it.

in       what a user clicks
out      scans in the background, results in the view
promise  whatever goes wrong is said in a message; KLayout goes on
"""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Callable
from pathlib import Path

import pya

from hotscan_klayout import results
from hotscan_klayout.command import (
    RUN_FOLDER,
    Job,
    ScanSettings,
    find_program,
    make_fix_command,
    make_scan_command,
    make_waive_command,
)

MENU = "tools_menu.hotscan"
PROGRAM, LAYER, RUN = "hotscan-program", "hotscan-layer", "hotscan-run"
"""Names of KLayout's settings that are kept."""
_POLL_MS = 500
_kept: list[object] = []
"""What Qt would forget: actions, timers, jobs."""


def install() -> None:
    """Add the menu, once."""
    menu = pya.Application.instance().main_window().menu()
    if menu.is_valid(MENU):
        return
    menu.insert_menu("tools_menu.end", "hotscan", "Lithography hotspots")
    for name, title, work in (
        ("scan", "Scan the layout...", lambda: ask_and_scan(visible=False)),
        ("scan_visible", "Scan the visible part...", lambda: ask_and_scan(visible=True)),
        ("load", "Load results...", load_results),
        ("waive", "Accept a hotspot...", waive_hotspot),
        ("fix", "Search fixes", search_fixes),
    ):
        action = pya.Action()
        action.title = title
        action.on_triggered = _guard(work)
        menu.insert_item(f"{MENU}.end", name, action)
        _kept.append(action)


def _guard(work: Callable[[], object]) -> Callable[[], None]:
    """Return `work`, whose errors become a message."""

    def guarded() -> None:
        try:
            work()
        except Exception as error:  # in KLayout it would end in a console that nobody sees
            pya.MessageBox.warning("hotscan", str(error), pya.MessageBox.Ok)

    return guarded


def find_view() -> pya.LayoutView:
    """Return the view in front.

    Raises
    ------
    ValueError
        When there is none, or no layout in it.
    """
    view = pya.LayoutView.current()
    if view is None or not view.active_cellview().is_valid():
        raise ValueError("open a layout first")
    return view


def find_layout_file(view: pya.LayoutView) -> Path:
    """Return the file of the active layout; one with changes is written to a temporary file."""
    cellview = view.active_cellview()
    path = Path(cellview.filename())
    if path.is_file() and not cellview.is_dirty():
        return path
    folder = Path(tempfile.mkdtemp(prefix="hotscan-"))
    cellview.layout().write(str(folder / "edited.oas"))
    return folder / "edited.oas"


def make_settings(view: pya.LayoutView, layer: str, *, visible: bool) -> ScanSettings:
    """Return the settings of a scan of what a view shows."""
    layout = find_layout_file(view)
    box = view.box() if visible else None
    region = None if box is None else (box.left, box.bottom, box.right, box.top)
    tops = view.active_cellview().layout().top_cells()
    cell = view.active_cellview().cell.name if len(tops) > 1 else ""
    return ScanSettings(layout, layout.parent / RUN_FOLDER, layer, region_um=region, cell=cell)


def ask_and_scan(*, visible: bool) -> None:
    """Ask which layer, then scan."""
    view, window = find_view(), pya.Application.instance().main_window()
    known = window.get_config(LAYER) or _find_layer(view)
    layer = pya.InputDialog.ask_string("hotscan", "Layer to scan, as layer/datatype", known)
    if layer is not None:
        window.set_config(LAYER, layer)
        start_scan(view, make_settings(view, layer, visible=visible))


def _find_layer(view: pya.LayoutView) -> str:
    """Return the layer that is selected in the layer list."""
    selected = view.selected_layers()
    properties = selected[0].current() if selected else None
    if properties is None:
        return ""
    return f"{properties.source_layer}/{properties.source_datatype}"


def start_scan(view: pya.LayoutView, settings: ScanSettings) -> Watch:
    """Scan in the background; load the markers at its end."""
    window = pya.Application.instance().main_window()
    command = make_scan_command(find_program(window.get_config(PROGRAM)), settings)

    def show() -> None:
        window.set_config(RUN, str(settings.out))
        results.show_markers(view, results.load_markers(view, settings.out))

    return Watch(Job(command), "scan", show)


class Watch(pya.QObject):
    """A job with a dialog that shows its progress and can cancel it.

    Parameters
    ----------
    job
        The command.
    title
        What it does, in a word.
    on_end
        Called when it ends well.
    """

    def __init__(self, job: Job, title: str, on_end: Callable[[], None]) -> None:
        super().__init__()
        self.job, self.title, self.on_end = job, title, on_end
        self.dialog = pya.QProgressDialog(f"hotscan {title}", "Cancel", 0, 100)
        self.dialog.setMinimumDuration(0)
        self.timer = pya.QTimer()
        self.timer.interval = _POLL_MS
        self.timer.timeout(_guard(self.poll))
        self.timer.start()
        _kept.append(self)

    def poll(self) -> None:
        """Show progress; at the end, the results or what went wrong."""
        if self.dialog.wasCanceled and self.job.code is None:
            self.job.cancel()
        stage, percent = self.job.progress()
        self.dialog.setLabelText(f"hotscan {self.title}: {stage}")
        self.dialog.setValue(min(percent, 99))
        if self.job.code is None:
            return
        self.timer.stop()
        self.dialog.close()
        _kept.remove(self)
        if self.job.code in (0, 1):  # 1: over the gate
            self.on_end()
        elif not self.dialog.wasCanceled:
            lines = self.job.read().strip().splitlines()[-8:]
            raise RuntimeError("\n".join([f"hotscan ended with {self.job.code}", *lines]))


def load_results() -> None:
    """Ask for a run, and load its markers."""
    view, window = find_view(), pya.Application.instance().main_window()
    folder = pya.FileDialog.ask_existing_dir("Run directory", window.get_config(RUN) or ".")
    if folder is not None:
        window.set_config(RUN, folder)
        results.show_markers(view, results.load_markers(view, Path(folder)))


def waive_hotspot() -> None:
    """Ask which hotspot is accepted and why, and keep it in the run's waivers."""
    window = pya.Application.instance().main_window()
    number = pya.InputDialog.ask_int("hotscan", "Number of the hotspot", 1)
    if number is None:
        return
    reason = pya.InputDialog.ask_string("hotscan", "Why it is accepted", "")
    if not reason:
        return
    run, program = Path(window.get_config(RUN)), find_program(window.get_config(PROGRAM))
    job = Job(make_waive_command(program, run, number, reason, getpass.getuser()))
    if job.wait():
        raise RuntimeError(job.read())


def search_fixes() -> None:
    """Search fixes of the run that is loaded, and lay them over the layout."""
    view, window = find_view(), pya.Application.instance().main_window()
    run = Path(window.get_config(RUN))
    command = make_fix_command(find_program(window.get_config(PROGRAM)), run)
    Watch(Job(command), "fix", lambda: results.show_fixes(view, run))
