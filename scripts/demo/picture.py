"""The whole catalogue as a value to compare: every row of every kind, as the API shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from heroctl_core.client import Client, path_of

COLLECTIONS = {
    "jobs": ("jobs",),
    "secrets": ("secrets",),
    "policies": ("acl", "policies"),
    "tokens": ("acl", "tokens"),
    "ingress routes": ("ingress",),
    "nodes": ("nodes",),
    "metric series": ("metrics",),
}
Picture = dict[tuple[str, str], Any]  # (kind, name) → the row


def take(client: Client, *, consistency: str = "linearizable") -> Picture:
    """Every row that the node shows, secrets with their values, metric series with all samples."""
    query = {"consistency": consistency}
    picture: Picture = {}
    for kind, parts in COLLECTIONS.items():
        for item in _items(client, path_of(*parts), query):
            if kind == "secrets":
                picture[kind, item["name"]] = client.get(path_of(*parts, item["name"]), query).body
            elif kind == "metric series":
                narrow = {f"label.{key}": value for key, value in item["labels"].items()}
                whole = client.get(path_of(*parts, item["series"]), query | narrow).body
                picture[kind, f"{item['series']} {item['labels']}"] = whole["items"]
            else:
                picture[kind, item["name"]] = item
    return picture


def counts(picture: Picture) -> str:
    """How many rows of each kind, as people say it."""
    found = Counter(kind for kind, _ in picture)
    history = [rows for (kind, _), rows in picture.items() if kind == "metric series"]
    samples = sum(len(series["samples"]) for rows in history for series in rows)
    parts = [f"{number} {kind}" for kind, number in found.items()]
    return f"{', '.join(parts)} with {samples:,} samples"


def differences(before: Picture, after: Picture) -> list[str]:
    """One line for each row that is missing, new or other than before."""
    lines = [f"missing: {kind} {name}" for kind, name in before.keys() - after.keys()]
    lines += [f"new: {kind} {name}" for kind, name in after.keys() - before.keys()]
    both = before.keys() & after.keys()
    lines += [f"changed: {key[0]} {key[1]}" for key in both if before[key] != after[key]]
    return sorted(lines)


def _items(client: Client, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    """All items of a collection, page by page."""
    after: str | None = None
    while True:
        page = client.get(path, query | ({"after": after} if after else {})).body
        yield from page["items"]
        after = page["next"]
        if after is None:
            return
