"""What the services may ask of the replicated log: the port, and the values that cross it.

Two adapters: the real engine (raft/runtime.py) and the in-memory one (testing/replicator.py). Both
pass tests/contract/test_contract_replicator.py.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from ..state.machine import StateMachine
from ..state.outcome import Outcome

T = TypeVar("T")


class Mode(StrEnum):
    """What this node can do, seen from itself (recovery.md, "Quorum loss")."""

    STARTING = "STARTING"  # asks its peers before it takes part
    NORMAL = "NORMAL"
    DEGRADED = "DEGRADED"  # quorum, but a voter is missing
    READ_ONLY = "READ_ONLY"  # no majority of voters heard within one election timeout


@dataclass(frozen=True, slots=True)
class Generation:
    """One link of a lineage: number from 1, and the random id of the restore that made it (hex)."""

    number: int
    restore_id: str


Lineage = tuple[Generation, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the newest configuration as this node sees it."""

    member_id: str  # 32 hex digits
    name: str
    address: str  # host:port of its Raft listener
    voter: bool
    connected: bool
    match_index: int | None = None  # on the leader only
    heard_s: float | None = None  # seconds since its last frame; None: not since this node's start
    version: str = ""  # the release that it runs; "" when this node has not met it
    leads: bool = False


class Order(StrEnum):
    """What a leader can be asked to do; see Replicator.ask_leader."""

    MEMBERS = "members"  # tell all members as the leader sees them
    REMOVE = "remove"  # one member, by name or id; the leader hands over first when it is itself
    TRANSFER = "transfer"  # hand over to a voter, by name or id; "" is the most caught-up one
    STEP_DOWN = "step_down"  # the same, only if it is this node that leads


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """One consistent look at the engine."""

    member_id: str
    role: str  # leader | follower | candidate | learner | starting | stopped
    leader_id: str | None
    term: int
    commit_index: int
    applied_index: int
    first_index: int
    last_index: int
    mode: Mode
    mode_since_ms: int
    tick_age_s: float  # seconds since the loop's last turn
    last_contact_s: float  # how much older than the cluster a stale read may be; 0 on the leader,
    # infinite until this node has applied all that was committed when it heard of it
    fencing: str  # serving | starting | unconfirmed | contested | suspended
    members: tuple[Member, ...] = ()
    lineage: Lineage = ()
    cluster_id: str = ""
    warnings: tuple[str, ...] = field(default=())
    # Counted since this node began with its generation, the peers since it was started:
    leader_changes: int = 0
    failed_installs: int = 0  # snapshots of the leader that could not be loaded
    peers_cut_off: int = 0  # connections ended because what came was no message of ours


class Replicator(Protocol):
    """A replicated state machine. All methods may be called from any thread."""

    @property
    def machine(self) -> StateMachine:
        """Read single rows from any thread; everything else through `call`. Ask for it each time:
        a snapshot or a new generation brings another one."""
        ...

    def propose(self, command: bytes, request_id: bytes) -> Future[Outcome]:
        """A future of the outcome of `command`, an encoded envelope (state/commands.py).

        It fails with NotApplied (safe to retry), OutcomeUnknown (retry with the same request id)
        or NodeFault. It always ends: at the latest at the engine's deadline (5 s).
        """
        ...

    def write(self, command: bytes, request_id: bytes, timeout_s: float) -> Outcome:
        """The outcome of `command`, for a caller that waits for it: as `propose`, at less cost.
        TimeoutError after `timeout_s` seconds."""
        ...

    def time_ms(self) -> int:
        """The state's time now, in milliseconds since 1970: as this node saw it move last, whatever
        its own clock says; by that clock while it knows no better."""
        ...

    def read_barrier(self) -> Future[int]:
        """A future that is done when this node's machine shows every write that was acknowledged
        before the call (ReadIndex, Raft thesis 6.4); the result is the applied log index.
        Fails with ReadOnly or NoLeader."""
        ...

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Runs `function` between two log entries on the engine's thread, as soon as possible.
        It must be quick (under a millisecond): take a view there, work with it elsewhere."""
        ...

    def ask_leader(self, order: Order, member: str = "") -> Future[tuple[Member, ...]]:
        """A future of what the leader did, through any node: the members that it concerns, for
        REMOVE none. Another leader is asked again until the deadline (10 s). Fails with
        CommandRejected not_found, RecoveryError for what a guard refuses, NotApplied,
        OutcomeUnknown or NodeFault."""
        ...

    def on_change(self, listener: Callable[[], None]) -> None:
        """From now on calls `listener` on the engine's thread after it has applied something, and
        when the machine's content is another one. It must be quick; there is one."""
        ...

    def status(self) -> RaftStatus:
        """The newest published look; does not wait for the engine."""
        ...

    def close(self) -> None:
        """Stops taking part; waiting proposals fail. Idempotent."""
        ...
