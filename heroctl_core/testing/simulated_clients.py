"""Clients of a simulated cluster, and what they were told.

Each call goes through one node; what comes back unknown is now and then tried again with the same
request id through another. `check_end` says whether the answers can all be true: the history of
each key is linearizable, and nothing that was certainly not applied is in the log.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from .. import codec
from ..errors import HeroctlError, NotApplied
from ..raft.node import RaftNode
from ..state.commands import DeleteJob, Envelope, PutJob, encode
from ..state.machine import StateMachine
from ..state.outcome import Applied, Outcome
from .invariants import Invariants, Violation
from .linearizability import Kind, Operation, State, is_linearizable

KEYS: Final = 6
CALL_S: Final = 5.0  # the engine's deadline of a call


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
    told: bool = False  # the present attempt has ended
    unknown: bool = False  # some attempt may have taken effect


@dataclass(slots=True)
class Clients:
    """All clients. `stats` counts how calls ended."""

    rng: random.Random
    invariants: Invariants
    stats: Counter[str]
    history: dict[str, list[Operation]] = field(default_factory=dict)
    open: list[Call] = field(default_factory=list)
    _refused_ids: list[bytes] = field(default_factory=list)
    _fault: str | None = None
    _numbers: int = 0
    _moment: int = 0

    def _tick(self) -> int:
        """Orders starts and ends."""
        self._moment += 1
        return self._moment

    def call(self, node: RaftNode) -> None:
        """A new call through `node`."""
        rng = self.rng
        self._numbers += 1
        key = f"job-{rng.randrange(KEYS)}"
        kind = rng.choices(list(Kind), (40, 45, 8, 7))[0]
        request_id = rng.getrandbits(128).to_bytes(16, "big")
        command = b""
        if kind is not Kind.READ:
            command = encode(
                Envelope(request_id, node.clock.time_ms(), "sim", "sim", self._command(key, kind))
            )
        now_s = node.clock.monotonic_s()
        call = Call(self._numbers, key, kind, command, request_id, node, self._tick(), now_s)
        self.open.append(call)
        self._attempt(call)

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
            self._seen(call, value_of(call.node.machine, call.key), accepted=True)
        elif isinstance(outcome, Applied):
            self._count(call, "applied")
            if not self.invariants.acknowledged(call.request_id, outcome.revision):
                self._fault = f"revision {outcome.revision} was acknowledged twice"
            self._seen(call, self._written(call), accepted=True, revision=outcome.revision)
        elif outcome.reason == "request_expired":
            self._count(call, "expired")
            if call.unknown:
                self._seen(call, self._written(call), accepted=None)
        elif call.kind in (Kind.CREATE, Kind.DELETE):
            self._count(call, "rejected")
            self._seen(call, self._written(call), accepted=False)
        else:
            self._fault = f"call {call.number} was refused: {outcome}"

    def _ended(self, call: Call, error: HeroctlError) -> None:
        call.told = True
        not_applied = isinstance(error, NotApplied)
        call.unknown = call.unknown or not not_applied
        self._count(call, "not applied" if not_applied else "unknown")

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

    def go_on(self, live: list[RaftNode], now_s: float, slack_s: float, *, give_up: bool) -> None:
        """Tries again what did not work, or leaves it; every attempt must end in time."""
        if self._fault is not None:
            raise Violation(self._fault)
        for call in list(self.open):
            if not call.told:
                if now_s - call.attempt_s > CALL_S + slack_s:
                    raise Violation(f"{call.kind.value} {call.number} never ended")
            elif live and call.attempts < 4 and not give_up and self.rng.random() < 0.7:
                call.node = self.rng.choice(live)
                call.attempts, call.attempt_s = call.attempts + 1, call.node.clock.monotonic_s()
                self._count(call, "tried again")
                self._attempt(call)
            else:
                self._leave(call)

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


def value_of(machine: StateMachine, key: str) -> State:
    """What a job of the simulation holds in a machine: the number of the call that wrote it."""
    row = machine.get("jobs", key)
    return None if row is None else int(codec.unpack(codec.unpack(row)["spec"]))
