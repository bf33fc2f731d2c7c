"""Check the built site: every local link and anchor exists, and no page loads anything remote.

Run as ``python -m docs.tools.check_site site``; prints what is wrong and exits 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src")}
"""Tags and attributes that a browser fetches without being asked."""


class _Page(HTMLParser):
    """The anchors and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect one tag."""
        for name, value in attrs:
            if value and name in ("id", "name"):
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.links.append((tag, name, value))


def find_faults(site: Path) -> Iterator[str]:
    """Yield one line for each link that leads nowhere and each remote file that is loaded.

    Parameters
    ----------
    site
        Folder of a built site.
    """
    pages = {
        path.resolve(): _Page(path.read_text("utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"  # a server shows it in place of any page: its links are absolute
    }
    for path, page in pages.items():
        for tag, name, value in page.links:
            url = urlsplit(value)
            if url.scheme or url.netloc:
                if url.scheme in ("http", "https", "") and (tag, name) in LOADED:
                    yield f"{path.name}: <{tag}> loads {value}; the site must work offline"
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            anchor = unquote(url.fragment)
            if not target.exists():
                yield f"{path.name}: {value} does not exist"
            elif anchor and target in pages and anchor not in pages[target].anchors | {"__top"}:
                yield f"{path.name}: {value} has no such anchor"


if __name__ == "__main__":
    faults = sorted(set(find_faults(Path(sys.argv[1]))))
    print("\n".join(faults))
    sys.exit(bool(faults))
