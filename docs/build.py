"""Builds the documentation into build/docs and checks it: `python docs/build.py` (extra `[docs]`).

Sphinx runs with every warning an error. Then each page is read again: local links and anchors must exist, and nothing
may be loaded from the network, so the pages work from a disk. One of them is that of `pyformer explain docs/explain`.
"""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).parent
OUT = DOCS.parent / "build" / "docs"
# What the page on which the model of docs/explain computes begins with.
TEXTS = ("the dog behind the small birds", "the cats near the old horse", "the goat climbs . the frogs beside the dog")
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page links to, what it loads, and the anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.anchors.add(str(values["id"]))
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))
        loaded = values.get(LOADED.get(tag, ""))
        if loaded and not loaded.startswith("data:"):
            self.loads.append(loaded)


def faults(out: Path) -> list[str]:
    """Links of the built site that lead nowhere, and what it would fetch."""
    pages = {path: Page(path) for path in out.rglob("*.html")}
    found = []
    for path, page in pages.items():
        name = path.relative_to(out)
        found += [f"{name}: loads {link} from the network" for link in page.loads if urlsplit(link).netloc]
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{name}: {link} leads nowhere")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: {link} names no anchor of that page")
    return found


def main() -> int:
    sphinx = ["sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(OUT)]
    explain = ["pyformer", "explain", str(DOCS / "explain"), "--out", str(OUT / "explain.html")]
    explain += [argument for text in TEXTS for argument in ("--text", text)]
    for command in (sphinx, explain):
        if code := subprocess.run([sys.executable, "-m", *command], check=False).returncode:
            return code
    for fault in (found := faults(OUT)):
        print(fault, file=sys.stderr)
    if not found:
        print(f"open {OUT.relative_to(DOCS.parent) / 'index.html'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
