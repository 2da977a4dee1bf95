"""The state machine: commands in the order of the log in, outcomes and rows out.

Equal commands and stamps give equal rows, outcomes and fingerprints on every node. One thread
applies; `get` and everything on a view are safe from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from .. import limits
from ..errors import StateDefect
from . import acl, ingress, jobs, metrics, nodes, secrets, transactions
from .commands import UnknownKind, open_envelope
from .events import History
from .extensions import is_extension
from .outcome import Applied, Outcome, Rejected, Stamp
from .requests import Requests
from .rows import KINDS, Refused, Rows
from .tables import TableView

Row = tuple[str, str, bytes]  # kind, key, row

_RULES: Final[dict[int, Callable[[Rows, list[Any]], None]]] = {
    1: jobs.put_job,
    2: jobs.delete_job,
    3: secrets.put_secret,
    4: secrets.delete_secret,
    5: acl.put_policy,
    6: acl.delete_policy,
    7: acl.put_token,
    8: acl.delete_token,
    9: ingress.put_ingress,
    10: ingress.delete_ingress,
    11: nodes.put_node,
    12: nodes.delete_node,
    13: metrics.append_metrics,
    14: metrics.expire_metrics,
    15: secrets.put_keyring,
    16: metrics.delete_metrics,
}
_TRANSACTED: Final = {kind: _RULES[kind] for kind in (1, 2, 3, 4, 9, 10, 11, 12)}
_RULES[17] = partial(transactions.transact, rules=_TRANSACTED)


@dataclass(frozen=True, slots=True)
class View:
    """Everything at one revision; immutable, for any thread."""

    revision: int
    epoch: int
    time_ms: int
    tables: dict[str, TableView]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds, in the order of the sections of an archive."""
        return tuple(self.tables)

    def get(self, kind: str, key: str) -> bytes | None:
        """One row, or None."""
        return self.tables[kind].get(key)

    def items(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Key and row, in the order of shard and key."""
        return self.tables[kind].items(prefix)

    def by_name(
        self, kind: str, prefix: str = "", after: str | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Key and row in the order of the keys, behind the key `after`."""
        return self.tables[kind].by_name(prefix, after)

    def rows(self) -> Iterator[Row]:
        """Every row, kind by kind."""
        for kind, table in self.tables.items():
            for key, row in table.items():
                yield kind, key, row

    def count(self, kind: str) -> int:
        """How many rows."""
        return self.tables[kind].count

    def fingerprint(self, kind: str) -> int:
        """The sum modulo 2^256 of sha256 over kind, key and row."""
        return self.tables[kind].fingerprint


@dataclass(frozen=True, slots=True)
class DumpState:
    """All that a node needs to go on from here: a view and the request table."""

    view: View
    requests: Requests

    def request_bytes(self) -> bytes:
        """The request table; takes a while, so not on the engine's thread."""
        return self.requests.to_bytes()


class StateMachine:
    """The replicated state of one node."""

    def __init__(self) -> None:
        self._rows = Rows()
        self._requests = Requests()
        self.history = History()  # another one after each load

    @property
    def revision(self) -> int:
        """Rises by one with each command that was applied."""
        return self._rows.revision

    @property
    def time_ms(self) -> int:
        """The newest time of an entry; never goes back."""
        return self._rows.time_ms

    @property
    def epoch(self) -> int:
        """Rises with each generation and each restore into a running cluster."""
        return self._rows.epoch

    def apply(self, command: bytes, stamp: Stamp) -> Outcome:
        """The outcome of one encoded envelope. Raises StateDefect for a kind that this release
        does not know; bytes that are no envelope at all are refused, the same on every node."""
        rows = self._rows
        if stamp.time_ms > rows.time_ms:
            rows.time_ms = stamp.time_ms
        try:
            kind, _, request_id, request_ms, _, _, body = open_envelope(command)
        except UnknownKind as error:
            raise StateDefect(f"log index {stamp.index}: {error}") from error
        except ValueError as error:
            return Rejected("invalid", _cut(str(error)), rows.revision)
        requests = self._requests
        first = requests.outcome(request_id)
        if first is not None:
            return first
        if requests.is_expired(request_ms, rows.time_ms):
            return Rejected("request_expired", _expired(request_ms, rows.time_ms), rows.revision)
        outcome: Outcome
        try:
            _RULES[kind](rows, body)
        except Refused as refusal:
            outcome = Rejected(refusal.reason, _cut(refusal.message), rows.revision)
        else:
            rows.revision += 1
            if rows.events:
                self.history.extend(rows.events)
                rows.events.clear()
            outcome = Applied(rows.revision)
        requests.record(request_id, request_ms, rows.time_ms, outcome)
        return outcome

    def get(self, kind: str, key: str) -> bytes | None:
        """One row, or None; from any thread."""
        return self._rows.tables[kind].get(key)

    def count(self, kind: str) -> int:
        """How many rows."""
        return self._rows.tables[kind].count

    def fingerprint(self, kind: str) -> int:
        """The sum modulo 2^256 of sha256 over kind, key and row."""
        return self._rows.tables[kind].fingerprint

    def fingerprints(self) -> dict[str, int]:
        """The fingerprint of every kind that has rows."""
        tables = self._rows.tables
        return {kind: table.fingerprint for kind, table in tables.items() if table.count}

    def view(self) -> View:
        """Everything as it is now, in some microseconds; called by the thread that applies."""
        rows = self._rows
        tables = {kind: table.view() for kind, table in rows.tables.items()}
        return View(rows.revision, rows.epoch, rows.time_ms, tables)

    def dump(self) -> DumpState:
        """Everything including the request table; called by the thread that applies."""
        return DumpState(self.view(), self._requests.copy())

    def load(self, rows: Iterable[Row], *, revision: int, epoch: int, time_ms: int) -> None:
        """Takes the rows of an archive in place of everything; the request table is empty then.

        ValueError for a kind that is neither ours nor an extension's and for a key that comes
        twice, StateDefect for a row that no machine built; the state is then as before.
        """
        self._rows = _filled(rows, Rows(revision=revision, epoch=epoch, time_ms=time_ms))
        self._requests = Requests()
        self.history = History(revision)

    def load_dump(
        self, rows: Iterable[Row], requests: bytes, *, revision: int, epoch: int, time_ms: int
    ) -> None:
        """Takes a dump in place of everything; `requests` is DumpState.request_bytes()."""
        table = Requests.from_bytes(requests)
        self.load(rows, revision=revision, epoch=epoch, time_ms=time_ms)
        self._requests = table


def _filled(source: Iterable[Row], rows: Rows) -> Rows:
    """`rows` with everything from `source`, totals and references counted anew."""
    for kind, of_kind in groupby(source, itemgetter(0)):
        if kind not in KINDS and not is_extension(kind):
            raise ValueError(f"section {kind} is not known to this release")
        rows.fill(kind, ((key, row) for _, key, row in of_kind))
    rows.total = sum(table.count for table in rows.tables.values())
    try:
        ingress.rebuild_job_references(rows)
        acl.rebuild_policy_references(rows)
        metrics.rebuild_series_blocks(rows)
    except (KeyError, TypeError) as error:
        raise StateDefect(f"a row lacks a field: {error}") from error
    return rows


def _cut(message: str) -> str:
    """The message with at most limits.MESSAGE_BYTES: it quotes what was sent, and is kept."""
    data = message.encode(errors="backslashreplace")
    if len(data) <= limits.MESSAGE_BYTES:
        return message
    return data[: limits.MESSAGE_BYTES - 3].decode(errors="ignore") + "..."


def _expired(request_ms: int, now_ms: int) -> str:
    age_s = max(0, now_ms - request_ms) // 1000
    return f"the request was made {age_s} s ago, its outcome is not kept any more"
