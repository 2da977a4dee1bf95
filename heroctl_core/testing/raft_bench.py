"""Raft nodes on a bench: a clock that stands still, frames that wait to be delivered.

For stories with exact numbers; testing/simulator.py is for everything that nobody thought of.
Nothing runs by itself: `turn` lets a node work, `deliver` lets frames arrive, `run` does both for a
while. Member ids are the letters a to f.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import NodeFault
from ..raft.guard import Entry
from ..raft.log import Log
from ..raft.membership import Configuration, MemberSpec
from ..raft.node import RaftNode, Timing
from ..raft.records import DumpRef
from ..state.commands import Envelope, PutJob, encode
from ..state.machine import StateMachine
from ..state.outcome import Outcome
from .clock import ManualClock
from .memory_log import MemoryLog
from .simulated_disk import DumpDisk, SimulatedDumps
from .simulated_machine import loaded

_STEP_S = 0.01


class Sent(NamedTuple):
    """One frame that waits for delivery."""

    source: str
    target: str
    frame: list[Any]


def members(letters: str, learners: str = "") -> Configuration:
    """A configuration of voters, and learners."""
    specs = {m: MemberSpec(f"node-{m}", f"{m}:1", voter=m not in learners) for m in letters}
    return Configuration(specs | {m: MemberSpec(f"node-{m}", f"{m}:1", False) for m in learners})


def job(number: int) -> tuple[bytes, bytes]:
    """A command that writes one job, and its request id."""
    request_id = number.to_bytes(16, "big")
    put = PutJob(f"job-{number}", number.to_bytes(4, "big"), {}, None)
    return encode(Envelope(request_id, 1_700_000_000_000, "bench", "bench", put)), request_id


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    """Entries without effect, with the indexes first to last."""
    return [(b"\x01", index, term) for index in range(first, last + 1)]


def append_entries(
    term: int,
    batch: Iterable[Entry] = (),
    *,
    previous: tuple[int, int] | None = None,
    commit: int = 1,
    seq: int = 1,
) -> list[Any]:
    """The frame of a leader; `previous` is (index, term) of the entry before the first."""
    index, at = previous if previous is not None else (None, 0)
    return ["ae", term, seq, index, at, [list(entry) for entry in batch], commit]


@dataclass(slots=True)
class RaftBench:
    """Some nodes. `sent` holds what they sent and nobody has got yet."""

    clock: ManualClock = field(default_factory=ManualClock)
    nodes: dict[str, RaftNode] = field(default_factory=dict)
    logs: dict[str, MemoryLog] = field(default_factory=dict)
    disks: dict[str, DumpDisk] = field(default_factory=dict)
    initial: dict[str, Configuration] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    _dumps: dict[str, Any] = field(default_factory=dict)
    _boots: int = 0

    def start(
        self, letter: str, configuration: Configuration, log: MemoryLog | Log | None = None
    ) -> RaftNode:
        """A node over `log`, or over an empty one; connected to all that are there."""
        self._boots += 1
        kept = self.logs[letter] = log or MemoryLog.create()  # type: ignore[assignment]
        disk = self.disks.setdefault(letter, DumpDisk())
        self.initial.setdefault(letter, configuration)
        machine = StateMachine()
        if kept.dump is not None:
            stored = disk.stored[kept.dump.name]
            machine, configuration = loaded(machine, stored.state), stored.configuration
        node = self.nodes[letter] = RaftNode(
            letter,
            log=kept,  # type: ignore[arg-type]
            dumps=SimulatedDumps(disk, random.Random(1), self._dumps),
            machine=machine,
            configuration=configuration,
            clock=self.clock,
            rng=random.Random(self._boots),
            timing=Timing(1.0),
            send=lambda target, frame: self.sent.append(Sent(letter, target, frame)),
            flush=lambda: None,
            wake=lambda: None,
            kept_entries=0,
        )
        node.start_voting()
        for other in self.nodes:
            if other != letter:
                node.set_connected(other, connected=True)
                self.nodes[other].set_connected(letter, connected=True)
        return node

    def cluster(self, letters: str = "abc", leader: str = "a") -> RaftNode:
        """Nodes of one cluster, led by one of them, whose no-op is applied everywhere."""
        for letter in letters:
            self.start(letter, members(letters))
        return self.elect(leader)

    def stop(self, letter: str) -> None:
        """The power goes: what was not synced is gone, what the node sent is under way."""
        self.nodes.pop(letter).stop(lambda: NodeFault("power cut"))
        self.logs[letter] = self.logs[letter].crash()
        for node in self.nodes.values():
            node.set_connected(letter, connected=False)

    def restart(self, letter: str, log: MemoryLog | None = None) -> RaftNode:
        """The node again, from its disk, or from another state of it."""
        if letter in self.nodes:
            self.stop(letter)
        return self.start(letter, self.initial[letter], log or self.logs[letter])

    # -- what happens

    def turn(self, letter: str) -> RaftNode:
        """One turn of one node."""
        self.nodes[letter].turn()
        return self.nodes[letter]

    def receive(self, letter: str, sender: str, frame: list[Any]) -> list[list[Any]]:
        """Gives a node one frame, and a turn; the frames that it then sent to the sender."""
        before = len(self.sent)
        fault = self.nodes[letter].receive(sender, wire(frame))
        if fault is not None:
            raise ConnectionError(fault)
        self.turn(letter)
        answers = [s for s in self.sent[before:] if s.target == sender]
        self.sent = [s for s in self.sent if s not in answers]
        return [s.frame for s in answers]

    def deliver(self, cut: str = "") -> None:
        """Lets all frames arrive, and what follows from them, except from and to `cut`."""
        for _ in range(200):
            if not self.sent:
                return
            waiting, self.sent = self.sent, []
            for source, target, frame in waiting:
                if target in self.nodes and not {source, target} & set(cut):
                    self.nodes[target].receive(source, wire(frame))
            for letter in self.nodes:
                self.turn(letter)
        raise TimeoutError("the nodes never stop talking")

    def run(self, seconds: float, cut: str = "") -> None:
        """Time goes by, everybody works."""
        for _ in range(round(seconds / _STEP_S)):
            self.clock.advance(_STEP_S)
            for letter in self.nodes:
                self.turn(letter)
            self.deliver(cut)

    def elect(self, letter: str, cut: str = "") -> RaftNode:
        """Makes a node campaign as after a won pre-vote, and everybody answer; it need not win."""
        node = self.nodes[letter]
        node.core.campaign()
        self.turn(letter)
        self.deliver(cut)
        self.run(0.15, cut)
        return node

    def write(self, letter: str, number: int) -> Future[Outcome]:
        """A write through a node."""
        return self.nodes[letter].propose(*job(number))

    def write_dump(self, letter: str) -> DumpRef:
        """Makes a node write a dump of what it has applied, and cut its log there."""
        node = self.nodes[letter]
        applied = node.core.applied_index
        node.begin_dump()
        for _ in range(30):
            if node.log.dump is not None and node.log.dump.index == applied:
                return node.log.dump
            self.turn(letter)
        raise TimeoutError("the dump was never written")

    def indexes(self, letter: str) -> list[tuple[int, int]]:
        """(index, term) of what a node's log holds."""
        return [(index, term) for _, index, term in self.nodes[letter].log.entries]


def wire(frame: list[Any]) -> list[Any]:
    """The frame as msgpack would give it: lists for tuples."""
    return [wire(list(v)) if isinstance(v, list | tuple) else v for v in frame]
