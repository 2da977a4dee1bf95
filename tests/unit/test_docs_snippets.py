"""The Python in the documents runs as it stands there, and prints what stands below it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
# ```python run, then at once, if there is one, the ```text that it prints.
SNIPPET = re.compile(
    r"^```python run\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE
)

Snippet = tuple[str, str]


def snippets(text: str) -> list[Snippet]:
    """Code and expected output ("" when none is shown) of every runnable block of a page."""
    return SNIPPET.findall(text)


FOUND = {
    f"{page.relative_to(ROOT)}-{number}": snippet
    for page in PAGES
    for number, snippet in enumerate(snippets(page.read_text(encoding="utf-8")), 1)
}


@pytest.mark.parametrize("name", FOUND)
def test_a_snippet_runs(name: str, tmp_path: Path) -> None:
    """In a fresh interpreter and an empty folder."""
    code, expected = FOUND[name]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    if expected:
        assert done.stdout == expected


def test_the_snippet_of_the_readme_runs_again(tmp_path: Path) -> None:
    """Who tries it runs it twice, in the same folder."""
    code, _ = FOUND["README.md-1"]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr


def test_every_marked_block_is_found() -> None:
    """No marked block escapes the pattern, and there are some."""
    marked = sum(page.read_text(encoding="utf-8").count("```python run") for page in PAGES)
    assert marked == len(FOUND) > 3


def test_output_belongs_to_the_block_before_it() -> None:
    """A text block is expected output only when nothing stands between."""
    page = "```python run\nprint(1)\n```\n\n```text\n1\n```\n\n```python run\npass\n```\n\nso:\n"
    assert snippets(page) == [("print(1)\n", "1\n"), ("pass\n", "")]
