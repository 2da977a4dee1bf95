"""The whole catalogue as a value to compare: every row of every kind, as the API shows it."""

from __future__ import annotations

from collections import Counter
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
    """Every row that the node shows, secrets with their values, metric series with their points."""
    picture: Picture = {}
    for kind, parts in COLLECTIONS.items():
        for item in _items(client, parts, consistency):
            name = _name(kind, item)
            picture[kind, name] = item
            if kind in ("secrets", "metric series"):
                picture[kind, name] = client.get(*_whole(parts, item, consistency)).body
    return picture


def counts(picture: Picture) -> str:
    """How many rows of each kind, as people say it."""
    found = Counter(kind for kind, _ in picture)
    points = sum(
        len(series["points"])
        for (kind, _), body in picture.items()
        if kind == "metric series"
        for series in body["series"]
    )
    parts = [f"{number} {kind}" for kind, number in found.items()]
    return f"{', '.join(parts)} with {points:,} points"


def differences(before: Picture, after: Picture) -> list[str]:
    """One line for each row that is missing, new or other than before."""
    lines = [f"missing: {kind} {name}" for kind, name in before.keys() - after.keys()]
    lines += [f"new: {kind} {name}" for kind, name in after.keys() - before.keys()]
    both = before.keys() & after.keys()
    lines += [f"changed: {key[0]} {key[1]}" for key in both if before[key] != after[key]]
    return sorted(lines)


def _items(client: Client, parts: tuple[str, ...], consistency: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        query = {"after": after, "consistency": consistency}
        page = client.get(path_of(*parts), query).body
        items += page["items"]
        after = page["next"]
        if after is None:
            return items


def _name(kind: str, item: dict[str, Any]) -> str:
    if kind == "tokens":
        return str(item["accessor"])
    if kind == "metric series":
        return f"{item['series']} {sorted(item['labels'].items())}"
    return str(item["name"])


def _whole(
    parts: tuple[str, ...], item: dict[str, Any], consistency: str
) -> tuple[str, dict[str, Any]]:
    """Where the whole row is, when the list shows only a part of it."""
    query = {"consistency": consistency}
    if "series" in item:
        labels = {f"label.{key}": value for key, value in item["labels"].items()}
        return path_of(*parts, item["series"]), query | labels
    return path_of(*parts, item["name"]), query
