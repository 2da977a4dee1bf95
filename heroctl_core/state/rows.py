"""All tables together, and what every row has in common: its stamp, its limits, `expect`.

The rules of one kind are in the file of that kind; they refuse by raising Refused before they
write anything, and the machine turns that into a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from .. import limits
from ..codec import pack, unpack
from ..errors import StateDefect
from .events import UNWATCHED, Event
from .names import has_hidden, name_fault
from .tables import Table

# The order is the order of the sections in an archive.
KINDS: Final = ("keyring", "jobs", "secrets", "acl", "ingress", "nodes", "metrics")
_NOUNS: Final = {"jobs": "job", "secrets": "secret", "nodes": "node"}


class Refused(Exception):
    """The command must not have an effect; `reason` is one of errors.REJECT_REASONS."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class References:
    """How many rows point at a name. Counts only: numbers do not burden Python's collector."""

    __slots__ = ("counts", "undo")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.undo: list[Callable[[], object]] | None = None  # see Rows.undone_when_refused

    def __contains__(self, name: str) -> bool:
        return name in self.counts

    def __len__(self) -> int:
        return len(self.counts)

    def add(self, name: str) -> None:
        """One row more points at `name`."""
        if self.undo is not None:
            self.undo.append(partial(self.drop, name))
        self.counts[name] = self.counts.get(name, 0) + 1

    def drop(self, name: str) -> None:
        """One row less points at `name`."""
        if self.undo is not None:
            self.undo.append(partial(self.add, name))
        left = self.counts[name] - 1
        if left:
            self.counts[name] = left
        else:
            del self.counts[name]


class Rows:
    """Every table, the counters of the state, and the references that the rules need."""

    __slots__ = (
        "epoch",
        "events",
        "job_references",
        "policy_references",
        "revision",
        "series_blocks",
        "tables",
        "time_ms",
        "total",
        "undo",
    )

    def __init__(self, *, revision: int = 0, epoch: int = 1, time_ms: int = 0) -> None:
        self.tables: dict[str, Table] = {kind: Table(kind) for kind in KINDS}
        self.revision = revision
        self.epoch = epoch
        self.events: list[Event] = []  # of the command at hand
        self.time_ms = time_ms
        self.total = 0
        self.undo: list[Callable[[], object]] | None = None
        self.job_references = References()  # ingress rows by job
        self.policy_references = References()  # tokens by policy
        self.series_blocks = References()  # metric rows by series and labels

    def current(self, kind: str, key: str, expect: object) -> dict[str, Any] | None:
        """The decoded row, or None; refuses when it is not the one that `expect` names."""
        row = self.tables[kind].get(key)
        old = None if row is None else decode_row(kind, key, row)
        if expect is None:
            return old
        if type(expect) is not int or expect < 0:
            raise Refused("invalid", f"expect is {expect!r}, not a revision")
        if expect != (old["revision"] if old else 0):
            raise Refused("conflict", _conflict(kind, key, old, expect))
        return old

    def existing(self, kind: str, key: str, expect: object) -> dict[str, Any]:
        """The decoded row; refuses when there is none, or another one than `expect` names."""
        if self.tables[kind].get(key) is None:
            raise Refused("not_found", f"{label(kind, key)} does not exist")
        old = self.current(kind, key, expect)
        if old is None:
            raise StateDefect(f"{label(kind, key)} vanished while it was read")
        return old

    def stamped(self, old: dict[str, Any] | None, fields: dict[str, Any]) -> bytes:
        """The row that the command at hand writes over `old`, its fields in canonical order.

        It says when it was made and changed, by revision and by time; `version` counts its puts.
        """
        revision, now = self.revision + 1, self.time_ms
        row = {
            "created_ms": old["created_ms"] if old else now,
            "created_revision": old["created_revision"] if old else revision,
            "modified_ms": now,
            "revision": revision,
            "version": old["version"] + 1 if old else 1,
            **fields,
        }
        return pack(dict(sorted(row.items())))

    def put(self, kind: str, key: str, row: bytes) -> None:
        """Writes a row within the limits; the last thing that a rule does."""
        check_size(kind, key, row)
        table = self.tables[kind]
        if self.total >= limits.ROWS and table.get(key) is None:
            self.check_room(1)
        before = table.count
        if self.undo is not None:
            old = table.get(key)
            self.undo.append(
                partial(table.delete, key) if old is None else partial(table.put, key, old)
            )
        table.put(key, row)
        if kind not in UNWATCHED:
            self.events.append((self.revision + 1, kind, key, row))
        self.total += table.count - before

    @contextmanager
    def undone_when_refused(self) -> Iterator[None]:
        """What is written inside is taken back, the references too, when it ends with an error."""
        undo = self.undo = []
        references = (self.job_references, self.policy_references, self.series_blocks)
        total, events = self.total, len(self.events)
        for each in references:
            each.undo = undo
        try:
            yield
        except BaseException:
            self._stop_recording(references)
            for step in reversed(undo):
                step()
            self.total = total
            del self.events[events:]
            raise
        self._stop_recording(references)

    def _stop_recording(self, references: Iterable[References]) -> None:
        self.undo = None
        for each in references:
            each.undo = None

    def check_room(self, new: int) -> None:
        """Refuses when `new` rows more are beyond the limit."""
        if self.total + new > limits.ROWS:
            raise Refused(
                "too_large", f"the state has {self.total} rows, the limit is {limits.ROWS}"
            )

    def delete(self, kind: str, key: str) -> None:
        """Drops a row that exists."""
        table = self.tables[kind]
        if self.undo is not None and (old := table.get(key)) is not None:
            self.undo.append(partial(table.put, key, old))
        table.delete(key)
        if kind not in UNWATCHED:
            self.events.append((self.revision + 1, kind, key, None))
        self.total -= 1

    def drop(self, kind: str, noun: str, body: list[Any]) -> None:
        """The rule of a deletion that nothing else depends on: [name, expect]."""
        name, expect = body
        check_name(noun, name)
        self.existing(kind, name, expect)
        self.delete(kind, name)

    def fill(self, kind: str, records: Iterable[tuple[str, bytes]]) -> None:
        """Takes rows from an archive or a dump as they are; ValueError for a key that is there."""
        table = self.tables.get(kind)
        if table is None:
            table = self.tables[kind] = Table(kind)
        table.fill(records)


def decode_row(kind: str, key: str, row: bytes) -> dict[str, Any]:
    """The fields of a row that this machine built; anything else is a defect."""
    try:
        fields = unpack(row)
    except ValueError as error:
        raise StateDefect(f"{label(kind, key)} cannot be read: {error}") from error
    if type(fields) is not dict:
        raise StateDefect(f"{label(kind, key)} is no row")
    return fields


def label(kind: str, key: str) -> str:
    """The words for one row in a message, as in `job web` or `policy deployers`."""
    if kind == "acl":
        noun, _, name = key.partition("/")
        return f"{noun} {name}"
    return f"{_NOUNS.get(kind, kind)} {key}"


def _conflict(kind: str, key: str, old: dict[str, Any] | None, expect: int) -> str:
    if old is None:
        return f"{label(kind, key)} does not exist, revision {expect} was expected"
    if expect == 0:
        return f"{label(kind, key)} exists already at revision {old['revision']}"
    return f"{label(kind, key)} is at revision {old['revision']}, not at {expect}"


def check_size(kind: str, key: str, row: bytes) -> None:
    """Refuses a row above the limit, with both numbers."""
    if len(row) > limits.ROW_BYTES:
        raise Refused(
            "too_large",
            f"{label(kind, key)} has {len(row)} bytes, the limit is {limits.ROW_BYTES}",
        )


def check_name(noun: str, name: object) -> None:
    """Refuses what cannot be a name."""
    fault = name_fault(name)
    if fault is not None:
        shown = repr(name)[:60]
        raise Refused("invalid", f"{noun} name {shown} {fault}")


def checked_bytes(noun: str, value: object) -> bytes:
    """The value, if it is non-empty bytes."""
    if type(value) is not bytes or not value:
        raise Refused("invalid", f"{noun} must be bytes")
    return value


def checked_text(noun: str, value: object, *, max_bytes: int = limits.NAME_BYTES) -> str:
    """The value, if it is text of 1 to `max_bytes` bytes without hidden characters."""
    if type(value) is not str or not value:
        raise Refused("invalid", f"{noun} must be text")
    if has_hidden(value):
        raise Refused("invalid", f"{noun} has a control or invisible character")
    size = len(value.encode())
    if size > max_bytes:
        raise Refused("invalid", f"{noun} has {size} bytes, the limit is {max_bytes}")
    return value


def checked_labels(noun: str, value: object) -> dict[str, str]:
    """The map of text to text in canonical order."""
    if type(value) is not dict:
        raise Refused("invalid", f"{noun} must be a map of text to text")
    for key, text in value.items():
        if type(key) is not str or type(text) is not str or not key:
            raise Refused("invalid", f"{noun} {key!r} must be text with a text value: quote this")
    return {key: value[key] for key in sorted(value)} if len(value) > 1 else value
