"""The leader's side of replication: what each follower has been sent and has answered.

pysyncobj keeps nextIndex and matchIndex; this module adds what it lacks (rows 24 to 28 of
docs/engine.md): a bounded window for each follower, one probe at a time after a refusal, answers of
the present term only, and sequence numbers that tell which message an answer belongs to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from .. import limits
from .engine import DurableLog, RaftCore
from .guard import Entry
from .membership import Configuration

WINDOW_MESSAGES: Final = 64
WINDOW_BYTES: Final = 8 * limits.MIB
CAUGHT_UP_ENTRIES: Final = 64


@dataclass(slots=True)
class Follower:
    """Progress beyond nextIndex and matchIndex. Times are monotonic seconds."""

    answered_s: float
    answered_seq: int = 0
    probing: bool = True
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)  # (seq, bytes)
    in_flight_bytes: int = 0

    def has_room(self) -> bool:
        if self.probing:
            return not self.in_flight
        return len(self.in_flight) < WINDOW_MESSAGES and self.in_flight_bytes < WINDOW_BYTES

    def answered(self, seq: int, now_s: float) -> None:
        """An answer came: what was sent before it needs no room any more."""
        self.answered_s = now_s
        self.answered_seq = max(self.answered_seq, seq)
        while self.in_flight and self.in_flight[0][0] <= seq:
            self.in_flight_bytes -= self.in_flight.popleft()[1]

    def disconnected(self) -> None:
        self.in_flight.clear()
        self.in_flight_bytes = 0
        self.probing = True


class Replication:
    """Sends AppendEntries for a leader. `send(member, frame)` queues a frame."""

    def __init__(
        self, core: RaftCore, log: DurableLog, send: Callable[[str, list[object]], None]
    ) -> None:
        self._core = core
        self._log = log
        self._send = send
        self.followers: dict[str, Follower] = {}
        self.seq = 0
        self.needs_snapshot: set[str] = set()
        self.held: dict[str, int] = {}  # what a member acknowledged and is committed

    def begin(self, members: Iterable[str], now_s: float) -> None:
        """Leadership begins: nobody has answered in this term."""
        self.followers = {m: Follower(now_s) for m in members}
        self.needs_snapshot.clear()

    def set_members(self, members: Iterable[str], now_s: float) -> None:
        """The configuration changed: keep who stays."""
        old = self.followers
        self.followers = {m: old.get(m) or Follower(now_s) for m in members}
        self.needs_snapshot &= set(self.followers)

    def send_all(self, connected: set[str], *, heartbeat: bool) -> None:
        """Entries to everyone with room; with `heartbeat` also an empty message to the others."""
        for member_id in self.followers:
            if member_id in connected and not self._send_entries(member_id) and heartbeat:
                self._send_empty(member_id)

    def _send_entries(self, member_id: str) -> bool:
        follower = self.followers[member_id]
        core, log = self._core, self._log
        first, last = log.entries[0][1], log.entries[-1][1]
        sent = False
        while (next_index := core.next_index(member_id)) <= last and follower.has_room():
            if next_index <= first:
                self.needs_snapshot.add(member_id)
                return sent
            batch, size = _batch(log.entries, next_index - first)
            self._append_entries(member_id, log.entries[next_index - 1 - first], batch)
            follower.in_flight.append((self.seq, size))
            follower.in_flight_bytes += size
            core.set_next_index(member_id, next_index + len(batch))
            sent = True
        return sent

    def _send_empty(self, member_id: str) -> None:
        first = self._log.entries[0][1]
        previous = self._core.next_index(member_id) - 1
        if previous < first:
            self.needs_snapshot.add(member_id)
            self._append_entries(member_id, None, [])
        else:
            self._append_entries(member_id, self._log.entries[previous - first], [])

    def _append_entries(self, member_id: str, previous: Entry | None, batch: list[Entry]) -> None:
        self.seq += 1
        core = self._core
        prev_index, prev_term = (previous[1], previous[2]) if previous else (None, 0)
        frame = ["ae", core.term, self.seq, prev_index, prev_term, batch, core.commit_index]
        self._send(member_id, frame)

    def answered(
        self, member_id: str, next_index: int, seq: int, now_s: float, *, success: bool
    ) -> str | None:
        """Takes one next_node_idx of the present term; a reason to cut the peer off, or None."""
        follower = self.followers.get(member_id)
        if follower is None:
            return None
        if next_index > self._log.entries[-1][1] + 1:
            return f"it acknowledges up to {next_index - 1}, beyond our log"
        if seq > self.seq:
            return f"it answers message {seq}, the last one was {self.seq}"
        follower.answered(seq, now_s)
        before = self._core.next_index(member_id)
        matched = self._core.match_index(member_id)
        if not success and next_index <= matched:
            # Duplicated or reordered refusals end here too; the next answer settles it.
            next_index = matched + 1
        self._core.receive(
            member_id,
            {
                "type": "next_node_idx",
                "next_node_idx": next_index,
                "reset": not success,
                "success": success,
            },
        )
        if success:
            follower.probing = False
            self.needs_snapshot.discard(member_id)
            # pysyncobj sets nextIndex back to the answered message and would send all again.
            self._core.set_next_index(member_id, max(before, self._core.next_index(member_id)))
        else:
            follower.probing = True
        return None

    def note_held(self) -> None:
        """Remembers, beyond this leadership, what each follower certainly has on its disk."""
        commit_index = self._core.commit_index
        for member_id in self.followers:
            index = min(self._core.match_index(member_id), commit_index)
            self.held[member_id] = max(index, self.held.get(member_id, 0))

    def reconnected(self, member_id: str) -> None:
        """The follower may have started anew: what it acknowledged before is asked again, so that
        a disk which lost what it had synced is noticed and filled (row 9)."""
        if follower := self.followers.get(member_id):
            follower.disconnected()
            self._core.forget_match(member_id)

    def quorum_seq(self, configuration: Configuration, self_id: str) -> int:
        """The highest sequence number that a majority of voters has answered."""
        answered = [
            self.seq + 1 if voter == self_id else self._answered_seq(voter)
            for voter in configuration.voters
        ]
        answered.sort(reverse=True)
        return answered[configuration.quorum - 1] if answered else 0

    def _answered_seq(self, member_id: str) -> int:
        follower = self.followers.get(member_id)
        return follower.answered_seq if follower else 0

    def recently(self, now_s: float, within_s: float) -> set[str]:
        """Who answered in this term within the last `within_s` seconds."""
        return {m for m, f in self.followers.items() if now_s - f.answered_s < within_s}

    def caught_up(self) -> frozenset[str]:
        """Who holds all but the newest few entries."""
        enough = self._log.entries[-1][1] - CAUGHT_UP_ENTRIES
        return frozenset(
            m
            for m in self.followers
            if self._core.match_index(m) >= max(enough, self._log.entries[0][1])
        )


def _batch(entries: list[Entry], start: int) -> tuple[list[Entry], int]:
    """Entries from position `start` of at most APPEND_BATCH_BYTES, at least one, and their size."""
    size = 0
    stop = start
    for stop in range(start, len(entries)):
        size += len(entries[stop][0])
        if size > limits.APPEND_BATCH_BYTES:
            break
    else:
        stop = len(entries)
    return entries[start : max(stop, start + 1)], size
