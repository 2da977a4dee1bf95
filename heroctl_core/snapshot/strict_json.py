"""JSON for the clear members of an archive, read strictly: ValueError for all that is not plain.

At most 1 MiB, UTF-8, no key twice, no NaN or infinity, no half characters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, Never

from .. import limits
from ..state.names import has_hidden

_UINT_MAX: Final = 2**63 - 1


def dump_json(tree: Mapping[str, object]) -> bytes:
    """JSON as all our members have it: indented, UTF-8, one line feed at the end."""
    return (json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load_json(data: bytes) -> dict[str, Any]:
    """The object in these bytes."""
    if len(data) > limits.ARCHIVE_JSON_BYTES:
        raise ValueError(f"{len(data)} bytes, more than {limits.ARCHIVE_JSON_BYTES}")
    try:
        tree = json.loads(
            data.decode("utf-8", errors="strict"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not strict JSON: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError("is no JSON object")
    return tree


def read_text(tree: dict[str, Any], key: str) -> str:
    """A text of at most 4 KiB without control characters: it goes into messages."""
    value = tree.get(key)
    if not isinstance(value, str) or len(value.encode()) > limits.ARCHIVE_KEY_BYTES:
        raise ValueError(f"{key} is no text, or too long")
    if has_hidden(value):
        raise ValueError(f"{key} has control characters")
    return value


def read_uint(tree: dict[str, Any], key: str) -> int:
    """A number from 0 to 2^63-1."""
    value = tree.get(key)
    if type(value) is not int or not 0 <= value <= _UINT_MAX:
        raise ValueError(f"{key} is no number from 0 to 2^63-1")
    return value


def read_object(tree: dict[str, Any], key: str) -> dict[str, Any]:
    """An object in the object."""
    value = tree.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{key} is no object")
    return value


def read_list(tree: dict[str, Any], key: str, most: int) -> list[Any]:
    """A list of at most `most` items."""
    value = tree.get(key)
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"{key} is no list of at most {most}")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key is there twice")
    return tree


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is too large")
    return value
