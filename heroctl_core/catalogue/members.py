"""The members of the cluster, for operators: who is there, who leads, who goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..errors import OutcomeUnknown
from ..raft.port import Member, Order, Replicator
from .access import OPERATOR, Actor
from .reads import Consistency

_WAIT_S: Final = 12.0  # the engine ends every order after 10 s and knows better what became of it


class Members:
    """Asks the leader, through whichever node this is. Any thread."""

    def __init__(self, replicator: Replicator) -> None:
        self._replicator = replicator

    def list(self, *, consistency: Consistency = "linearizable") -> tuple[Member, ...]:
        """All members as the leader sees them; "stale": as this node does. ReadOnly, NoLeader."""
        if consistency == "stale":
            return self._replicator.status().members
        return self._ask(Order.MEMBERS, "")

    def remove(self, member: str, *, actor: Actor = OPERATOR) -> None:
        """Removes a member, by name or id; its node stops itself. When it leads, another one leads
        first. Raises CommandRejected denied or not_found, and RecoveryError when the voters that
        stay and answer would be no quorum."""
        actor.check("delete", "operator", member)
        self._ask(Order.REMOVE, member)

    def transfer_leader(self, to: str = "", *, actor: Actor = OPERATOR) -> Member:
        """The member that leads from now on: `to`, by name or id, or the most caught-up voter.
        Raises CommandRejected denied or not_found, RecoveryError for one that cannot lead,
        NotApplied when it did not take over in time."""
        actor.check("write", "operator", to or "*")
        [leader] = self._ask(Order.TRANSFER, to)
        return leader

    def _ask(self, order: Order, member: str) -> tuple[Member, ...]:
        try:
            return self._replicator.ask_leader(order, member).result(_WAIT_S)
        except TimeoutError as error:
            raise OutcomeUnknown(
                f"no answer of the leader within {_WAIT_S:g} s",
                hint="heroctl cluster members shows what became of it",
            ) from error


def shown(members: Iterable[Member]) -> list[dict[str, Any]]:
    """Members as the API shows them, by name. `lag` counts the log entries behind the leader."""
    ordered = sorted(members, key=lambda member: member.name)
    last = next((member.match_index for member in ordered if member.leads), None)
    return [
        {
            "name": member.name,
            "member_id": member.member_id,
            "address": member.address,
            "role": "voter" if member.voter else "learner",
            "voter": member.voter,
            "is_leader": member.leads,
            "is_connected": member.connected,
            "match_index": member.match_index,
            "lag": _lag(member, last),
            "heard_s": None if member.heard_s is None else round(member.heard_s, 3),
            "version": member.version,
        }
        for member in ordered
    ]


def _lag(member: Member, last: int | None) -> int | None:
    if last is None or member.match_index is None:
        return None
    return max(0, last - member.match_index)
