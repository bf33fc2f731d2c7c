"""The page in a real browser without a window: every action, by keys and by pointer."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.review.decision_file import NAME
from tests.pipeline.review.conftest import CopyRun, serve

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install it")
expect = sync_api.expect
expect.set_options(timeout=30_000)  # a busy machine

READY = "#map[data-state=ready]"
Page = Any
Browser = Any
OpenPage = Callable[[str], Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium; install it, for example: apt-get install chromium")
    with sync_api.sync_playwright() as browsers:
        started = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


def load(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(READY)
    page.wait_for_selector("#facts dd")
    page.wait_for_selector("#table tbody tr")


@pytest.fixture(scope="module")
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Return a function that opens an address; whatever the page complains of fails the test."""
    contexts, faults = [], []

    def open_address(address: str, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        load(page, address)
        return page

    yield open_address
    for context in contexts:
        context.close()
    assert [each for each in faults if "status of 400" not in each] == []  # these are told


@pytest.fixture(scope="module")
def shared_page(open_page: OpenPage, address: str) -> Iterator[Page]:
    page = open_page(address)
    yield page
    page.context.close()  # before the server ends


@pytest.fixture
def page(shared_page: Page, address: str) -> Page:
    """A page for tests that decide nothing."""
    shared_page.goto("about:blank")  # else another hotspot in the address would load nothing
    load(shared_page, address)
    return shared_page


@pytest.fixture
def run(copy_run: CopyRun) -> Path:
    return copy_run()


@pytest.fixture
def own_page(open_page: OpenPage, run: Path) -> Iterator[Page]:
    """A page of a review of its own."""
    with serve(run) as address:
        page = open_page(address)
        yield page
        page.context.close()


def name(page: Page) -> str:
    return str(page.inner_text("#name"))


def press(page: Page, key: str) -> None:
    """Press a key, and wait for another hotspot."""
    before = name(page)
    page.keyboard.press(key)
    expect(page.locator("#name")).not_to_have_text(before)


def count_marks(page: Page) -> int:
    """How many pixels of the map have the colour of level 3, of which the small scan's are."""
    page.wait_for_selector(READY)
    return int(page.evaluate(
        """() => {
          const map = document.querySelector("#map");
          const {color} = getComputedStyle(document.querySelector("#name"));
          const rgb = color.match(/\\d+/g).map(Number);
          const {data} = map.getContext("2d").getImageData(0, 0, map.width, map.height);
          let found = 0;
          for (let at = 0; at < data.length; at += 4)
            if (rgb.every((value, part) => Math.abs(data[at + part] - value) < 3)) found++;
          return found;
        }"""
    ))  # fmt: skip


def test_the_first_view(page: Page) -> None:
    assert "dense" in page.title()
    assert page.inner_text("#progress").startswith("0 of ")
    assert name(page).startswith("H")
    assert page.locator("#table tbody tr[aria-current=true]").count() == 1
    assert page.inner_text("#bar b").endswith("µm")
    assert count_marks(page) > 100


def test_keys_go_through_hotspots_and_classes(page: Page) -> None:
    first = name(page)
    press(page, "j")
    press(page, "k")
    assert name(page) == first
    press(page, "k")  # the last comes before the first
    expect(page.locator("#position")).to_contain_text(page.inner_text("#position").split()[-1])
    press(page, "j")
    number = page.inner_text("#facts")
    page.keyboard.press("n")
    expect(page.locator("#facts")).not_to_have_text(number)
    page.keyboard.press("c")
    expect(page.locator("#class-only")).to_have_attribute("aria-pressed", "true")
    only = page.input_value("#class")
    assert f"Class\nC{only}," in page.inner_text("#facts")
    page.keyboard.press("p")
    expect(page.locator("#class")).not_to_have_value(only)
    page.keyboard.press("c")
    expect(page.locator("#class")).to_have_value("")


def test_keys_move_the_map(page: Page) -> None:
    bar = page.inner_text("#bar")
    page.keyboard.press("z")
    page.wait_for_selector(READY)
    assert page.inner_text("#bar b").endswith("nm")
    close = page.screenshot(clip={"x": 500, "y": 200, "width": 300, "height": 300})
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(READY)
    assert page.screenshot(clip={"x": 500, "y": 200, "width": 300, "height": 300}) != close
    page.keyboard.press("+")
    page.keyboard.press("-")
    page.keyboard.press("0")
    page.wait_for_selector(READY)
    assert page.inner_text("#bar") == bar
    page.keyboard.press("l")
    expect(page.locator("#colour")).to_have_value("class")
    page.keyboard.press("l")
    page.keyboard.press("/")
    expect(page.locator("#levels input").first).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()


HOLD = """
const real = window.fetch;
window.held = [];
window.fetch = (...asked) => document.querySelector("#map")?.dataset.state === "ready"
  ? new Promise((go) => window.held.push(() => go(real(...asked)))) : real(...asked);
"""
"""Keeps back what the page asks for while its map is drawn."""


def test_a_view_is_drawn_of_what_was_on_its_way(open_page: OpenPage, address: str) -> None:
    """What is fetched ahead of time, while nobody moves, is wanted before it is there."""
    page = open_page(address)
    page.add_init_script(HOLD)
    page.goto("about:blank")
    load(page, address)
    while not page.evaluate("window.held.length"):
        page.wait_for_timeout(20)
    for _ in range(3):  # the next view may be drawn of the same tiles
        page.keyboard.press("+")
        page.wait_for_timeout(200)
        if page.get_attribute("#map", "data-state") == "busy":
            break
    page.wait_for_timeout(1000)  # by then the rest of that view is there
    assert page.get_attribute("#map", "data-state") == "busy"
    page.evaluate("window.held.forEach((go) => go())")
    page.wait_for_selector(READY)
    page.context.close()


def test_the_pointer_moves_the_map_and_chooses(page: Page) -> None:
    box = page.locator("#map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    bar = page.inner_text("#bar")
    page.mouse.move(x, y)
    expect(page.locator("#cursor")).to_contain_text("µm")
    page.mouse.wheel(0, -600)
    expect(page.locator("#bar")).not_to_have_text(bar)
    before, view = name(page), page.get_attribute("#map", "data-view")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=3)
    page.mouse.up()
    page.wait_for_selector(READY)
    (x0, y0, scale), (x1, y1, _) = (
        [float(part) for part in each.split(",")]
        for each in (view, page.get_attribute("#map", "data-view"))
    )
    assert (x0 - x1) / scale == pytest.approx(60, abs=0.1)
    assert (y1 - y0) / scale == pytest.approx(30, abs=0.1)
    assert name(page) == before  # a drag chooses nothing


def test_a_click_on_a_mark_or_a_row_chooses_it(page: Page) -> None:
    wanted = name(page)
    place = re.search(r"Place\s+([\d.-]+), ([\d.-]+) µm", page.inner_text("#facts"))
    assert place is not None
    page.click("#tab-spots")
    page.click("#table tbody tr:last-child td:nth-child(2)")
    expect(page.locator("#name")).not_to_have_text(wanted)
    page.click(f"#table tbody tr[data-id='{wanted.split()[0][1:]}']")
    expect(page.locator("#name")).to_have_text(wanted)
    press(page, "j")
    page.wait_for_selector(READY)
    x, y, scale = (float(part) for part in page.get_attribute("#map", "data-view").split(","))
    box = page.locator("#map").bounding_box()
    right, up = ((1000 * float(place[at]) - (x, y)[at - 1]) / scale for at in (1, 2))
    page.mouse.click(box["x"] + box["width"] / 2 + right, box["y"] + box["height"] / 2 - up)
    expect(page.locator("#name")).to_have_text(wanted)


def test_contours_are_simulated_on_request(page: Page) -> None:
    page.keyboard.press("o")
    expect(page.locator("#contours")).to_have_attribute("aria-pressed", "true", timeout=60_000)
    expect(page.locator("#say")).to_contain_text("3 corners of the process")
    page.wait_for_selector(READY)
    assert page.inner_text("#bar b").endswith("nm")  # it goes there
    page.keyboard.press("o")
    expect(page.locator("#contours")).to_have_attribute("aria-pressed", "false")


def test_the_filter_leaves_what_it_says(page: Page) -> None:
    total = int(page.inner_text("#position").split()[-1])
    drawn = count_marks(page)
    page.check("#states input[value=accepted]")
    expect(page.locator("#name")).to_have_text("No hotspot passes the filter")
    expect(page.locator("#page")).to_have_text("no class")
    assert count_marks(page) < drawn / 4
    expect(page.locator("#actions button").first).to_be_disabled()
    page.check("#states input[value=open]")
    expect(page.locator("#position")).to_have_text(f"1 of {total}")
    kinds = page.locator("#kind option").all_inner_texts()
    found = 0
    for kind in kinds[1:]:
        page.select_option("#kind", kind)
        expect(page.locator("#name")).to_contain_text(kind)
        found += int(page.inner_text("#position").split()[-1])
    assert found == total
    page.click("button[type=reset]")
    expect(page.locator("#position")).to_have_text(f"1 of {total}")
    cell = page.locator("#cells option").first.get_attribute("value")
    page.fill("#cell", cell)
    page.keyboard.press("Enter")
    expect(page.locator("#position")).not_to_have_text(f"1 of {total}")
    assert f"Cell\n{cell} (" in page.inner_text("#facts")
    page.click("button[type=reset]")
    page.click("#table tbody tr:nth-child(2)")
    expect(page.locator("#class")).not_to_have_value("")


def test_decisions_by_keys(own_page: Page, run: Path) -> None:
    page = own_page
    press(page, "a")
    expect(page.locator("#say")).to_contain_text("Accepted 1 hotspot")
    press(page, "f")
    expect(page.locator("#say")).to_contain_text("To fix: 1 hotspot")
    page.keyboard.press("m")
    page.keyboard.type("<b>look</b> again")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#notes p")).to_have_text("<b>look</b> again")
    expect(page.locator("#text")).to_be_hidden()
    page.fill("#by", "Else")
    page.keyboard.press("Tab")
    waived = name(page)
    page.keyboard.press("w")
    expect(page.locator("#text-value")).to_be_focused()
    page.click("#text-submit")  # no reason: it stays
    expect(page.locator("#text")).to_be_visible()
    page.fill("#text-value", "measured")
    page.fill("#text-day", "2001-01-31")
    page.click("#text-submit")
    expect(page.locator("#text-error")).to_contain_text("would have expired")
    page.fill("#text-day", "2099-12-31")
    page.click("#text-submit")
    expect(page.locator("#name")).not_to_have_text(waived)
    assert 'reason = "measured"' in (run.parent / "waivers.toml").read_text()
    expect(page.locator("#progress")).to_contain_text("3 of ")
    expect(page.locator("#count-state-waived")).to_have_text("1")
    lines = [json.loads(line) for line in (run / NAME).read_text().splitlines()[1:]]
    assert [(line["what"], line["by"]) for line in lines] == [
        ("accepted", "N. N."), ("fix", "N. N."), ("comment", "N. N."), ("waived", "Else"),
    ]  # fmt: skip
    page.keyboard.press("k")
    expect(page.locator("#name")).to_have_text(waived)
    page.keyboard.press("u")
    expect(page.locator("#say")).to_contain_text("Opened 1 hotspot")
    assert "[[waiver]]" not in (run.parent / "waivers.toml").read_text()


def test_decisions_about_a_class_and_progress(open_page: OpenPage, run: Path) -> None:
    with serve(run) as address:
        page = open_page(address)
        page.click("#table tbody tr:first-child")
        size = int(page.inner_text("#table tbody tr:first-child td:nth-child(3)"))
        expect(page.locator("#position")).to_have_text(f"1 of {size}")
        assert size > 3
        page.keyboard.press("f")
        expect(page.locator("#count-state-fix")).to_have_text("1")
        page.keyboard.press("A")
        expect(page.locator("#say")).to_contain_text(f"Accepted {size - 1} hotspots")
        page.check("#whole")
        page.uncheck("#advance")
        page.click("#actions [data-what=open]")
        expect(page.locator("#say")).to_contain_text(f"Opened {size} hotspots")
        page.click("#actions [data-what=accepted]")
        expect(page.locator("#count-state-accepted")).to_have_text(str(size))
        shown = page.url.split("#")[1]
        page.context.close()
    with serve(run, by="Else") as address:
        page = open_page(f"{address}#{shown}")
        assert name(page).startswith(shown)
        expect(page.locator("#count-state-accepted")).to_have_text(str(size))
        assert page.input_value("#by") == "Else"
        assert "by N. N." in page.inner_text("#notes")
        page.context.close()


CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const under = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.matches(":disabled, :disabled *")) continue;
    const pair = [parse(getComputedStyle(element).color), under(element)].map(light);
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    found.push([ratio, `${element.tagName}#${element.id} ${element.textContent.slice(0, 20)}`]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(open_page: OpenPage, address: str, scheme: str) -> None:
    page = open_page(address, color_scheme=scheme)
    found = page.evaluate(CONTRAST)
    assert len(found) > 50
    assert [text for ratio, text in found if ratio < 4.5] == []


def test_it_can_be_used_by_keyboard_and_screen_reader(page: Page) -> None:
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, [tabindex]")]
          .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    roles = page.locator("body").aria_snapshot()
    for role in ("banner", "main", "complementary", "tablist", "toolbar", "application"):
        assert f"- {role}" in roles, roles
    expect(page.locator("#say")).to_have_attribute("aria-live", "polite")
    assert page.evaluate("document.querySelector('a, button, input').className") == "skip"
    page.focus(".skip")
    page.keyboard.press("Enter")
    assert page.url.endswith("#detail")
    seen = set()
    for _ in range(60):  # Tab comes everywhere, and is never caught
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"map", "by", "level", "state", "kind", "tab-classes", "next", "whole"} <= seen
    page.focus("#tab-classes")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-spots")).to_be_focused()
    expect(page.locator("#tab-spots")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#table thead")).to_contain_text("State")
    press(page, "j")
    expect(page.locator("#say")).to_contain_text(name(page).split()[0])


def test_keys_of_one_letter_can_be_turned_off(page: Page) -> None:
    page.click("#help-open")
    page.uncheck("#single")
    page.click("#help button[type=submit]")
    before = name(page)
    page.keyboard.press("j")
    page.click("#colour")  # something else happens meanwhile
    assert name(page) == before
