"""Where one node stands among the others: it founds, joins, asks before it votes, stands aside,
leaves, or is contested. raft/presence.py decides; this acts, on the data folder and on the node.

Used by the engine's thread only. Rules 1 to 5 and 8 of docs/recovery.md.
"""

from __future__ import annotations

import logging
import math
import os
from typing import Protocol

from ..errors import WrongKey
from . import presence
from .folder import DataFolder
from .handshake import Hello, Judgement, Relation
from .header import header_from
from .membership import EMPTY
from .neighbours import Neighbours, RaftSettings
from .node import RaftNode
from .presence import Do

log = logging.getLogger("heroctl.raft")


class Host(Protocol):
    """The runtime, as far as a change of generation needs it."""

    @property
    def node(self) -> RaftNode | None: ...
    def close_generation(self) -> None: ...
    def reopen(self) -> None: ...
    def hang_up(self) -> None: ...


class Standing:
    """One node among the others, over all its generations."""

    def __init__(
        self, host: Host, folder: DataFolder, settings: RaftSettings, address: str
    ) -> None:
        """`address` is where other members reach this node."""
        self._host = host
        self._folder = folder
        self._settings = settings
        self._address = address
        self._nonce = os.urandom(8).hex()
        self._started_s = 0.0
        self._quorum_s = -math.inf
        self._was_contested = False
        self.neighbours = Neighbours()
        self.contested: str | None = None  # by whom, since this start

    def begin(self, now_s: float) -> None:
        """A generation was opened: everybody we know of is asked before we vote."""
        self.contested = None
        self._was_contested = self._folder.mark("contested") is not None
        self._started_s = now_s
        self._quorum_s = -math.inf
        self.neighbours.ask(self.addresses())

    def look(self, now_s: float) -> None:
        """Notes what changed, and does what follows from who is there."""
        self.note(now_s)
        if self.contested is not None:
            return  # until somebody starts this node again
        step = presence.decide(self._situation(now_s))
        if step.do is not Do.WAIT:
            self._do(step)

    def note(self, now_s: float) -> None:
        """Notes what changed, and does nothing about it."""
        node = self._host.node
        if node is None:
            return
        if node.may_vote and node.has_quorum():
            self._quorum_s = now_s
        node.candidates = self.neighbours.candidates(node)
        self.neighbours.forget_old(now_s, node.connected)

    def met(self, address: str | None, theirs: Hello, judgement: Judgement, now_s: float) -> bool:
        """Takes what another node said of itself; whether it should be looked at at once."""
        urgent = self.neighbours.met(address, theirs, judgement, now_s)
        if judgement.relation is not Relation.REFUSED and theirs.left:
            self._folder.note_left(theirs.left)
        return urgent

    def addresses(self) -> set[str]:
        """Everybody to keep a connection to."""
        return self.neighbours.addresses(
            self._settings, self._address, self._host.node, self._folder.header
        )

    @property
    def confirmed(self) -> bool:
        """Whether the parent of a restored generation can never commit again, by counting."""
        header = self._folder.header
        if header is None or not header.parent_voters:
            return True
        gone = self._folder.parent_voters_left() & header.parent_voters
        return len(gone) > len(header.parent_voters) // 2

    def hello(self) -> Hello:
        """What this node says of itself now."""
        folder, node, settings = self._folder, self._host.node, self._settings
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
            expect=settings.expect,
            has_quorum=node is not None and node.may_vote and node.has_quorum(),
            suspended=node is not None and node.suspended is not None,
            left=folder.left_marks(),
            header=header.to_value() if header else {},
        )

    def found(self, others: list[Hello]) -> None:
        """Makes generation 1 of a new cluster of this node and the others."""
        members = {h.member_id: (h.name, h.address) for h in [self.hello(), *others]}
        self._folder.found(self._settings.cluster_name, members)
        log.info("founded cluster %s with %d members", self._settings.cluster_name, len(members))

    def _situation(self, now_s: float) -> presence.Situation:
        node, header = self._host.node, self._folder.header
        return presence.Situation(
            mine=self.hello(),
            met=self.neighbours.seen(now_s),
            open_questions=self.neighbours.questions_open,
            since_start_s=now_s - self._started_s,
            voting=node is not None and node.may_vote,
            suspended=node is not None and node.suspended is not None,
            since_quorum_s=now_s - self._quorum_s,
            configuration=node.configuration if node else EMPTY,
            parent_voters=header.parent_voters if header else frozenset(),
            confirmed=self.confirmed,
            contested=self._was_contested,
        )

    # -- one function for each step

    def _do(self, step: presence.Step) -> None:
        node, of = self._host.node, step.of
        if step.do is Do.FOUND:
            self.found(self.neighbours.of(Relation.BOTH_EMPTY))
            self._host.reopen()
        elif step.do is Do.ADOPT and of is not None:
            self._folder.adopt(of.header)
            log.info("joining cluster %s through %s", of.cluster_name, of.name)
            self._host.reopen()
        elif step.do is Do.WRONG_KEY and of is not None:
            self._refuse_key(of)
        elif step.do is Do.VOTE and node is not None:
            self._vote(node)
        elif step.do is Do.SUSPEND and node is not None and of is not None:
            self._suspend(node, of)
        elif step.do is Do.LEAVE and node is not None and of is not None:
            self._leave(node, of)
        elif step.do is Do.CONTEST and node is not None and of is not None:
            self._contest(node, of)

    def _refuse_key(self, of: Hello) -> None:
        raise WrongKey(
            f"cluster {of.cluster_name} uses the secrets key {of.key_id}, "
            f"this node has {self._settings.key_id}",
            hint="give this node the cluster's key file (secrets.key_file)",
        )

    def _vote(self, node: RaftNode) -> None:
        if self._was_contested:
            self._folder.clear_mark("contested")
            self._was_contested = False
        node.start_voting()

    def _suspend(self, node: RaftNode, of: Hello) -> None:
        number = of.lineage[-1][0]
        log.warning("node %s serves generation %d: this node stands aside", of.name, number)
        node.suspend(f"node {of.name} serves the newer generation {number}")
        self.neighbours.forget()
        self._host.hang_up()  # the others hear of it with the next hello

    def _contest(self, node: RaftNode, of: Hello) -> None:
        reason = f"node {of.name} still serves the generation before the restore, with a quorum"
        self._folder.set_mark("contested", {"reason": reason})
        log.critical("%s: stop it, then start this node first", reason)
        self.contested = reason
        node.suspend(reason)

    def _leave(self, node: RaftNode, of: Hello) -> None:
        """Rule 4: mark, close, one rename, a new member id; then the folder is empty and joins."""
        header = self._folder.header
        assert header is not None
        lost = node.log.entries[-1][1] - header_from(of.header).known_index
        number, restore_id = of.lineage[-1]
        self._folder.set_mark(
            "left", {"generation": number, "restore_id": restore_id, "member_id": node.member_id}
        )
        self._host.close_generation()
        path = self._folder.quarantine_generation()
        log.warning(
            "left generation %d for %d; %d log entries unknown to the restored node are in %s",
            header.generation,
            number,
            max(0, lost),
            path,
        )
        self._host.reopen()
