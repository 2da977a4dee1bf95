"""Where one node stands among the others: it founds, joins, asks before it votes, stands aside,
leaves, or is contested. raft/presence.py decides; this acts, on the data folder and on the node.

Used by the engine's thread only. The rules are in docs/recovery.md.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import Final, Protocol

from ..errors import WrongKey
from ..version import __version__
from . import fence, fencing_words, presence
from .folder import DataFolder
from .greeting import Greeting
from .handshake import Hello, Judgement, Relation
from .header import header_from
from .left_behind import left_behind
from .membership import EMPTY, Candidate
from .neighbours import Neighbours, RaftSettings
from .node import RaftNode
from .presence import Do

Decide = Callable[[presence.Situation], presence.Step]

_MOMENTARY: Final = 5  # election timeouts in which a cluster finds another leader

log = logging.getLogger("heroctl.raft")


class Host(Protocol):
    """The runtime, as far as a change of generation needs it."""

    @property
    def node(self) -> RaftNode | None: ...
    def close_generation(self) -> None: ...
    def reopen(self) -> None: ...
    def hang_up(self) -> None: ...
    def drop(self, member_id: str) -> None: ...


class Standing:
    """One node among the others, over all its generations."""

    def __init__(
        self,
        host: Host,
        folder: DataFolder,
        settings: RaftSettings,
        address: str,
        decide: Decide = presence.decide,
    ) -> None:
        """`address` is where other members reach this node. Only the simulator hands in another
        way to decide."""
        self.host = host
        self.folder = folder
        self.settings = settings
        self._address = address
        self._decide = decide
        self._nonce = os.urandom(8).hex()
        self._asked_s = 0.0
        self._quorum_s = -math.inf
        self.was_contested = False
        self.neighbours = Neighbours()
        self.contested: str | None = None  # by whom, since this start
        self._split: str | None = None

    def begin(self, now_s: float) -> None:
        """A generation was opened: everybody we know of is asked before we vote."""
        self.contested = None
        self.was_contested = self.folder.mark("contested") is not None
        self._asked_s = now_s
        self._quorum_s = -math.inf
        self.neighbours.ask(self.addresses())

    def look(self, now_s: float) -> None:
        """Notes what changed, and does what follows from who is there."""
        self.note(now_s)
        situation = self.situation(now_s)
        self._tell_split(presence.split_of(situation))
        step = self._decide(situation)
        if step.do is not Do.WAIT:
            self._do(step, now_s)

    def _tell_split(self, other: Hello | None) -> None:
        """Only people can end it."""
        before, self._split = self._split, None if other is None else fencing_words.split(other)
        if self._split not in (None, before):
            log.critical("%s", self._split)

    def note(self, now_s: float) -> None:
        """Notes what changed, and does nothing about it."""
        node = self.host.node
        if node is None:
            return
        # Before it votes, a node hears others that do not vote either: only a leader counts.
        serves = node.has_quorum() if node.may_vote else node.leader_id is not None
        if serves and node.suspended is None:
            self._quorum_s = now_s
        node.candidates = self.neighbours.candidates(node)
        if self._address:
            own = Candidate(self.settings.node_name, self._address, __version__)
            node.candidates[node.member_id] = own
        if self.folder.mark("join") and node.member_id in node.configuration.members:
            self.folder.clear_mark("join")
        for member_id in node.removed.keys() & node.connected:
            self.host.drop(member_id)  # when it comes back, the handshake tells it
        node.schemas.update(self.neighbours.schemas())
        self.neighbours.forget_old(now_s, node.connected)

    def met(
        self, address: str | None, theirs: Hello, judgement: Judgement, now_s: float
    ) -> Judgement:
        """Takes what another node said of itself; what it is to us."""
        judgement = self.neighbours.met(address, theirs, judgement, now_s)
        if judgement.relation is Relation.REFUSED:
            return judgement
        if theirs.left:
            self.folder.note_left(theirs.left)
        ours = judgement.relation in (Relation.PEER, Relation.ASIDE)
        if ours and theirs.confirmed and not self.confirmed:
            fence.confirm(self.folder, f"node {theirs.name} said so")
        return judgement

    def met_other_key(self, theirs: Greeting) -> None:
        """A node that we asked has another secrets key. WrongKey when it could have let us join:
        with this key we never can. It could not prove anything, but an empty node has nothing to
        lose, and only whom its own configuration names can say so."""
        seen = self.neighbours.of(Relation.HOST)
        if self.folder.header is None and theirs.has_cluster and not seen:
            raise WrongKey(
                f"cluster {theirs.cluster_name} uses the secrets key {theirs.key_id}, "
                f"this node has {self.settings.key_id}",
                hint="give this node the cluster's key file (secrets.key_file)",
            )

    def addresses(self) -> set[str]:
        """Everybody to keep a connection to."""
        known = self.neighbours.addresses(
            self.settings, self._address, self.host.node, self.folder.header
        )
        joining = self.folder.mark("join")
        return known | {str(joining["address"])} if joining else known

    @property
    def founds_alone(self) -> bool:
        """Whether an empty folder makes this node a cluster by itself."""
        return self._expect == 1 and not self.settings.peers

    @property
    def _expect(self) -> int:
        return 0 if self.folder.mark("join") else self.settings.expect

    @property
    def confirmed(self) -> bool:
        """Whether nothing older can commit any more. Whom nobody can reach contests nothing."""
        return self.settings.listen is None or fence.is_confirmed(self.folder)

    @property
    def has_decided(self) -> bool:
        """Whether the others were asked, and this node takes part or knows why not."""
        node = self.host.node
        return node is not None and (node.may_vote or node.suspended is not None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator has to know, and what to do about it."""
        own, header = [self._split] if self._split else [], self.folder.header
        if self.contested is not None:
            own.append(f"CONTESTED: {self.contested}")
        elif self.was_contested:
            own.append(fencing_words.was_contested(self.neighbours.silent))
        elif header is not None and not self.confirmed:
            own.append(fencing_words.unconfirmed(header, self.folder.parent_voters_left()))
        if left := fence.promise(self.folder):
            own.append(fencing_words.waits(left))
        return (*own, *self.neighbours.warnings)

    def hello(self) -> Hello:
        """What this node says of itself now."""
        folder, node, settings = self.folder, self.host.node, self.settings
        header = folder.header
        return Hello(
            cluster_name=settings.cluster_name,
            cluster_id=header.cluster_id if header else "",
            lineage=tuple((g.number, g.restore_id) for g in header.lineage) if header else (),
            member_id=folder.member_id,
            boot_nonce=self._nonce,
            name=settings.node_name,
            address=self._address,
            key_id=settings.key_id,
            expect=self._expect,
            has_quorum=node is not None and _is_in_quorum(node),
            suspended=node is not None and node.suspended is not None,
            left=folder.left_marks(),
            header=header.to_value() if header else {},
            confirmed=header is not None and self.confirmed,
            contested=self.contested is not None,
            removed=tuple(node.removed.items()) if node else (),
        )

    def found(self, others: list[Hello]) -> None:
        """Makes generation 1 of a new cluster of this node and the others."""
        members = {h.member_id: (h.name, h.address) for h in [self.hello(), *others]}
        self.folder.found(self.settings.cluster_name, members)
        log.info("founded cluster %s with %d members", self.settings.cluster_name, len(members))

    def situation(self, now_s: float) -> presence.Situation:
        """Everything that is known."""
        node, header = self.host.node, self.folder.header
        return presence.Situation(
            mine=self.hello(),
            met=self.neighbours.seen(now_s),
            open_questions=self.neighbours.questions_open,
            since_asked_s=now_s - self._asked_s,
            voting=node is not None and node.may_vote,
            suspended=node is not None and node.suspended is not None,
            since_quorum_s=now_s - self._quorum_s,
            configuration=node.configuration if node else EMPTY,
            momentary_s=_MOMENTARY * self.settings.election_timeout_s,
            parent_voters=header.parent_voters if header else frozenset(),
            confirmed=self.confirmed,
            was_contested=self.was_contested,
            left=fence.promise(self.folder),
        )

    # -- one function for each step

    def _do(self, step: presence.Step, now_s: float) -> None:
        node, of = self.host.node, step.of
        if step.do is Do.FOUND:
            empty = [m for m in self.neighbours.seen(now_s) if m.relation is Relation.BOTH_EMPTY]
            self.found([m.hello for m in empty if m.age_s <= presence.FRESH_S])
            self.host.reopen()
        elif step.do is Do.ADOPT and of is not None:
            self.folder.adopt(of.header)
            log.info("joining cluster %s through %s", of.cluster_name, of.name)
            self.host.reopen()
        elif step.do is Do.VOTE and node is not None:
            self._vote(node)
        elif step.do is Do.SUSPEND and node is not None and of is not None:
            self._suspend(node, of, now_s)
        elif step.do is Do.TAKE_PART:
            log.warning("nothing newer is there any more: this node takes part again")
            self.host.reopen()
            self._quorum_s = now_s  # a moment for hearing its leader
        elif step.do is Do.LEAVE and node is not None and of is not None:
            self.leave(node, of)
        elif step.do is Do.CONTEST and node is not None and of is not None:
            self._contest(node, of)
        elif step.do is Do.REMOVED and of is not None:
            self.folder.set_mark("removed", {"index": dict(of.removed)[self.folder.member_id]})
            self.folder.refuse_removed()

    def _vote(self, node: RaftNode) -> None:
        if self.was_contested:
            self.folder.clear_mark("contested")
            self.was_contested = False
        node.start_voting()

    def _suspend(self, node: RaftNode, of: Hello, now_s: float) -> None:
        reason = (
            f"node {of.name} of this generation is contested"
            if of.contested
            else f"node {of.name} serves the newer generation {of.lineage[-1][0]}"
        )
        log.warning("%s: this node stands aside", reason)
        node.suspend(reason)
        self._asked_s = now_s
        self.neighbours.ask_ours(self.addresses())
        self.host.hang_up()  # the others hear of it with the next hello

    def _contest(self, node: RaftNode, of: Hello) -> None:
        header = self.folder.header
        assert header is not None
        self.contested = fencing_words.why_contested(header, self.settings.node_name, of)
        self.folder.set_mark("contested", {"reason": self.contested})
        log.critical("CONTESTED: %s", self.contested)
        node.suspend(self.contested)
        self.host.hang_up()

    def leave(self, node: RaftNode, of: Hello, *, yielded: bool = False) -> str:
        """Rule 4: mark, close, one rename, a new member id; then the folder is empty and joins.
        What was put away where."""
        header = self.folder.header
        assert header is not None
        known = 0 if yielded else header_from(of.header).known_index
        words = left_behind(node.log.entries, known)
        number, restore_id = of.lineage[-1]
        self.folder.set_mark(
            "left",
            {
                "generation": number,
                "restore_id": restore_id,
                "member_id": node.member_id,
                "yielded": yielded,
            },
        )
        self.host.close_generation()
        path = self.folder.quarantine_generation()
        text = (
            f"left generation {header.generation} for {number} of node {of.name}; what that one "
            f"does not know is in {path}: {words or 'nothing that was in the log'}"
        )
        log.warning("%s", text)
        self.host.reopen()
        return text


def _is_in_quorum(node: RaftNode) -> bool:
    """Whether this node is one of a majority. Who only asks to join knows an old configuration, and
    hears a majority of that where there is none any more."""
    is_voter = node.member_id in node.configuration.voters
    return is_voter and node.may_vote and node.has_quorum()
