"""What operators ask of the leader, from any node: the members, to remove one, to hand over.

An order waits here until a leader has carried it out; another leader is asked again, because doing
it twice does no harm: a member is removed once, and who leads already need not take over. The
leader's side is in raft/changes.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .. import codec
from ..errors import (
    REJECT_REASONS,
    CommandRejected,
    HeroctlError,
    NoLeader,
    NotApplied,
    OutcomeUnknown,
    Overloaded,
    RecoveryError,
)
from .port import Member, Order

if TYPE_CHECKING:
    from .node import RaftNode

DEADLINE_S: Final = 10.0
_MOST: Final = 64  # that wait at a time
_ERRORS: Final = {kind.reason: kind for kind in (NoLeader, NotApplied, Overloaded, RecoveryError)}

Members = tuple[Member, ...]


@dataclass(slots=True, eq=False)
class Waiting:
    """One order of a caller here. `asked` is the leader, and its term, that has it."""

    order: Order
    member: str
    until_s: float
    future: Future[Members] = field(default_factory=Future)
    number: int = 0
    asked: tuple[str, int] | None = None


class Orders:
    """The orders of one node. `submit` may be called by any thread, the rest by the engine's."""

    def __init__(self, node: RaftNode, wake: Callable[[], None], number: int) -> None:
        """`number` must differ from boot to boot, as that of Reads."""
        self._node = node
        self._wake = wake
        self._number = number
        self._inbox: deque[Waiting] = deque()
        self._waiting: list[Waiting] = []
        self._ended: Callable[[], HeroctlError] | None = None

    def submit(self, order: Order, member: str) -> Future[Members]:
        """The future of what the leader tells; see Replicator.ask_leader."""
        waiting = Waiting(order, member, self._node.clock.monotonic_s() + DEADLINE_S)
        waiting.future.set_running_or_notify_cancel()
        self._inbox.append(waiting)
        if self._ended is not None:  # looked at after the append: `end` cannot have missed it
            _fail(waiting, self._ended())
        self._wake()
        return waiting.future

    @property
    def anything_waiting(self) -> bool:
        return bool(self._inbox or self._waiting)

    def work(self) -> None:
        """Asks the leader, which may be this node, for what it has not been asked yet."""
        if not self.anything_waiting:
            return
        while self._inbox:
            waiting = self._inbox.popleft()
            if len(self._waiting) < _MOST:
                self._waiting.append(waiting)
            else:
                _fail(waiting, Overloaded(f"{_MOST} orders are waiting already"))
        self._waiting = [w for w in self._waiting if not w.future.done()]
        node = self._node
        leader = node.leader_id
        if leader is None or not self._waiting:
            return
        if not node.leading and leader not in node.connected:
            return
        for waiting in self._waiting:
            if waiting.asked != (leader, node.core.term) and not self._is_settled(waiting, leader):
                self._ask(waiting, leader)

    def _ask(self, waiting: Waiting, leader: str) -> None:
        node = self._node
        self._number += 1
        waiting.number, waiting.asked = self._number, (leader, node.core.term)
        if waiting.order is Order.REMOVE:  # by its id: the name may be another's at the next try
            waiting.member = node.configuration.find(waiting.member) or waiting.member
        if node.leading:
            number = self._number
            node.changes.begin(
                waiting.order, waiting.member, lambda told: self.told(leader, number, told)
            )
        else:
            node.send(leader, ["ask", self._number, waiting.order.value, waiting.member])

    def _is_settled(self, waiting: Waiting, leader: str) -> bool:
        """Whether the change of leader did what was asked for."""
        if waiting.order is Order.STEP_DOWN:
            done = leader != self._node.member_id
        elif waiting.order is Order.TRANSFER and waiting.member:
            done = self._node.configuration.find(waiting.member) == leader
        else:
            asked = waiting.asked[0] if waiting.asked else leader
            done = waiting.order is Order.TRANSFER and asked != leader
        if done:
            members = self._node.members()
            waiting.future.set_result(tuple(m for m in members if m.member_id == leader))
        return done

    def told(self, leader: str, number: int, told: bytes) -> str | None:
        """The leader's answer; the reason to cut it off, or None."""
        for waiting in self._waiting:
            if waiting.number == number and waiting.asked and waiting.asked[0] == leader:
                try:
                    outcome = decode(told)
                except ValueError as error:
                    return str(error)
                if isinstance(outcome, HeroctlError):
                    _fail(waiting, outcome)
                elif not waiting.future.done():
                    waiting.future.set_result(outcome)
        return None

    def expire(self) -> None:
        """Ends what waited too long."""
        now = self._node.clock.monotonic_s()
        for waiting in self._waiting:
            if waiting.until_s <= now:
                why = f"within {DEADLINE_S:g} s"
                _fail(
                    waiting,
                    OutcomeUnknown(f"no answer of the leader {why}", hint=_LOOK)
                    if waiting.asked
                    else NoLeader(f"no leader {why}"),
                )

    def fail(self, error: Callable[[], HeroctlError]) -> None:
        """Ends every order: nobody can carry it out at the moment."""
        self._waiting += self._inbox
        self._inbox.clear()
        for waiting in self._waiting:
            unknown = OutcomeUnknown(error().message, hint=_LOOK)
            _fail(waiting, unknown if waiting.asked else error())
        self._waiting.clear()

    def end(self, error: Callable[[], HeroctlError]) -> None:
        """Ends every order, and every later one at once: the node stopped."""
        self._ended = error
        self.fail(error)


_LOOK: Final = "heroctl cluster members shows what became of it"


def encode(outcome: Members | HeroctlError) -> bytes:
    """What the leader tells, as bytes for `decode`."""
    if isinstance(outcome, HeroctlError):
        return codec.pack([outcome.reason, outcome.message, outcome.hint or ""])
    return codec.pack([[getattr(m, name) for name in _FIELDS] for m in outcome])


def decode(told: bytes) -> Members | HeroctlError:
    """What the leader told; ValueError when it is nothing of the kind."""
    value: Any = codec.unpack(told)
    try:
        if value and isinstance(value[0], str):
            reason, message, hint = value
            if reason in REJECT_REASONS:
                return CommandRejected(reason, message, hint=hint or None)
            return _ERRORS.get(reason, HeroctlError)(message, hint=hint or None)
        return tuple(_member(row) for row in value)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"no answer to an order: {error!r}") from error


_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "member_id": (str,),
    "name": (str,),
    "address": (str,),
    "voter": (bool,),
    "connected": (bool,),
    "match_index": (int, type(None)),
    "heard_s": (float, type(None)),
    "version": (str,),
    "leads": (bool,),
}


def _member(row: list[Any]) -> Member:
    if len(row) != len(_FIELDS) or not all(map(isinstance, row, _FIELDS.values())):
        raise ValueError("a member of another shape")
    return Member(**dict(zip(_FIELDS, row, strict=True)))


def _fail(waiting: Waiting, error: HeroctlError) -> None:
    try:
        waiting.future.set_exception(error)
    except InvalidStateError:
        pass  # it has ended already
