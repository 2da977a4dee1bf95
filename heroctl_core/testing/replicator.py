"""The replicator's port in memory: one voter, applied at once, for tests without disk and threads.

It passes the suite of the real engine, tests/contract/test_contract_replicator.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from ..clock import Clock, SystemClock
from ..errors import (
    CommandRejected,
    HeroctlError,
    NodeFault,
    OutcomeUnknown,
    ReadOnly,
    RecoveryError,
    StateDefect,
)
from ..raft.port import Generation, Member, Mode, Order, RaftStatus
from ..state.machine import StateMachine
from ..state.outcome import Outcome, Stamp
from ..version import __version__

T = TypeVar("T")

MEMBER_ID = "00" * 16


class InMemoryReplicator:
    """Applies each proposal under a lock, in the caller's thread.

    Switches for tests: `go_read_only` and `go_normal`; `lose_outcomes` applies writes and answers
    OutcomeUnknown; `stall` takes writes and never answers.
    """

    def __init__(self, clock: Clock | None = None, machine: StateMachine | None = None) -> None:
        self.machine = machine if machine is not None else StateMachine()
        self._clock = clock if clock is not None else SystemClock()
        self._lock = threading.RLock()
        self._index = 1  # of the leader's own no-op entry
        self._time_ms = 0
        self._mode = Mode.NORMAL
        self._mode_since_ms = self._clock.time_ms()
        self._quorum_until_s = self._clock.monotonic_s()
        self._losing = False
        self._stalled: list[Future[Outcome]] | None = None
        self._fault: HeroctlError | None = None
        self._listener: Callable[[], None] = lambda: None

    def propose(self, command: bytes, request_id: bytes) -> Future[Outcome]:
        """The outcome, already there; or the failure that the switches ask for."""
        future: Future[Outcome] = Future()
        with self._lock:
            fault = self._fault or self._no_quorum("a write")
            if fault is not None:
                future.set_exception(fault)
            elif self._stalled is not None:
                self._stalled.append(future)
            else:
                self._apply(command, future)
        return future

    def write(self, command: bytes, request_id: bytes, timeout_s: float) -> Outcome:
        """The outcome, at once unless the replicator stalls."""
        return self.propose(command, request_id).result(timeout_s)

    def time_ms(self) -> int:
        """The clock's, or the state's when that is ahead."""
        return max(self._clock.time_ms(), self.machine.time_ms)

    def read_barrier(self) -> Future[int]:
        """The index of the last entry: everything is applied at once."""
        future: Future[int] = Future()
        with self._lock:
            fault = self._fault or self._no_quorum("a linearizable read")
            if fault is not None:
                future.set_exception(fault)
            else:
                future.set_result(self._index)
        return future

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls it in the thread that proposes, and after a `call`, which may load the machine."""
        self._listener = listener

    def call(self, function: Callable[[], T]) -> Future[T]:
        """The result of `function`, run between two entries."""
        future: Future[T] = Future()
        with self._lock:
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 – it belongs to who waits for the future
                future.set_exception(error)
            self._listener()
        return future

    def status(self) -> RaftStatus:
        """One voter that leads itself, or hears nobody."""
        with self._lock:
            leads = self._mode is Mode.NORMAL
            age_s = 0.0 if leads else self._clock.monotonic_s() - self._quorum_until_s
            return RaftStatus(
                member_id=MEMBER_ID,
                role="leader" if leads else "follower",
                leader_id=MEMBER_ID if leads else None,
                term=1,
                commit_index=self._index,
                applied_index=self._index,
                first_index=1,
                last_index=self._index,
                mode=self._mode,
                mode_since_ms=self._mode_since_ms,
                tick_age_s=0.0,
                last_contact_s=age_s,
                fencing="serving",
                members=(
                    Member(
                        MEMBER_ID,
                        "memory",
                        "127.0.0.1:0",
                        voter=True,
                        connected=True,
                        match_index=self._index if leads else None,
                        heard_s=0.0,
                        version=__version__,
                        leads=leads,
                    ),
                ),
                lineage=(Generation(1, "00" * 16),),
                cluster_id="00" * 16,
            )

    def ask_leader(self, order: Order, member: str = "") -> Future[tuple[Member, ...]]:
        """The one member, which can neither be removed nor hand over to another."""
        future: Future[tuple[Member, ...]] = Future()
        with self._lock:
            [only] = self.status().members
            fault = self._fault or self._no_quorum("an order")
            if fault is not None:
                future.set_exception(fault)
            elif member not in ("", only.name, only.member_id):
                future.set_exception(CommandRejected("not_found", f"{member} is no member"))
            elif order in (Order.MEMBERS, Order.TRANSFER) and (member or order is Order.MEMBERS):
                future.set_result((only,))
            else:
                future.set_exception(RecoveryError("there is no other voter"))
        return future

    def close(self) -> None:
        """Stops taking part; what stalls fails. Idempotent."""
        self._stop(NodeFault("the replicator is closed"))

    def go_read_only(self) -> None:
        """As when no majority of voters is heard any more."""
        self._go(Mode.READ_ONLY)

    def go_normal(self) -> None:
        """As when the quorum is back."""
        self._go(Mode.NORMAL)

    def lose_outcomes(self, *, losing: bool = True) -> None:
        """From now on writes are applied, and their answers get lost."""
        with self._lock:
            self._losing = losing

    def stall(self) -> None:
        """From now on writes wait until `close`."""
        with self._lock:
            self._stalled = []

    def _apply(self, command: bytes, future: Future[Outcome]) -> None:
        self._index += 1
        self._time_ms = max(self._time_ms, self._clock.time_ms())
        try:
            outcome = self.machine.apply(command, Stamp(self._index, self._time_ms))
        except StateDefect as defect:
            future.set_exception(defect)
            self._stop(defect)
            return
        if self._losing:
            future.set_exception(OutcomeUnknown("the answer got lost"))
        else:
            future.set_result(outcome)
        self._listener()

    def _no_quorum(self, what: str) -> ReadOnly | None:
        if self._mode is Mode.READ_ONLY:
            return ReadOnly(f"no majority of voters is heard, so {what} is refused")
        return None

    def _go(self, mode: Mode) -> None:
        with self._lock:
            if self._mode is Mode.NORMAL:
                self._quorum_until_s = self._clock.monotonic_s()
            self._mode = mode
            self._mode_since_ms = self._clock.time_ms()

    def _stop(self, fault: HeroctlError) -> None:
        with self._lock:
            self._fault = self._fault or fault
            stalled, self._stalled = self._stalled or [], None
        for future in stalled:
            future.set_exception(OutcomeUnknown("the replicator stopped before it answered"))
