"""Clients of a simulated cluster, and what they were told.

Each call goes through one node; what comes back unknown is now and then tried again with the same
request id through another. `check_end` says whether the answers can all be true: the history of
each key is linearizable, and nothing that was certainly not applied is in the log. Stale reads are
checked at once.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from .. import codec
from ..errors import HeroctlError, NotApplied
from ..raft.node import RaftNode
from ..raft.status import stale_for_s
from ..state.commands import DeleteJob, Envelope, PutJob, encode
from ..state.outcome import Applied, Outcome
from .invariants import Violation
from .linearizability import Kind, Operation, State, is_linearizable
from .simulated_machine import Applications, value_of

KEYS: Final = 6
CALL_S: Final = 10.0  # the engine's deadline, by a slow clock, behind the longest stall of a disk
ATTEMPTS: Final = 4
LATE_S: Final = 10.0
STALE_S: Final = 6.0  # a stale read may be older than it says by an election, a stall and a way


@dataclass(slots=True, eq=False)
class Call:
    """One call, through all its attempts."""

    number: int
    key: str
    kind: Kind
    command: bytes
    request_id: bytes
    node: RaftNode
    started: int
    attempt_s: float  # when the present attempt began
    attempts: int = 1
    again_s: float = 0.0  # when to try again, if it failed
    told: bool = False  # the present attempt has ended
    unknown: bool = False  # some attempt may have taken effect


@dataclass(slots=True)
class Clients:
    """All clients. `stats` counts how calls ended, `served` holds for each member whether a read
    (True) and a write (False) through it succeeded."""

    rng: random.Random
    applications: Applications
    stats: Counter[str]
    history: dict[str, list[Operation]] = field(default_factory=dict)
    open: list[Call] = field(default_factory=list)
    served: defaultdict[str, set[bool]] = field(default_factory=lambda: defaultdict(set))
    _failed: list[Call] = field(default_factory=list)  # whose last attempt has ended
    _look_s: float = 0.0
    _refused_ids: list[bytes] = field(default_factory=list)
    _told_s: list[float] = field(default_factory=list)  # when the revision below was acknowledged
    _told_revisions: list[int] = field(default_factory=list)  # the highest so far
    _now_s: float = 0.0
    _fault: str | None = None
    _numbers: int = 0
    _moment: int = 0

    def _tick(self) -> int:
        """Orders starts and ends."""
        self._moment += 1
        return self._moment

    def call(self, node: RaftNode, now_s: float, kind: Kind | None = None) -> None:
        """A new call through `node`."""
        rng = self.rng
        self._numbers += 1
        key = f"job-{rng.randrange(KEYS)}"
        kind = kind or rng.choices(list(Kind), (40, 45, 8, 7))[0]
        request_id = rng.getrandbits(128).to_bytes(16, "big")
        command = b""
        if kind is not Kind.READ:
            stamp_ms = node.clock.time_ms()
            if rng.random() < 0.02:  # a client whose clock is wrong
                stamp_ms += rng.randint(0, 3_600_000)
            body = self._command(key, kind)
            command = encode(Envelope(request_id, stamp_ms, "sim", "sim", body))
        call = Call(self._numbers, key, kind, command, request_id, node, self._tick(), now_s)
        self.open.append(call)
        self._attempt(call)

    def ask(self, nodes: Iterable[RaftNode], now_s: float) -> None:
        """A read and a write through each."""
        for node in nodes:
            self.call(node, now_s, Kind.READ)
            self.call(node, now_s, Kind.PUT)

    def look(self, node: RaftNode, now_s: float) -> None:
        """A stale read: a moment of the history, and no older than it says."""
        self.stats["stale reads"] += 1
        key = f"job-{self.rng.randrange(KEYS)}"
        revision, age_s = node.machine.revision, stale_for_s(node, node.clock.monotonic_s())
        if value_of(node.machine, key) != self.applications.value_at(key, revision):
            raise Violation(f"a stale read of {key} shows what revision {revision} never had")
        at = bisect_right(self._told_s, now_s - age_s / 0.9 - STALE_S)
        if at and self._told_revisions[at - 1] > revision:
            raise Violation(
                f"a stale read says it is {age_s:.2f} s old, but lacks revision "
                f"{self._told_revisions[at - 1]}, acknowledged {now_s - self._told_s[at - 1]:.2f} s"
                f" ago, and shows {revision}"
            )

    def _command(self, key: str, kind: Kind) -> PutJob | DeleteJob:
        if kind is Kind.DELETE:
            return DeleteJob(key, None)
        spec = codec.pack(self._numbers)
        return PutJob(key, spec, {}, 0 if kind is Kind.CREATE else None)

    def _attempt(self, call: Call) -> None:
        call.told = False
        try:
            future: Future[Any] = (
                call.node.reads.submit()
                if call.kind is Kind.READ
                else call.node.propose(call.command, call.request_id)
            )
        except NotApplied:
            self._ended(call, NotApplied("refused at once"))
            return
        future.add_done_callback(partial(self._told, call))

    def _told(self, call: Call, future: Future[Any]) -> None:
        """The attempt's answer, at the moment in which the node gives it."""
        error = future.exception()
        if error is None:
            self._answered(call, future.result())
        elif isinstance(error, HeroctlError):
            self._ended(call, error)
        else:
            self._fault = f"call {call.number} ended with {error!r}"  # a callback may not raise

    def _answered(self, call: Call, outcome: Outcome | int) -> None:
        call.told = True
        self.open.remove(call)
        if isinstance(outcome, int):
            self._count(call, "answered")
            self.served[call.node.member_id].add(True)
            self._seen(call, value_of(call.node.machine, call.key), accepted=True)
        elif isinstance(outcome, Applied):
            self._applied(call, outcome)
        elif outcome.reason == "request_expired":
            self._count(call, "expired")
            self.served[call.node.member_id].add(False)
            if call.unknown:
                self._seen(call, self._written(call), accepted=None)
        elif call.kind in (Kind.CREATE, Kind.DELETE):
            self._count(call, "rejected")
            self._seen(call, self._written(call), accepted=False)
        else:
            self._fault = f"call {call.number} was refused: {outcome}"

    def _applied(self, call: Call, outcome: Applied) -> None:
        self._count(call, "applied")
        self.served[call.node.member_id].add(False)
        self._fault = self.applications.acknowledge(call.request_id, outcome) or self._fault
        self._seen(call, self._written(call), accepted=True, revision=outcome.revision)
        if not self._told_revisions or outcome.revision > self._told_revisions[-1]:
            self._told_s.append(self._now_s)
            self._told_revisions.append(outcome.revision)

    def _ended(self, call: Call, error: HeroctlError) -> None:
        call.told = True
        not_applied = isinstance(error, NotApplied)
        call.unknown = call.unknown or not not_applied
        self._count(call, "not applied" if not_applied else "unknown")
        # Often at once, through another node; now and then long after, by what a snapshot brought.
        call.again_s = self._now_s + self.rng.choice((0.0, 0.0, 0.0, self.rng.uniform(0, LATE_S)))
        self._failed.append(call)

    def _written(self, call: Call) -> State:
        return None if call.kind is Kind.DELETE else call.number

    def _seen(
        self, call: Call, value: State, *, accepted: bool | None, revision: int | None = None
    ) -> None:
        ended = math.inf if accepted is None else self._tick()
        operation = Operation(call.kind, value, call.started, ended, accepted, revision)
        self.history.setdefault(call.key, []).append(operation)

    def _count(self, call: Call, end: str) -> None:
        self.stats[f"{'reads' if call.kind is Kind.READ else 'writes'} {end}"] += 1

    def go_on(self, live: list[RaftNode], now_s: float, *, give_up: bool) -> None:
        """Tries again what did not work, or leaves it; every attempt must end in time."""
        self._now_s = now_s
        if self._fault is not None:
            raise Violation(self._fault)
        if now_s >= self._look_s:
            self._look_s = now_s + 0.5
            for call in self.open:
                if not call.told and now_s - call.attempt_s > CALL_S:
                    raise Violation(f"{call.kind.value} {call.number} never ended")
        failed, self._failed = self._failed, []
        for call in failed:
            if give_up or call.attempts == ATTEMPTS:
                self._leave(call)
            elif not live or now_s < call.again_s:
                self._failed.append(call)
            elif self.rng.random() < 0.7:
                self._again(call, self.rng.choice(live), now_s)
            else:
                self._leave(call)

    def _again(self, call: Call, node: RaftNode, now_s: float) -> None:
        call.node = node
        if call.kind is Kind.READ:
            call.started = self._tick()  # a read that failed has done nothing
        call.attempts, call.attempt_s = call.attempts + 1, now_s
        self._count(call, "tried again")
        self._attempt(call)

    def _leave(self, call: Call) -> None:
        self.open.remove(call)
        if call.kind is Kind.READ:
            return
        if call.unknown:
            self._seen(call, self._written(call), accepted=None)
        else:
            self._refused_ids.append(call.request_id)

    def crashed(self, node: RaftNode) -> None:
        """`node` stopped: all its calls must have ended."""
        for call in self.open:
            if call.node is node and not call.told:
                raise Violation(f"{call.kind.value} {call.number} hangs although its node stopped")

    def check_end(self, committed: Iterable[bytes]) -> None:
        """Whether all that clients were told is true."""
        everything = b"".join(committed)
        for request_id in self._refused_ids:
            if request_id in everything:
                raise Violation("a write that was certainly not applied is in the log")
        for key, operations in sorted(self.history.items()):
            if not is_linearizable(operations):
                raise Violation(f"what clients saw of {key} is not linearizable")
