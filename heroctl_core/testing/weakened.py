"""What a simulated node is made of, and the same with one protection taken away.

Each weaker part shows what its protection is for: some run of the simulator must fail with it.
The engine knows nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..raft import guard
from ..raft.node import RaftNode
from ..raft.reads import Reads
from ..raft.records import DumpRef
from ..state.outcome import Outcome, Stamp
from ..state.requests import Requests
from .simulated_disk import SteppedLog
from .simulated_machine import WatchedMachine


class Unguarded(RaftNode):
    """Hands AppendEntries on as stock pysyncobj gets them."""

    def receive(self, sender: str, frame: list[Any]) -> str | None:
        if frame[0] != "ae":
            return super().receive(sender, frame)
        _, term, seq, prev_index, prev_term, entries, commit_index = frame
        batch = tuple((data, index, at) for data, index, at in entries)
        self.answering_seq = seq
        if term >= self.core.term:
            message = guard.AppendEntries(term, prev_index, prev_term, batch, commit_index)
            self.core.receive_append(sender, message)
            self.elections.heard_leader()
        return None


class TermBlind(RaftNode):
    """Takes every acknowledgement and vote for one of its own term, as messages without a term
    would be taken (row 13 of docs/engine.md)."""

    def receive(self, sender: str, frame: list[Any]) -> str | None:
        if frame[0] in ("next", "vote"):
            frame = [frame[0], self.core.term, *frame[2:]]
        return super().receive(sender, frame)


class _Unconfirmed(Reads):
    __slots__ = ()

    def confirm(self, quorum_seq: int, answer: Callable[[str, int, int], None]) -> None:
        super().confirm(2**63, answer)


class UnconfirmedReads(RaftNode):
    """Answers reads without asking anybody whether it still leads."""

    def __init__(self, member_id: str, **parts: Any) -> None:
        super().__init__(member_id, **parts)
        self.reads = _Unconfirmed(self.reads.clock, self.reads.wake, self.reads.number)


class UnsyncedLog(SteppedLog):
    """Says that it is synced; only what rides with a term, a dump or a snapshot really is."""

    def sync(self) -> None:
        self.synced_index = self.last_index

    def set_term(self, term: int, vote: str | None) -> None:
        super().set_term(term, vote)
        super().sync()

    def compact(self, dump: DumpRef, keep_from: int) -> None:
        super().sync()
        super().compact(dump, keep_from)


class UnsyncedVoteLog(SteppedLog):
    """Writes term and vote down only with the next entries."""

    def set_term(self, term: int, vote: str | None) -> None:
        self.term, self.vote = term, vote


class ForgetfulMachine(WatchedMachine):
    """Knows no request id again."""

    def apply(self, command: bytes, stamp: Stamp) -> Outcome:
        self._requests = Requests()
        return super().apply(command, stamp)


@dataclass(frozen=True, slots=True)
class Parts:
    """The kinds of a node, its log in memory, its machine. A weaker log is never one on files."""

    node: type[RaftNode] = RaftNode
    log: type[SteppedLog] = SteppedLog
    machine: type[WatchedMachine] = WatchedMachine


WITHOUT: Final = {
    "guard": Parts(node=Unguarded),
    "read-index": Parts(node=UnconfirmedReads),
    "request-ids": Parts(machine=ForgetfulMachine),
    "stale-term": Parts(node=TermBlind),
    "sync": Parts(log=UnsyncedLog),
    "vote-sync": Parts(log=UnsyncedVoteLog),
}
