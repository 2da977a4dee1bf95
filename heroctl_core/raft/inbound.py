"""Frames of accepted peers: each is checked, judged and handed on. One function for each type.

Nothing here may trust a value: a peer that sends rubbish is cut off and counted, nobody else
notices. What promises is not sent from here but kept until the log is synced (raft/node.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .. import limits
from ..errors import NodeFault
from ..state.commands import open_envelope
from . import guard
from .elections import up_to_date
from .engine import CANDIDATE
from .port import Order
from .proposals import ENTRY_OVERHEAD

if TYPE_CHECKING:
    from .node import RaftNode


def receive(node: RaftNode, sender: str, frame: list[Any]) -> str | None:
    """Takes one frame; a reason to cut the peer off, or None."""
    known = _FRAMES.get(frame[0]) if frame and isinstance(frame[0], str) else None
    if known is None:
        return f"unknown frame {frame[:1]!r}"
    receiver, shape = known
    values = frame[1:]
    if len(values) != len(shape) or not all(map(_fits, values, shape)):
        return f"malformed {frame[0]} frame"
    return receiver(node, sender, *values)


def _fits(value: object, shape: object) -> bool:
    """Whether a value has the type of a shape; a list shape means a list of such items."""
    if shape is int:  # first: most are
        return type(value) is int and 0 <= value < 2**63
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    if isinstance(shape, tuple):
        return (
            isinstance(value, list) and len(value) == len(shape) and all(map(_fits, value, shape))
        )
    if shape is _INT_OR_NONE:
        return value is None or _fits(value, int)
    return type(value) is shape


def _append(
    node: RaftNode, sender: str, term: int, seq: int, prev_index: int | None, prev_term: int,
    entries: list[list[Any]], commit_index: int,
) -> str | None:  # fmt: skip
    batch = tuple((data, index, at) for data, index, at in entries)
    message = guard.AppendEntries(term, prev_index, prev_term, batch, commit_index)
    verdict = guard.judge(sender, message, _facts(node))
    if verdict.cut:
        return verdict.cut
    if verdict.stop:
        raise NodeFault(verdict.stop)
    if verdict.stale:
        node.send(sender, ["stale", node.core.term])
        return None
    assert verdict.hand_on is not None
    was_leading = node.leading
    node.answering_seq = seq
    node.core.receive_append(sender, verdict.hand_on)
    node.elections.heard_leader()
    node.freshness.told(term, commit_index, node.elections.contact_s)
    if verdict.answer:
        node.answer(sender, verdict.answer.next_index, success=verdict.answer.success)
    node.answering_seq = 0  # what else is answered to this leader confirms none of its messages
    if was_leading:
        node.stopped_leading()
    if node.lost_below:
        _found_again(node, message, verdict)
    return None


def _found_again(node: RaftNode, message: guard.AppendEntries, verdict: guard.Verdict) -> None:
    """Ends a suspicion of `_held`: when this log has all that a leader committed in its own term,
    it has all that any leader before had committed, whatever index somebody named."""
    assert verdict.hand_on is not None
    if verdict.hand_on.prev_index is None and not (verdict.answer and verdict.answer.success):
        return
    commit, first, last = message.commit_index, node.log.entries[0][1], node.log.entries[-1][1]
    verified = first <= commit <= min(message.last_index, last)
    if verified and node.log.entries[commit - first][2] == message.term:
        node.lost_below = 0


def _facts(node: RaftNode) -> guard.Facts:
    entries, core = node.log.entries, node.core
    first = entries[0][1]
    return guard.Facts(
        term=core.term,
        leading=node.leading,
        leader=core.leader_id,
        first_index=first,
        last_index=entries[-1][1],
        committed=max(core.commit_index, core.applied_index),
        term_at=lambda index: entries[index - first][2],
    )


def _next(
    node: RaftNode, sender: str, term: int, seq: int, next_index: int, success: bool
) -> str | None:
    if _step_down_if_newer(node, sender, term) or term < node.core.term or not node.leading:
        return None
    now = node.clock.monotonic_s()
    return node.replication.answered(sender, next_index, seq, now, success=success)


def _request_vote(
    node: RaftNode, sender: str, term: int, last_term: int, last_index: int
) -> str | None:
    if term < node.core.term:
        node.send(sender, ["stale", node.core.term])
    elif node.takes_part:
        was_leading = node.leading
        message = {"type": "request_vote", "term": term}
        message |= {"last_log_term": last_term, "last_log_index": last_index}
        node.core.receive(sender, message)
        if was_leading and not node.leading:
            node.stopped_leading()
    return None


def _vote(node: RaftNode, sender: str, term: int) -> str | None:
    if _step_down_if_newer(node, sender, term) or term < node.core.term:
        return None
    if node.core.state != CANDIDATE or sender not in node.configuration.voters:
        return None
    if node.votes[0] != term:
        node.votes = (term, set())
    if sender not in node.votes[1]:  # votes are counted by voter, not by message (row 7)
        node.votes[1].add(sender)
        node.core.receive(sender, {"type": "response_vote", "term": term})
    return None


def _pre_vote(
    node: RaftNode, sender: str, proposed: int, last_term: int, last_index: int, nonce: int
) -> None:
    last = node.log.entries[-1]
    granted = (
        node.takes_part
        and proposed > node.core.term
        and up_to_date((last_term, last_index), (last[2], last[1]))
        and not node.elections.hears_leader()
        and not (node.leading and node.has_quorum())
    )
    node.send(sender, ["pva", node.core.term, nonce, granted])


def _pre_vote_answer(node: RaftNode, sender: str, term: int, nonce: int, granted: bool) -> None:
    if _step_down_if_newer(node, sender, term) or not granted or not node.takes_part:
        return
    if sender in node.configuration.voters and node.elections.won(
        node.configuration, sender, node.core.term, nonce
    ):
        node.core.campaign()


def _stale(node: RaftNode, sender: str, term: int) -> None:
    _step_down_if_newer(node, sender, term)


def _step_down_if_newer(node: RaftNode, sender: str, term: int) -> bool:
    if term <= node.core.term:
        return False
    was_leading = node.leading
    node.core.step_down(term, sender)
    if was_leading:
        node.stopped_leading()
    return True


def _proposals(node: RaftNode, sender: str, commands: list[bytes]) -> str | None:
    if any(len(command) > limits.ENTRY_BYTES - ENTRY_OVERHEAD for command in commands):
        return "a command above the limit"
    try:
        for command in commands:
            open_envelope(command)  # what no node can apply must never enter the log
    except ValueError as error:
        return str(error)
    # Its own node has refused what a voter does not know; we may have met a voter that it has not.
    known = node.leading and not any(map(node.refuses, commands))
    accepted = node.proposals.accept_forwarded(commands) if known else 0
    if accepted < len(commands):
        node.send(sender, ["refused"])
    return None


def _refused(node: RaftNode, sender: str) -> None:
    """It does not lead any more, or has no room: the next one, or it again after a while."""
    node.proposals.resend(after_s=node.timing.heartbeat_s)


def _read(node: RaftNode, sender: str, number: int) -> None:
    if node.leading:
        node.reads.asked_by(sender, number)


def _read_index(node: RaftNode, sender: str, number: int, index: int) -> None:
    if sender == node.core.leader_id:
        node.reads.told(number, index)
        node.reads.applied(node.core.applied_index)


def _install(
    node: RaftNode, sender: str, term: int, identity: list[Any], offset: int, data: bytes
) -> str | None:
    if term < node.core.term:
        node.send(sender, ["stale", node.core.term])
        return None
    if sender != node.core.leader_id or term != node.core.term:
        return None  # the heartbeats beside it settle who leads
    node.elections.heard_leader()
    committed = max(node.core.commit_index, node.core.applied_index)
    if identity[0] <= committed:
        node.answer(sender, committed + 1, success=True)
        return None
    try:
        held = node.receiver.receive(sender, identity, offset, data)
    except ValueError as error:
        return str(error)
    node.send(sender, ["insta", identity[2], held])
    return None


def _install_ack(node: RaftNode, sender: str, sha256: str, offset: int) -> None:
    if node.leading:
        node.sender.acknowledged(sender, sha256, offset)


def _ask(node: RaftNode, sender: str, number: int, order: str, member: str) -> str | None:
    if order not in tuple(Order):
        return f"an order {order[:20]!r}"
    if node.leading:
        answer = partial(_tell, node, sender, number)
        node.changes.begin(Order(order), member, answer)
    return None


def _tell(node: RaftNode, sender: str, number: int, told: bytes) -> None:
    node.send(sender, ["told", number, told])


def _told(node: RaftNode, sender: str, number: int, told: bytes) -> str | None:
    return node.orders.told(sender, number, told)


def _timeout_now(node: RaftNode, sender: str, term: int) -> None:
    """The leader hands over to us: an election in this turn, nobody is asked before (thesis,
    3.10). A message of the old leader right behind this one must not end it."""
    if sender == node.core.leader_id:
        node.elections.called_term = term


def _held(node: RaftNode, sender: str, term: int, index: int) -> None:
    """A former leader saw us acknowledge `index`, and it is committed: do we still have it?"""
    if sender in node.configuration.members and index > node.log.entries[-1][1]:
        _step_down_if_newer(node, sender, term)
        node.lost_below = max(node.lost_below, index)


def _print(node: RaftNode, sender: str, index: int, prints: list[list[Any]]) -> None:
    node.divergence.told(sender, index, tuple((kind, value) for kind, value in prints))


def _ping(node: RaftNode, sender: str) -> None:
    node.send(sender, ["pong"])


def _pong(node: RaftNode, sender: str) -> None:
    """Hearing it was all."""


_INT_OR_NONE: Final = object()
_ENTRY: Final = (bytes, int, int)
_DUMP: Final = (int, int, str, str, int)  # index, term, sha256, name, size

_FRAMES: Final[dict[str, tuple[Callable[..., str | None], tuple[object, ...]]]] = {
    # term, sequence number, prev_index, prev_term, entries, commit_index
    "ae": (_append, (int, int, _INT_OR_NONE, int, [_ENTRY], int)),
    "next": (_next, (int, int, int, bool)),  # term, answered number, next_index, success
    "rv": (_request_vote, (int, int, int)),  # term, last term, last index
    "vote": (_vote, (int,)),
    "pv": (_pre_vote, (int, int, int, int)),  # proposed term, last term, last index, nonce
    "pva": (_pre_vote_answer, (int, int, bool)),  # term, nonce, granted
    "stale": (_stale, (int,)),
    "prop": (_proposals, ([bytes],)),
    "refused": (_refused, ()),
    "read": (_read, (int,)),
    "readok": (_read_index, (int, int)),  # read number, index
    "inst": (_install, (int, _DUMP, int, bytes)),  # term, dump, offset, chunk
    "insta": (_install_ack, (str, int)),  # sha256, bytes held
    "ask": (_ask, (int, str, str)),  # number, order, member
    "told": (_told, (int, bytes)),  # number, what leader_orders.encode gives
    "timeout": (_timeout_now, (int,)),  # term
    "held": (_held, (int, int)),  # term, index
    "print": (_print, (int, [(str, bytes)])),  # index, (kind, fingerprint) of each
    "ping": (_ping, ()),
    "pong": (_pong, ()),
}

SHAPES: Final = {kind: shape for kind, (_, shape) in _FRAMES.items()}  # of the values of each frame
