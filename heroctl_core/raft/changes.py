"""What a leader does for operators: hand over to another voter, remove a member, tell who is there.

Leader transfer is that of the Raft thesis (3.10): nothing new is appended until the target has
everything, then the target campaigns at once, without asking whether it may. One that does not
happen within an election timeout is given up, and the leader goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import CommandRejected, HeroctlError, NotApplied, Overloaded, RecoveryError
from .leader_orders import DEADLINE_S, Members, encode
from .port import Member, Order

if TYPE_CHECKING:
    from .node import RaftNode

_MOST: Final = 256  # orders that wait at one leader


@dataclass(slots=True)
class Transfer:
    """A change of leader under way."""

    target: str
    until_s: float
    told: bool = False


@dataclass(slots=True)
class Task:
    """One order that this leader carries out. `answer` takes what `leader_orders.encode` gives."""

    order: Order
    member: str
    answer: Callable[[bytes], object]
    until_s: float
    index: int = 0  # of the entry that does it
    transfer: Transfer | None = None


class Changes:
    """The orders at one leader. Only the engine's thread."""

    def __init__(self, node: RaftNode) -> None:
        self._node = node
        self._tasks: list[Task] = []
        self.transfer: Transfer | None = None

    def begin(self, order: Order, member: str, answer: Callable[[bytes], object]) -> None:
        """Takes an order; the answer comes later, or never when this node stops leading."""
        if len(self._tasks) >= _MOST:
            answer(encode(Overloaded(f"{_MOST} orders are waiting already")))
            return
        until_s = self._node.clock.monotonic_s() + DEADLINE_S
        self._tasks.append(Task(order, member, answer, until_s))

    def forget(self) -> None:
        """This node leads no more: the next leader is asked."""
        self._tasks.clear()
        self.transfer = None

    def work(self, now: float) -> None:
        """Goes on with everything that is under way."""
        self._go_on_with_transfer(now)
        self._tasks = [task for task in self._tasks if now < task.until_s]  # nobody waits longer
        for task in list(self._tasks):
            try:
                outcome = self._go_on(task)
            except HeroctlError as error:
                self._end(task, error)
            else:
                if outcome is not None:
                    self._end(task, outcome)

    def _end(self, task: Task, outcome: Members | HeroctlError) -> None:
        self._tasks.remove(task)
        task.answer(encode(outcome))

    def _go_on(self, task: Task) -> Members | None:
        """The outcome once there is one; a HeroctlError for what cannot be done."""
        if task.order is Order.MEMBERS:
            return self._node.members()
        if task.order is Order.REMOVE:
            return self._remove(task)
        return self._hand_over(task)

    # -- leader transfer

    def _hand_over(self, task: Task) -> Members | None:
        """Begins a transfer; when it has worked, the next leader is the answer."""
        node = self._node
        if task.transfer is None:
            target = self._target(task.member)
            if target == node.member_id:
                return self._shown(target)
            if self.transfer is None:
                self.transfer = Transfer(target, self._patience_s())
            task.transfer = self.transfer
        elif self.transfer is not task.transfer:
            spec = node.configuration.members.get(task.transfer.target)
            name = spec.name if spec else "the member, now removed,"
            raise NotApplied(
                f"{name} did not take over within {node.timing.election_timeout_s:g} s",
                hint="heroctl cluster members shows which voters answer and how far they are",
            )
        return None

    def _patience_s(self) -> float:
        return self._node.clock.monotonic_s() + self._node.timing.election_timeout_s

    def _target(self, asked: str) -> str:
        """The voter that shall lead: the one that is asked for, or the most caught-up one."""
        node = self._node
        others = self._answering() - {node.member_id}
        if not asked:
            if not others:
                raise RecoveryError(
                    "no other voter answers", hint="start another node first, then hand over"
                )
            return max(sorted(others), key=node.core.match_index)
        found = self._found(asked)
        if found != node.member_id and found not in others:
            voter = node.configuration.members[found].voter
            what = "does not answer" if voter else "is a learner"
            raise RecoveryError(
                f"{asked} {what}, so it cannot lead", hint="heroctl cluster members shows who can"
            )
        return found

    def _go_on_with_transfer(self, now: float) -> None:
        node, transfer = self._node, self.transfer
        if transfer is None:
            return
        if now >= transfer.until_s or transfer.target not in node.connected:
            self.transfer = None  # this node leads on
            return
        last = node.log.entries[-1][1]
        # All that is in flight is committed first, so that its writers hear of it from here.
        ready = node.core.commit_index == last == node.core.match_index(transfer.target)
        if ready and not transfer.told:
            transfer.told = True
            node.send(transfer.target, ["timeout", node.core.term])

    # -- removal

    def _remove(self, task: Task) -> Members | None:
        """The member that is gone, once its removal is committed."""
        node = self._node
        if node.configurations.newest_index > node.core.commit_index or self.transfer is not None:
            return None  # one change at a time (row 1)
        if not node.leadership.may_append():
            return None
        configuration = node.configuration
        if task.index or task.member in configuration.removed:
            return ()
        member_id = self._found(task.member)
        self._refuse_loss_of_quorum(member_id)
        if member_id == node.member_id:
            self.transfer = Transfer(self._target(""), self._patience_s())
            return None  # the next leader removes this one
        task.index = node.log.entries[-1][1] + 1
        node.leadership.append_configuration(configuration.without(member_id, task.index))
        return None

    def _refuse_loss_of_quorum(self, member_id: str) -> None:
        node = self._node
        configuration = node.configuration
        if not configuration.members[member_id].voter:
            return
        name = configuration.members[member_id].name
        rest = configuration.without(member_id, 0)
        if not rest.voters:
            raise RecoveryError(
                f"{name} is the last voter, so it cannot be removed",
                hint="to end a cluster stop its node and move the data folder away",
            )
        if not rest.is_quorum(self._answering()):
            silent = sorted(configuration.members[m].name for m in rest.voters - self._answering())
            raise RecoveryError(
                f"without {name} there would be no quorum: {', '.join(silent)} does not answer",
                hint=f"start {silent[0]} first, or remove it first if it is lost",
            )

    # -- both

    def _answering(self) -> frozenset[str]:
        """The voters that answered lately, this node included."""
        node = self._node
        now, within = node.clock.monotonic_s(), node.timing.election_timeout_s
        recent = node.replication.recently(now, within) & node.connected
        return node.configuration.voters & (recent | {node.member_id})

    def _found(self, name_or_id: str) -> str:
        found = self._node.configuration.find(name_or_id)
        if found is None:
            raise CommandRejected(
                "not_found",
                f"{name_or_id} is no member",
                hint="heroctl cluster members shows names and ids",
            )
        return found

    def _shown(self, member_id: str) -> tuple[Member, ...]:
        return tuple(m for m in self._node.members() if m.member_id == member_id)
