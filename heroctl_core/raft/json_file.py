"""The small JSON files of a data folder: written whole and durable, with a checksum, read with it.

A flipped bit in a mark or a header could let a node vote twice or pass for another one, so it must
be noticed. Two keys say that a file has a checksum, and it then is exactly the text that is written
here: no flip of one bit takes both keys away, and none leaves the text as it was. A file with
neither key was written by a release before there were checksums.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .. import files
from ..errors import Damaged

_BYTES_MAX: Final = 1 << 20
_SUM, _NOTE = "sha256", "sha256_of"
_NOTE_TEXT: Final = "this object without these two keys, as JSON with sorted keys and indent 1"
_WAY_OUT: Final = (
    "the disk may be failing: put the file back from a backup, or move the data folder away; then "
    "let this node join as a new member, or restore a snapshot"
)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Durable when it returns; the file is the old one or the new one, never half of it."""
    files.write_atomic(path, _sealed(value))


def read_json(path: Path, *, way_out: str = _WAY_OUT) -> dict[str, Any]:
    """The object in the file; Damaged when it is none, or not as it was written. Nothing secret is
    in these files, so a copy with other rights is no reason to refuse them."""
    text = files.read_private(path, max_bytes=_BYTES_MAX, any_mode=True)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is no JSON: {error}", hint=way_out) from error
    if not isinstance(value, dict):
        raise Damaged(f"{path} is no JSON object", hint=way_out)
    if _SUM in value or _NOTE in value:
        value = {key: value[key] for key in value if key not in (_SUM, _NOTE)}
        if _sealed(value) != text:
            raise Damaged(f"{path} is not what was written: its sha256 differs", hint=way_out)
    return value


def _sealed(value: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(_text(value)).hexdigest()
    return _text({**value, _SUM: digest, _NOTE: _NOTE_TEXT})


def _text(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
