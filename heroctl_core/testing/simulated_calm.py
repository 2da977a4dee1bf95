"""What must happen to a simulated cluster once nothing goes wrong any more: it serves, soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..raft.node import RaftNode
from .invariants import Violation

if TYPE_CHECKING:
    from .simulator import World

SERVES_S: Final = 10.0  # after the last fault
QUIET_S: Final = 40.0
_ASKED_S: Final = 0.5  # between two rounds of calls


def settle(world: World) -> None:
    """Waits until the cluster serves through every member, then until every call has ended."""
    calm_s, asked_s = world.now_s, 0.0
    world.clients.served.clear()
    while _unserved(world) or not _converged(world):
        if world.now_s > calm_s + SERVES_S:
            raise Violation(f"the healed cluster does not serve after {SERVES_S:g} s")
        if world.now_s > asked_s + _ASKED_S:
            asked_s = world.now_s
            world.clients.ask(_unserved(world), world.now_s)
        world.step()
    world.stats["served after ms"] = round((world.now_s - calm_s) * 1000)
    while world.clients.open or world.operators.open or not _converged(world):
        if world.now_s > calm_s + QUIET_S:  # each call has a deadline of its own, far before
            raise Violation(f"the healed cluster is not quiet after {QUIET_S:g} s")
        world.step()


def _members(world: World) -> list[RaftNode]:
    """Those of the newest leader's configuration that are up; none without a leader."""
    leaders = [n for n in world.nodes if n.leading and n.core.noop_index is not None]
    if not leaders:
        return []
    members = max(leaders, key=lambda n: n.core.term).configuration.members
    return [n for n in world.nodes if n.member_id in members]


def _unserved(world: World) -> list[RaftNode]:
    """Members through which no read or no write succeeded yet."""
    served = world.clients.served
    return [n for n in _members(world) if served[n.member_id] != {True, False}]


def _converged(world: World) -> bool:
    """Whether all members hold, and have applied, the same log."""
    members = _members(world)
    last = {node.log.entries[-1][1] for node in members}
    return len(last) == 1 and all(node.core.applied_index in last for node in members)
