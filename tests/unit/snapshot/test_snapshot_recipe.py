"""The recipe of docs/archive-format.md opens an archive without HeroCtl, as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Workshop

DOCUMENT = Path(__file__).parents[3] / "docs" / "archive-format.md"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The one program in the document, as a file."""
    [program] = re.findall(
        r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    assert "heroctl_core" not in program
    path = tmp_path / "open_archive.py"
    path.write_text(program)
    return path


def run(
    recipe: Path, workshop: Workshop, key: str = "backup.key"
) -> subprocess.CompletedProcess[str]:
    """Runs it in another folder, as an operator would."""
    paths = (recipe, workshop.target, workshop.folder / key)
    arguments = [sys.executable, "-P", *map(str, paths)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd="/")


def test_the_recipe_prints_every_record(recipe: Path, workshop: Workshop) -> None:
    """An independent reader, made from the document, finds what we saved."""
    workshop.save(audit_head=b"head")
    done = run(recipe, workshop)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for kind in workshop.tables:
        found = [(line["key"], line["row"]) for line in lines if line["section"] == kind]
        assert found == [(key, row.hex()) for key, row in workshop.rows(kind)]


def test_the_recipe_reads_sections_of_many_chunks(recipe: Path, workshop: Workshop) -> None:
    """Also a section of more than one MiB."""
    workshop.tables["metrics"].put("noise", bytes(range(256)) * 700)
    for i in range(40):
        workshop.tables["jobs"].put(f"n{i}", bytes((i * j * j) % 251 for j in range(60_000)))
    workshop.save()
    done = run(recipe, workshop)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 205 + 1 + 40 + 7


def test_the_recipe_finds_damage(recipe: Path, workshop: Workshop) -> None:
    """It ends with an error, and prints no record."""
    workshop.save()
    other = workshop.folder / "other.key"
    other.write_text("A" * 43 + "=\n")
    assert "wrong key" in run(recipe, workshop, "other.key").stderr
    data = bytearray(workshop.target.read_bytes())
    data[data.index(b"sections/02-jobs") + 600] ^= 1
    workshop.target.write_bytes(data)
    done = run(recipe, workshop)
    assert done.returncode != 0
    assert done.stdout == ""
