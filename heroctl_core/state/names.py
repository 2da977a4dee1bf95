"""What a name may be, in every kind of resource: text that is also safe as a relative path."""

from __future__ import annotations

import re
from typing import Final

from .. import limits

# Written out, not asked of `str.isprintable`: its answer depends on Python's Unicode tables, and
# two nodes with different Python versions must say the same.
_CONTROLS: Final = "\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?<!\.)")
_HIDDEN: Final = re.compile(f"[{_CONTROLS}]")


def has_hidden(text: str) -> bool:
    """True for text with a control, invisible or direction-changing character."""
    return _HIDDEN.search(text) is not None


def name_fault(name: object) -> str | None:
    """Why `name` cannot be a name, or None.

    A name has 1 to limits.NAME_BYTES bytes, no control or invisible character, and "/"-separated
    segments that are neither empty nor "." nor hold ".." or a backslash: it never leaves a folder.
    """
    if type(name) is not str:
        return f"is no text but {type(name).__name__}"
    if not name:
        return "is empty"
    if len(name) <= limits.NAME_BYTES and _PLAIN.fullmatch(name) and ".." not in name:
        return None  # nearly every name
    if has_hidden(name):
        return "has a control or invisible character"
    size = len(name.encode())
    if size > limits.NAME_BYTES:
        return f"has {size} bytes, the limit is {limits.NAME_BYTES}"
    return _path_fault(name)


def _path_fault(name: str) -> str | None:
    if name.startswith("/"):
        return 'begins with "/"'
    if ".." in name:
        return 'has ".." in it'
    if "\\" in name:
        return "has a backslash in it"
    for segment in name.split("/"):
        if segment in {"", "."}:
            return f'has the segment "{segment}"'
        if segment != segment.strip(" "):
            return "has a space at the edge of a segment"
    return None
