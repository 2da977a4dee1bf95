"""Links and names of files in the documents lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = [
    path
    for top in ("heroctl_core", "heroctl_cli", "tests", "scripts", "benchmarks")
    for path in sorted((ROOT / top).rglob("*.py"))
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
NAMED_PAGE = re.compile(r"\bdocs/[a-z/-]+\.md")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = set()
    for heading in HEADING.findall(text):
        kept = re.sub(r"[^\w\s-]", "", heading.lower())
        found.add(kept.strip().replace(" ", "-"))
    return found


def broken(page: Path, text: str) -> list[str]:
    """The relative links of `text` that lead nowhere, seen from `page`."""
    found = []
    for link in LINK.findall(FENCE.sub("", text)):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, and a heading that is in it."""
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_pages_that_the_code_names_exist() -> None:
    """A docstring that says docs/NAME.md points to a page."""
    named = {
        name for path in SOURCES for name in NAMED_PAGE.findall(path.read_text(encoding="utf-8"))
    }
    assert len(named) > 3
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    """Following links from README.md leads to every page of docs/."""
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        links = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links if link]
    assert sorted(set((ROOT / "docs").rglob("*.md")) - seen) == []


@pytest.mark.parametrize("link", ["nowhere.md", "limits.md#no-such-heading", "#neither"])
def test_a_broken_link_is_found(link: str) -> None:
    """The check can fail."""
    assert broken(ROOT / "docs" / "operations.md", f"see [this]({link})") == [link]
