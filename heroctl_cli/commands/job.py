"""`heroctl job`: declared jobs."""

from __future__ import annotations

from ..resource import group

command = group(
    "job",
    "Declared jobs: what should run.",
    [
        ("NAME", lambda job: job["name"]),
        ("IMAGE", lambda job: job["spec"].get("image")),
        ("REPLICAS", lambda job: job["spec"].get("replicas")),
        ("LABELS", lambda job: job["labels"]),
        ("REVISION", lambda job: job["meta"]["revision"]),
    ],
)
