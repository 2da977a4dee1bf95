"""Prints figures beside the goals that they have to reach, as text or as one JSON object."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: its key, what it is, its unit, and a goal that it must stay below or above."""

    key: str
    text: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None


def show(
    question: str,
    lines: Sequence[Line],
    figures: Mapping[str, float],
    *,
    as_json: bool,
    notes: Iterable[str] = (),
) -> int:
    """Prints the figures that have a line; the exit code is 0, for a missed goal is no failure."""
    notes = list(notes)
    figures = {line.key: figures[line.key] for line in lines if line.key in figures}
    if as_json:
        print(json.dumps(_tree(question, lines, figures, notes), indent=2))
        return 0
    print(question)
    for line in lines:
        if line.key in figures:
            value = figures[line.key]
            print(f"  {line.text:<52} {_number(value):>10} {line.unit:<9} {_goal(line, value)}")
    for note in notes:
        print(f"  note: {note}")
    return 0


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _tree(
    question: str, lines: Sequence[Line], figures: Mapping[str, float], notes: list[str]
) -> dict[str, Any]:
    goals = {line.key: line for line in lines}
    shown: dict[str, Any] = {}
    for key, value in figures.items():
        line = goals[key]
        shown[key] = {"value": value, "unit": line.unit}
        if line.at_most is not None:
            shown[key]["at_most"] = line.at_most
        if line.at_least is not None:
            shown[key]["at_least"] = line.at_least
    machine = {
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    return {"question": question, "machine": machine, "figures": shown, "notes": notes}


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _goal(line: Line, value: float) -> str:
    if line.at_most is not None:
        is_reached, words = value <= line.at_most, f"at most {line.at_most:g}"
    elif line.at_least is not None:
        is_reached, words = value >= line.at_least, f"at least {line.at_least:,g}"
    else:
        return ""
    return f"goal {words}: {'reached' if is_reached else 'missed'}"
