"""The docs say what the program does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = sorted([CHECKOUT / "README.md", *CHECKOUT.glob("docs/**/*.md")])


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
    assert set(PAGES) == reached & set(PAGES), set(PAGES) - reached
