"""What a node does while it does not lead: it forwards, asks, and campaigns when nobody leads.

The counterpart of raft/leadership.py; without state of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import limits
from ..errors import ReadOnly
from .proposals import ENTRY_OVERHEAD

if TYPE_CHECKING:
    from .node import RaftNode


def run_elections(node: RaftNode) -> None:
    """Asks for pre-votes when no leader was heard for too long; a lone voter campaigns at once."""
    if not node.takes_part or node.member_id not in node.configuration.voters:
        return
    if node.elections.called_term == node.core.term:
        node.core.campaign()
        return
    if not node.elections.due():
        return
    proposed, nonce = node.elections.ask(node.member_id, node.core.term)
    if node.configuration.is_quorum({node.member_id}):
        node.core.campaign()
        return
    last = node.log.entries[-1]
    for member_id in sorted(node.configuration.voters & node.connected):
        node.send(member_id, ["pv", proposed, last[2], last[1], nonce])


def follow(node: RaftNode, *, due: bool) -> None:
    """One turn of a follower; `due` when a leader would send heartbeats."""
    leader = node.leader_id
    if leader is not None and leader in node.connected:
        while commands := node.proposals.take_to_forward(limits.ENTRY_BYTES - ENTRY_OVERHEAD):
            node.send(leader, ["prop", commands])
        if (number := node.reads.ask()) is not None:
            node.send(leader, ["read", number])
    if due and (leader is None or node.elections.silent_s() > 3 * node.timing.heartbeat_s):
        # Without these nobody would know in time that there still is a majority.
        for member_id in sorted(node.configuration.members.keys() & node.connected):
            node.send(member_id, ["ping"])


def refuse_without_quorum(node: RaftNode) -> None:
    """Ends what certainly cannot come through at the moment (recovery.md, "Quorum loss")."""
    why = "no majority of voters is reachable"
    node.proposals.fail_sent(why)
    node.proposals.fail_unsent(lambda: ReadOnly(f"the cluster is read-only: {why}"))
    node.reads.fail(lambda: ReadOnly(f"no linearizable read: {why}"))
    node.orders.fail(lambda: ReadOnly(f"no leader can be asked: {why}"))
