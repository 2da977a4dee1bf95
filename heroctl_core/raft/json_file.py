"""The small JSON files of a data folder: written whole and durable, read with a limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .. import files
from ..errors import Damaged

_BYTES_MAX: Final = 1 << 20


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Durable when it returns; the file is the old one or the new one, never half of it."""
    files.write_atomic(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file; Damaged when it is none. Nothing secret is in these files, so a copy
    with other rights is no reason to refuse them."""
    try:
        value = json.loads(files.read_private(path, max_bytes=_BYTES_MAX, any_mode=True))
    except ValueError as error:
        raise Damaged(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Damaged(f"{path} is no JSON object")
    return value
