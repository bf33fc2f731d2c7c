"""The docs say what the program does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import hotscan
from pipeline.audit.result import SCHEMA as AUDITED_SCHEMA
from pipeline.passes.arrays import CLIPS_SCHEMA
from pipeline.simulate.tiles import DEFECTS
from stages.exports.tables import CLASS_COLUMNS, hotspots_to_table

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "docs" / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_settings_is_up_to_date() -> None:
    page = (CHECKOUT / "docs" / "reference" / "config.md").read_text()
    assert page == script("make_config").page(), "run: python docs/tools/make_config.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, queue = set(), [CHECKOUT / "README.md"]
    while queue:
        page = queue.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            path = (page.parent / target).resolve()
            if path.is_dir():
                queue.extend(path.glob("*.md"))
            elif path.suffix == ".md" and path.exists():
                queue.append(path)
    pages = set(PAGES) - {CHECKOUT / "CHANGELOG.md"}
    assert pages <= reached, pages - reached


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    named = re.findall(r"[\w/-]+\.md", (CHECKOUT / "mkdocs.yml").read_text())
    docs = CHECKOUT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in docs.glob("**/*.md")}
    records = {page for page in pages if page.startswith("decisions/")}
    assert sorted(pages - records - set(named)) == []
    assert records > {"decisions/index.md"}  # the hook adds them


def test_every_column_is_in_the_docs() -> None:
    page = (CHECKOUT / "docs" / "reference" / "files.md").read_text()
    schemas = (CLIPS_SCHEMA, DEFECTS, AUDITED_SCHEMA, hotspots_to_table((), 1.0, {}, {}, {}).schema)
    names = {*CLASS_COLUMNS, *(name for schema in schemas for name in schema.names)}
    assert len(names) > 40
    assert sorted(name for name in names if f"`{name}`" not in page) == []


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="b.html">', "b.html does not exist"),
        ('<a href="a.html#x">', "a.html#x has no such anchor"),
        ('<h1 id="x"></h1><a href="#x"><a href="https://example.org">', ""),  # a link, not loaded
        ('<script src="https://example.org/x.js">', "must work offline"),
        ('<link href="//example.org/x.css">', "must work offline"),
    ],
)
def test_faults_of_a_built_site_are_found(html: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(html)
    faults = list(script("check_site").find_faults(tmp_path))
    assert len(faults) == bool(fault)
    assert all(fault in text for text in faults)


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = "\n".join(script("mkdocs_hooks").describe_api())
    missing = [name for name in hotscan.__all__ if not re.search(rf"^::: .*\.{name}$", page, re.M)]
    assert missing == []
