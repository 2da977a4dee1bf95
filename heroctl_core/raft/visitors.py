"""What the transport tells of other nodes (listener.Listener), handed to whom it concerns: frames
of members to the node, everything else to the standing. On the engine's thread.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..clock import Clock
from .greeting import Greeting
from .handshake import Hello, Judgement, Relation
from .node import RaftNode
from .standing import Standing


class House(Protocol):
    """What the visitors of a Runtime need of it."""

    @property
    def node(self) -> RaftNode | None: ...
    @property
    def standing(self) -> Standing: ...
    def look_soon(self) -> None: ...


class Visitors:
    """The listener of one runtime's transport."""

    def __init__(self, house: House, clock: Clock) -> None:
        self._house = house
        self._clock = clock

    def my_hello(self) -> Hello:
        return self._house.standing.hello()

    def met(self, address: str | None, theirs: Hello, judgement: Judgement) -> Judgement:
        now = self._clock.monotonic_s()
        judgement = self._house.standing.met(address, theirs, judgement, now)
        if judgement.relation not in (Relation.PEER, Relation.ASIDE, Relation.REFUSED):
            self._house.look_soon()
        return judgement

    def unreachable(self, address: str, *, refused: bool) -> None:
        self._house.standing.neighbours.unreachable(address, refused=refused)

    def opened(self, member_id: str) -> None:
        if (node := self._house.node) is not None:
            node.set_connected(member_id, connected=True)

    def closed(self, member_id: str) -> None:
        if (node := self._house.node) is not None:
            node.set_connected(member_id, connected=False)

    def peer_gone(self, member_id: str) -> None:
        if (node := self._house.node) is not None:
            node.peer_closed(member_id)

    def received(self, member_id: str, frame: list[Any]) -> str | None:
        node = self._house.node
        return node.receive(member_id, frame) if node is not None else None

    def refused(self, what: str, reason: str) -> None:
        self._house.standing.neighbours.refused(what, reason, self._clock.monotonic_s())

    def met_other_key(self, theirs: Greeting) -> None:
        self._house.standing.met_other_key(theirs)
