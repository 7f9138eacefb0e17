"""Pages name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", CODE.sub("", page.read_text())):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("docs/reference/*.md")], ids=lambda page: page.stem)
def test_a_link_has_words_without_the_site_too(page):
    """Sphinx fills in the title of `[](page.md)`; whoever reads the file itself would see nothing."""
    assert "[](" not in page.read_text()


def test_links_are_found():
    assert len(PAGES) > 6
    assert sum(len(re.findall(r"\]\(", page.read_text())) for page in PAGES) > 40


def test_the_page_on_embedding_shows_the_example_as_it_is():
    """tests/embedding.sh builds these files and checks what the program prints."""
    page = (ROOT / "docs/embedding.md").read_text()
    for file in ("CMakeLists.txt", "layer.cpp"):
        assert f"\n{(ROOT / 'examples/cpp' / file).read_text()}```\n" in page, file
    printed = (ROOT / "tests/embedding.sh").read_text().split("EXPECTED'\n")[1].split("EXPECTED\n")[0]
    assert f"```\n{printed}```\n" in page
