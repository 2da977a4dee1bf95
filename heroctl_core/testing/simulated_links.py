"""The connections between members in the simulation of generations.

Who connects says hello first, and both judge for themselves; Raft frames flow only between peers,
on a connection that ends with either process or its generation.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import codec
from ..errors import NodeFault
from ..raft import presence
from ..raft.handshake import Hello, Judgement, Relation, judge
from ..raft.node import RaftNode
from ..raft.presence import Do, Situation, Step
from .invariants import Violation

if TYPE_CHECKING:
    from .simulated_generations import Generations
    from .simulated_member import Member

_REDIAL_S: Final = 0.25
_CUTS: Final = ((True, True), (True, True), (True, False), (False, True))  # into, out of a machine


@dataclass(frozen=True, slots=True)
class Fencing:
    """How nodes judge each other and what they do about it. Only the simulator weakens it."""

    judge: Callable[[Hello, Hello], Judgement] = judge
    decide: Callable[[Situation], Step] = presence.decide


def _judge_cluster_only(mine: Hello, theirs: Hello) -> Judgement:
    """Whoever is of the same cluster is a peer, as it is with pysyncobj alone."""
    judgement = judge(mine, theirs)
    related = (Relation.NEWER, Relation.OLDER, Relation.FORK, Relation.ASIDE)
    return Judgement(Relation.PEER) if judgement.relation in related else judgement


def _decide_alone(situation: Situation) -> Step:
    """Nobody stands aside, leaves or is contested."""
    step = presence.decide(situation)
    if step.do in (Do.SUSPEND, Do.LEAVE, Do.CONTEST):
        return Step(Do.WAIT if situation.voting else Do.VOTE)
    return step


UNFENCED: Final = Fencing(_judge_cluster_only, _decide_alone)


class _Frame(NamedTuple):
    due_s: float
    number: int
    way: tuple[str, str]
    link: _Link
    frame: list[Any]


@dataclass(slots=True, eq=False)
class _Link:
    """A connection from one process to another: Raft frames flow on it."""

    source_id: str
    target_id: str


class Links:
    """All connections of one world, and what is under way on them."""

    def __init__(self, world: Generations) -> None:
        self._world = world
        self.cut: set[tuple[str, str]] = set()  # (source, target), one direction each
        self._links: dict[tuple[str, str], _Link] = {}
        self._frames: list[_Frame] = []
        self._sent = 0

    def send(self, member: Member, target_id: str, frame: list[object]) -> None:
        for way, link in self._links.items():
            if way[0] == member.name and link.target_id == target_id and way not in self.cut:
                self._sent += 1
                due_s = self._world.now_s + self._world.rng.uniform(0.001, 0.04)
                wire = codec.unpack(codec.pack_frame(frame))
                heapq.heappush(self._frames, _Frame(due_s, self._sent, way, link, wire))

    def hang_up(self, member: Member) -> None:
        """All connections of a process end, at both ends."""
        for way in [w for w in self._links if member.name in w]:
            self._close(way)

    def _close(self, way: tuple[str, str]) -> None:
        link = self._links.pop(way)
        source, target = (self._world.members[name].node for name in way)
        if source is not None:
            source.set_connected(link.target_id, connected=False)
        if target is not None:
            target.peer_closed(link.source_id)

    def dial(self, member: Member) -> None:
        standing = member.running
        for address in sorted(standing.addresses()):
            if self._world.now_s < member.next_dial_s.get(address, 0.0):
                continue
            member.next_dial_s[address] = self._world.now_s + _REDIAL_S
            target = self._world.members[address.split(":")[0]]
            way = member.name, target.name
            if way in self._links or member.standing is None:
                continue
            if way in self.cut or way[::-1] in self.cut:
                standing.neighbours.unreachable(address, refused=False)
            elif target.standing is None:
                standing.neighbours.unreachable(address, refused=True)
            else:
                self._greet(member, target)

    def _greet(self, source: Member, target: Member) -> None:
        """Both sides say hello, each judges for itself."""
        there, here, world = target.running, source.running, self._world
        mine, theirs = here.hello(), there.hello()
        told = world.fencing.judge(theirs, mine), world.fencing.judge(mine, theirs)
        accepted = there.met(None, mine, told[0], world.now_s)
        judged = here.met(target.address, theirs, told[1], world.now_s)
        if accepted.relation is judged.relation is Relation.PEER and source.node is not None:
            link = _Link(mine.member_id, theirs.member_id)
            self._links[source.name, target.name] = link
            source.node.set_connected(theirs.member_id, connected=True)

    def deliver(self) -> None:
        while self._frames and self._frames[0].due_s <= self._world.now_s:
            _, _, way, link, frame = heapq.heappop(self._frames)
            target = self._world.members[way[1]]
            if self._links.get(way) is link and way not in self.cut and target.node is not None:
                target.act(partial(self._receive, target.node, link.source_id, frame))

    def _receive(self, node: RaftNode, source_id: str, frame: list[Any]) -> None:
        try:
            fault = node.receive(source_id, frame)
        except (NodeFault, AssertionError, KeyError, IndexError, ValueError) as error:
            raise Violation(f"a node stopped itself: {error!r}") from error
        if fault:
            raise Violation(f"an honest peer was cut off: {fault}")

    def split(self) -> None:
        """One machine loses both directions or one; the connections may not notice."""
        names = list(self._world.members)
        lonely = self._world.rng.choice(names)
        into, out = self._world.rng.choice(
            ((True, True), (True, True), (True, False), (False, True))
        )
        for other in names:
            if other != lonely:
                self.cut |= {(other, lonely)} if into else set()
                self.cut |= {(lonely, other)} if out else set()
        self._world.stats["partitions"] += 1
        for way in [w for w in self._links if lonely in w]:
            if self._world.rng.random() < 0.7:
                self._close(way)

    def heal(self) -> None:
        """The network is whole; what was silent is connected anew."""
        for way in [w for w in self._links if w in self.cut or w[::-1] in self.cut]:
            self._close(way)
        self.cut.clear()
