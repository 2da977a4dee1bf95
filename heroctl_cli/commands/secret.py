"""`heroctl secret`: stored secrets. `list` never shows a value, `get` does."""

from __future__ import annotations

from ..resource import group

command = group(
    "secret",
    "Stored secrets; a value is sealed before it leaves the node that takes it.",
    [
        ("NAME", lambda secret: secret["name"]),
        ("METADATA", lambda secret: secret["metadata"]),
        ("REVISION", lambda secret: secret["meta"]["revision"]),
    ],
)
