"""What a node has in its log that the generation which it joins does not know. Pure.

The entries go into quarantine with it; these words tell an operator whether they matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .. import codec
from ..state.commands import decode
from . import guard
from .guard import Entry

_SHOWN: Final = 20


def left_behind(entries: Sequence[Entry], known_index: int) -> str:
    """The commands behind `known_index`, the newest twenty by name, as one text; "" for none. Some
    may never have been committed."""
    words = [word for data, index, _ in entries if index > known_index for word in _words(data)]
    if not words:
        return ""
    older = f"{len(words) - _SHOWN} older ones, " if len(words) > _SHOWN else ""
    return f"{len(words)} commands: {older}{', '.join(words[-_SHOWN:])}"


def _words(data: bytes) -> list[str]:
    if data[0] != guard.REGULAR:
        return []
    return [_word(envelope) for envelope in codec.unpack(memoryview(data)[1:])[1]]


def _word(envelope: bytes) -> str:
    try:
        command = decode(envelope).command
    except ValueError:
        return "a command of another release"
    name = getattr(command, "name", "")
    return f"{type(command).__name__} {name}".strip()
