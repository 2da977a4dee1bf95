"""The rules of catalogued nodes: machines that carry jobs, not members of the Raft cluster."""

from __future__ import annotations

import math
from typing import Any

from .rows import Refused, Rows, check_name, checked_labels, checked_text


def put_node(rows: Rows, body: list[Any]) -> None:
    """Writes a node: [name, address, labels, resources, expect]."""
    name, address, labels, resources, expect = body
    check_name("node", name)
    address = checked_text(f"node {name}: address", address)
    labels = checked_labels("label", labels)
    resources = _checked_resources(f"node {name}: resource", resources)
    fields = {"address": address, "labels": labels, "resources": resources}
    rows.put("nodes", name, rows.stamped(rows.current("nodes", name, expect), fields))


def delete_node(rows: Rows, body: list[Any]) -> None:
    """Drops a node: [name, expect]."""
    rows.drop("nodes", "node", body)


def _checked_resources(place: str, value: object) -> dict[str, int | float]:
    """The map of text to finite numbers in canonical order."""
    if type(value) is not dict:
        raise Refused("invalid", f"{place}s must be a map of text to numbers")
    for key, number in value.items():
        if type(key) is not str or not key or type(number) not in (int, float):
            raise Refused("invalid", f"{place} {key!r} must be a number")
        if not math.isfinite(number):
            raise Refused("invalid", f"{place} {key} is {number}, which JSON cannot hold")
        if not -(2**63) <= number < 2**63:
            raise Refused("invalid", f"{place} {key} is beyond 64 bits")
    return {key: value[key] for key in sorted(value)}
