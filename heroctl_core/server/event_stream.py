"""Changes as server-sent events (WHATWG HTML, "Server-sent events"). Pure.

Each has the cursor as its id, so a browser or our client that comes back says in `Last-Event-ID`
where it was. `put` and `delete` carry a change; `bookmark` only moves the cursor; `end` carries the
problem document that says why nothing more comes.
"""

from __future__ import annotations

from typing import Any, Final

from ..catalogue.watch import Change
from ..errors import HeroctlError
from . import documents, wire

CONTENT_TYPE: Final = "text/event-stream"


def change(told: Change) -> bytes:
    """One change; its value is the document that a read would give."""
    value = None if told.value is None else documents.document(told.value)
    return _event(told.action, {**told.to_json(), "value": value}, told.cursor)


def bookmark(cursor: str) -> bytes:
    """Nothing under the watch has changed up to there."""
    return _event("bookmark", {"cursor": cursor}, cursor)


def end(error: HeroctlError) -> bytes:
    """The last event."""
    return _event("end", wire.problem(error), None)


def _event(name: str, body: dict[str, Any], cursor: str | None) -> bytes:
    head = f"event: {name}\n" + ("" if cursor is None else f"id: {cursor}\n")
    return head.encode() + b"data: " + wire.encode(body) + b"\n\n"
