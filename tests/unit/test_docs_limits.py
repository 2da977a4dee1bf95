"""docs/limits.md against the code: every limit is there, with its value."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from heroctl_core import limits

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
ROW = re.compile(r"^\| `([A-Za-z_.]+)` \| ([0-9 ]+?) ?(B|KiB|MiB|s|min|h|days)? \|", re.MULTILINE)
UNITS_S = {"s": 1, "min": 60, "h": 3600, "days": 24 * 3600}
UNITS_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}
ARE_UNITS = {"KIB", "MIB"}


def rows() -> dict[str, int]:
    """Name → value of every row of the page's tables, in the unit that the name ends with."""
    found = {}
    for name, number, unit in ROW.findall(PAGE.read_text(encoding="utf-8")):
        value = int(number.replace(" ", ""))
        if unit in UNITS_S:
            value *= UNITS_S[unit] * (1000 if name.endswith("_MS") else 1)
        elif unit:
            value *= UNITS_BYTES[unit]
        assert name not in found, f"{name} is listed twice"
        found[name] = value
    return found


def value_of(name: str) -> int:
    """What the code says: `NAME` of limits.py, or `module.NAME`."""
    module, _, constant = name.rpartition(".")
    return int(getattr(importlib.import_module(f"heroctl_core.{module or 'limits'}"), constant))


def test_every_limit_is_on_the_page() -> None:
    """A limit that is added to limits.py is added to the page, one that goes leaves it."""
    named = {name for name in vars(limits) if name.isupper()} - ARE_UNITS
    assert {name for name in rows() if "." not in name} == named


@pytest.mark.parametrize("name", sorted(rows()))
def test_the_value_on_the_page_is_that_of_the_code(name: str) -> None:
    """Units included: 192 KiB on the page are 196608 in the code."""
    assert rows()[name] == value_of(name)


def test_the_page_can_be_wrong() -> None:
    """The table is really read: it holds numbers of each unit, and a known one is not another."""
    found = rows()
    assert len(found) > 40
    assert found["ROW_BYTES"] == 196_608
    assert found["METRIC_WINDOW_MS"] == 604_800_000
    assert found["raft.presence.OLD_QUORUM_S"] == 30
