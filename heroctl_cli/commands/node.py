"""`heroctl node`: the machines that the catalogue knows, not the members of the cluster."""

from __future__ import annotations

from ..resource import group

command = group(
    "node",
    "The machines that the catalogue knows (the cluster's own members: heroctl cluster members).",
    [
        ("NAME", lambda node: node["name"]),
        ("ADDRESS", lambda node: node["address"]),
        ("LABELS", lambda node: node["labels"]),
        ("RESOURCES", lambda node: node["resources"]),
        ("REVISION", lambda node: node["meta"]["revision"]),
    ],
)
