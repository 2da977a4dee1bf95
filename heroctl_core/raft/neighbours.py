"""What one node knows of the others: who said what when, who has not answered yet, who was refused.

Used by the engine's thread only. What follows from it is decided in raft/presence.py.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from .handshake import Hello, Judgement, Relation
from .header import Header
from .lives import Lives
from .membership import Candidate
from .node import RaftNode
from .presence import Met

_KEPT_S: Final = 60.0  # what a node said is forgotten after this, unless it is connected
_KEPT: Final = 256  # nodes that are remembered at most, and refusals
_REFUSAL_S: Final = 600.0  # a refusal is told for this long after it was repeated
_LOG_S: Final = 10.0  # between two lines about one who is refused for changing reasons
_ITSELF: Final = "itself"
# A copied folder that was restored elsewhere has the same member id and another restore id.
_Who = tuple[str, str]

log = logging.getLogger("heroctl.raft")


@dataclass(frozen=True, slots=True)
class RaftSettings:
    """What a node is told about itself and its peers. Addresses are host:port."""

    node_name: str
    cluster_name: str
    key_id: str
    listen: str | None = None
    advertise: str | None = None  # default: where it listens
    peers: Mapping[str, str] = field(default_factory=dict)  # name: address
    expect: int = 0  # bootstrap_expect; 0 = never founds
    election_timeout_s: float = 1.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why somebody was refused, when that was and when it was logged last (monotonic seconds)."""

    reason: str
    at_s: float
    logged_s: float


class Neighbours:
    """The other nodes, as seen since the present generation was opened."""

    def __init__(self) -> None:
        self._met: dict[_Who, tuple[Hello, Relation, float]] = {}
        self._lives = Lives()
        self._questions: set[str] = set()
        self._refusals: dict[str, _Refusal] = {}

    def ask(self, addresses: set[str]) -> None:
        """Everything begins again: these have not answered yet."""
        self._met.clear()
        self._questions = set(addresses)

    def ask_ours(self, addresses: set[str]) -> None:
        """What members of our generation said may have changed, because we have."""
        self._met = {w: m for w, m in self._met.items() if m[1] is Relation.NEWER}
        self._questions = set(addresses)

    def ask_rivals(self, addresses: set[str]) -> None:
        """Who stood against us may have been stopped: these say it again, or nobody does."""
        rivals = [w for w, m in self._met.items() if m[1] in (Relation.OLDER, Relation.FORK)]
        self._questions = addresses | {self._met.pop(who)[0].address for who in rivals}

    @property
    def questions_open(self) -> bool:
        """Whether an address has neither answered nor refused."""
        return bool(self._questions)

    @property
    def silent(self) -> list[str]:
        """The addresses that have neither answered nor refused."""
        return sorted(self._questions)

    @property
    def warnings(self) -> list[str]:
        """Who was refused and why, for the operator."""
        refusals = sorted(self._refusals.items())
        return [f"{what} was refused: {refusal.reason}" for what, refusal in refusals]

    def met(
        self, address: str | None, theirs: Hello, judgement: Judgement, now_s: float
    ) -> Judgement:
        """Notes what another node said; the judgement, or a refusal where a folder was copied."""
        if address is not None:
            self._questions.discard(address)
        who = _who(theirs)
        self._met.pop(who, None)
        if judgement.relation is not Relation.REFUSED:
            judgement = self._lives.judge(who, theirs.boot_nonce, judgement, now_s)
        if judgement.reason:
            if judgement.reason != _ITSELF:
                self.refused(theirs.name, judgement.reason, now_s)
        else:
            self._refusals.pop(theirs.name, None)
        if judgement.relation is not Relation.REFUSED:
            self._met[who] = (theirs, judgement.relation, now_s)
            if len(self._met) > _KEPT:
                self._met.pop(next(iter(self._met)))
        return judgement

    def unreachable(self, address: str, *, refused: bool) -> None:
        """Nobody answered at an address; `refused`: the machine is there, the node is not."""
        if refused:
            self._questions.discard(address)

    def refused(self, what: str, reason: str, now_s: float) -> None:
        """Keeps a refusal, and logs it the first time; whoever knocks without end fills no log."""
        old = self._refusals.pop(what, None)
        logged_s = old.logged_s if old is not None else -math.inf
        if old is None or (old.reason != reason and now_s - logged_s >= _LOG_S):
            log.error("refused %s: %s", what, reason)
            logged_s = now_s
        self._refusals[what] = _Refusal(reason, now_s, logged_s)
        if len(self._refusals) > _KEPT:
            self._refusals.pop(next(iter(self._refusals)))

    def seen(self, now_s: float) -> tuple[Met, ...]:
        """What each node last said, with its age."""
        return tuple(Met(h, relation, now_s - at) for h, relation, at in self._met.values())

    def forget_old(self, now_s: float, connected: set[str]) -> None:
        """Drops who was not heard of for a minute."""
        for who, (_, _, at_s) in list(self._met.items()):
            if now_s - at_s > _KEPT_S and who[0] not in connected:
                del self._met[who]
        for what, refusal in list(self._refusals.items()):
            if now_s - refusal.at_s > _REFUSAL_S:
                del self._refusals[what]

    def of(self, relation: Relation) -> list[Hello]:
        """What nodes of one relation last said."""
        return [hello for hello, each, _ in self._met.values() if each is relation]

    def candidates(self, node: RaftNode) -> dict[str, Candidate]:
        """Peers that are reached, members or not, as they say of themselves."""
        return {
            h.member_id: Candidate(h.name, h.address, h.release)
            for h in self.of(Relation.PEER)
            if h.member_id in node.connected
        }

    def schemas(self) -> dict[str, int]:
        """The newest command schema of each peer."""
        return {h.member_id: h.schema for h in self.of(Relation.PEER)}

    def addresses(
        self, settings: RaftSettings, own_address: str, node: RaftNode | None, header: Header | None
    ) -> set[str]:
        """Everybody to keep a connection to."""
        addresses = set(settings.peers.values())
        if node is not None:
            others = node.configuration.without(node.member_id, 0).members
            addresses |= {spec.address for spec in others.values()}
        if header is not None:
            addresses |= header.parent_addresses
        if node is not None:  # the leader reaches who wants to join, everybody a member that moved
            peers = self.of(Relation.PEER)
            members = node.configuration.members
            addresses |= {h.address for h in peers if node.leading or h.member_id in members}
        return {a for a in addresses if a and a != own_address}


def _who(hello: Hello) -> _Who:
    return hello.member_id, hello.lineage[-1][1] if hello.lineage else ""
