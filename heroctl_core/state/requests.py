"""The outcomes of the newest requests by id, so that a repeated one is not applied twice.

Bounded by limits.REQUEST_IDS and REQUEST_AGE_MS. What the table dropped it must be able to
refuse: `horizon_ms` is the newest stamp that was dropped, and a request stamped at or before it is
expired (Raft thesis 6.3). An id that was stamped ahead of the state's time stays until its own
stamp is old; when too many others crowd it out, it moves the horizon no further than that time, so
that one proposer's wrong clock cannot expire the requests of all others.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from .. import limits
from ..codec import pack, unpack
from .outcome import Applied, Outcome, Rejected

_DUMP_BYTES_MAX: Final = 64 * limits.MIB

# An applied outcome is kept as its revision: numbers do not burden Python's collector.
Kept = int | Rejected


class Requests:
    """Request id → outcome. One thread."""

    __slots__ = ("_ids", "_outcomes", "_stamps", "horizon_ms")

    def __init__(self) -> None:
        self._outcomes: dict[bytes, Kept] = {}
        # Beside the dict, in its order: the first key of a dict whose front was deleted is slow.
        self._ids: deque[bytes] = deque()
        self._stamps: deque[int] = deque()
        self.horizon_ms = -1

    def __len__(self) -> int:
        return len(self._ids)

    def outcome(self, request_id: bytes) -> Outcome | None:
        """The first outcome of this id, or None."""
        kept = self._outcomes.get(request_id)
        return Applied(kept) if type(kept) is int else kept  # type: ignore[return-value]

    def is_expired(self, request_ms: int, now_ms: int) -> bool:
        """True when an id with this stamp may have been here and been dropped."""
        return request_ms <= self.horizon_ms or request_ms < now_ms - limits.REQUEST_AGE_MS

    def record(self, request_id: bytes, request_ms: int, now_ms: int, outcome: Outcome) -> None:
        """Keeps an outcome and drops what is too old or too much."""
        self._outcomes[request_id] = (
            outcome.revision if type(outcome) is Applied else outcome  # type: ignore[assignment]
        )
        self._ids.append(request_id)
        self._stamps.append(request_ms)
        oldest = now_ms - limits.REQUEST_AGE_MS
        while len(self._ids) > limits.REQUEST_IDS or self._stamps[0] < oldest:
            del self._outcomes[self._ids.popleft()]
            self.horizon_ms = max(self.horizon_ms, min(self._stamps.popleft(), now_ms))

    def copy(self) -> Requests:
        """The same table, for a dump that is written elsewhere."""
        other = Requests()
        other._outcomes = self._outcomes.copy()
        other._ids = self._ids.copy()
        other._stamps = self._stamps.copy()
        other.horizon_ms = self.horizon_ms
        return other

    def to_bytes(self) -> bytes:
        """The table for a dump, oldest first."""
        return pack([self.horizon_ms, [self._entry(*pair) for pair in self._pairs()]])

    @classmethod
    def from_bytes(cls, data: bytes) -> Requests:
        """The table in a dump; ValueError for anything else."""
        table = cls()
        try:
            table.horizon_ms, entries = unpack(data, max_bytes=_DUMP_BYTES_MAX)
            for request_id, stamp_ms, revision, *refusal in entries:
                kept = Rejected(refusal[0], refusal[1], revision) if refusal else revision
                table._outcomes[request_id] = kept
                table._ids.append(request_id)
                table._stamps.append(stamp_ms)
        except (TypeError, IndexError) as error:
            raise ValueError(f"not a request table: {error}") from error
        return table

    def _pairs(self) -> zip[tuple[bytes, int]]:
        return zip(self._ids, self._stamps, strict=True)

    def _entry(self, request_id: bytes, stamp_ms: int) -> list[Any]:
        kept = self._outcomes[request_id]
        if isinstance(kept, int):
            return [request_id, stamp_ms, kept]
        return [request_id, stamp_ms, kept.revision, kept.reason, kept.message]
