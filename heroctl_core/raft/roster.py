"""The members of the newest configuration, as one node sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..version import __version__
from .port import Member

if TYPE_CHECKING:
    from .node import RaftNode


def members(node: RaftNode) -> tuple[Member, ...]:
    """By member id. How far each is only the leader knows."""
    return tuple(
        Member(
            member_id,
            spec.name,
            spec.address,
            spec.voter,
            connected=member_id == node.member_id or member_id in node.connected,
            match_index=_match_index(node, member_id),
            heard_s=_heard_s(node, member_id),
            version=_version(node, member_id),
            leads=member_id == node.leader_id,
        )
        for member_id, spec in sorted(node.configuration.members.items())
    )


def _match_index(node: RaftNode, member_id: str) -> int | None:
    if not node.leading:
        return None
    if member_id == node.member_id:
        return node.log.entries[-1][1]
    return node.core.match_index(member_id)


def _heard_s(node: RaftNode, member_id: str) -> float | None:
    if member_id == node.member_id:
        return 0.0
    at_s = node.heard.get(member_id)
    return None if at_s is None else max(0.0, node.clock.monotonic_s() - at_s)


def _version(node: RaftNode, member_id: str) -> str:
    if member_id == node.member_id:
        return __version__
    met = node.candidates.get(member_id)
    return met.version if met else ""
