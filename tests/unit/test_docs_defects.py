"""docs/engine.md names two tests for every defect of stock pysyncobj."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "engine.md").read_text("utf-8")
DEFECTS, TESTS = TEXT.split("### Two tests for each row")
ROWS = [*range(14), *range(21, 31)]


def cells(text: str) -> dict[int, list[str]]:
    """The cells of the numbered rows of all tables in a text."""
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", text, re.MULTILINE)
    return {int(number): [cell.strip() for cell in rest.split(" | ")] for number, rest in rows}


def defined(path: Path) -> set[str]:
    """The test functions of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_defect_has_its_row() -> None:
    """24 of them: rows 0 to 13 lose writes or elect two leaders, rows 21 to 30 do smaller harm."""
    described = DEFECTS.split("## What is wrong with stock pysyncobj")[1]
    assert list(cells(described)) == ROWS
    assert list(cells(TESTS)) == ROWS


def test_every_defect_has_its_two_tests() -> None:
    """One of the stock version that bears the row's number, and one of ours; both exist."""
    for number, (stock, ours) in cells(TESTS).items():
        for cell in (stock, ours):
            path, name = re.fullmatch(r"`(.+\.py)::(test_\w+)`", cell).groups()  # type: ignore[union-attr]
            assert name in defined(ROOT / "tests" / path), cell
        assert "pysyncobj_stock" in stock and f"::test_row_{number}_" in stock
        assert "pysyncobj_stock" not in ours
