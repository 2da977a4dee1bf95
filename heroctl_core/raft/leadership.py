"""What a node does only while it leads: entries from proposals, who hears what, who belongs.

The part of raft/node.py that a follower never runs. pysyncobj decides who leads and what is
committed; this module decides what is appended and sent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from .. import codec, limits
from .entry_time import EntryTime
from .grouping import Grouping, Hold
from .membership import Configuration, next_change
from .proposals import ENTRY_COMMANDS, ENTRY_OVERHEAD

if TYPE_CHECKING:
    from .node import RaftNode

COMMIT_NOTICE_S: Final = 0.002  # how long a commit index may wait for an entry that carries it
UNCOMMITTED_ENTRIES: Final = 256  # more than this many in flight: new proposals wait


class Leadership:
    """The leader's duties of one node. Only the engine's thread."""

    def __init__(self, node: RaftNode) -> None:
        self._node = node
        self._led_term = 0
        self._commit_told = self._commit_seen = self._last_sent = 0
        self._commit_due_s = 0.0
        self._forwarded_index = 0  # the newest entry with a command of a follower's caller
        self._time = EntryTime()
        self._grouping = Grouping(ENTRY_COMMANDS)

    def begin(self) -> None:
        """The node just became leader."""
        self._led_term = self._node.core.term
        self._time = EntryTime()
        self._grouping = Grouping(ENTRY_COMMANDS)
        self._node.divergence.begin()

    def forget_told(self) -> None:
        """Nobody has heard a commit index from this leader yet."""
        self._commit_told = self._commit_seen = 0

    def has_room(self) -> bool:
        """Whether another entry of commands may be in flight."""
        in_flight = self._node.log.entries[-1][1] - self._node.core.commit_index
        return in_flight < UNCOMMITTED_ENTRIES and self.may_append()

    def notice_due_s(self) -> float:
        """When followers must hear the commit index at the latest; infinity when they have."""
        return self._commit_due_s if self._commit_told < self._commit_seen else math.inf

    def check_quorum(self) -> None:
        """Steps down when no majority of voters has answered for an election timeout: before
        anything new is appended, so that a write is refused and not of unknown outcome."""
        if not self._node.has_quorum():
            self._node.lose_leadership("this node led, but heard no majority of voters any more")

    def compose(self) -> None:
        """One entry from all proposals that wait (engine.md, step 4), unless more come soon."""
        node, now = self._node, self._node.clock.monotonic_s()
        if callers := node.proposals.untold:
            self._grouping.answered(now, callers, node.proposals.unsent)
        if not self.has_room() or self._hold(now) is not None:
            return
        commands = node.proposals.take(limits.ENTRY_BYTES - ENTRY_OVERHEAD)
        self._grouping.left()
        if commands:
            time_ms = self._time.next_ms(node.clock.time_ms(), now, node.machine.time_ms)
            index = node.core.append(b"\x00" + codec.pack([time_ms, commands]))
            if node.proposals.took_forwarded:
                self._forwarded_index = index

    def _hold(self, now: float) -> Hold | None:
        node = self._node
        if node.is_only_voter() or node.proposals.fill_entry():
            return None  # nobody is asked, or nothing would be gained
        under_way = node.log.entries[-1][1] > node.core.commit_index
        return self._grouping.hold(now, node.proposals.unsent, under_way=under_way)

    def next_entry_s(self, now: float) -> float:
        """Seconds until the next entry may have to be composed; infinity while nobody is awaited.
        Arranges that what is submitted until then wakes the engine when it is enough."""
        proposals = self._node.proposals
        if not self.has_room():
            return math.inf
        if (hold := self._hold(now)) is not None:
            return hold.until_s - now if proposals.let_gather(hold.enough) else 0.0
        return 0.0 if proposals.unsent else math.inf

    def lead(self, now: float, *, due: bool) -> None:
        """One turn of a leader; `due` when it is time for heartbeats."""
        node = self._node
        reading = False
        if self.knows_commits():
            reading = node.reads.register(node.core.commit_index, node.replication.seq)
        tell = due or reading or self._tells_commit(now)
        node.replication.send_all(node.connected, heartbeat=tell)
        node.flush()  # at once: the followers sync while this node does the rest
        if node.reads.awaits_quorum:
            self._confirm_reads()
        node.changes.work(now)
        wanted = node.replication.needs_snapshot & node.connected
        node.sender.work(wanted, node.log.dump, node.core.term)
        if due:
            node.replication.note_held()
            if self.shows_commits():
                node.freshness.led(now)
            self._change_membership()
            if self.may_append():
                node.divergence.lead(now)

    def _tells_commit(self, now: float) -> bool:
        """Whether followers shall hear the commit index in a message of its own: they apply, and
        answer their waiting calls, only then. The next entry carries it too, so without anybody
        who waits there it may take a moment."""
        node = self._node
        commit, last = node.core.commit_index, node.log.entries[-1][1]
        carried, self._last_sent = last > self._last_sent, last
        if commit == self._commit_told:
            return False
        if self._commit_seen < commit:
            self._commit_seen, self._commit_due_s = commit, now + COMMIT_NOTICE_S
        waits = self._commit_told < self._forwarded_index
        if not (waits or carried or now >= self._commit_due_s):
            return False
        self._commit_told = commit
        return True

    def _confirm_reads(self) -> None:
        node = self._node

        def answer(member_id: str, number: int, index: int) -> None:
            node.send(member_id, ["readok", number, index])

        node.reads.confirm(node.replication.quorum_seq(node.configuration, node.member_id), answer)
        node.reads.applied(node.core.applied_index)

    def _change_membership(self) -> None:
        node = self._node
        if not self.may_append() or node.configurations.newest_index > node.core.commit_index:
            return  # one change at a time (row 1)
        now = node.clock.monotonic_s()
        alive = node.replication.recently(now, node.timing.election_timeout_s) | {node.member_id}
        change = next_change(
            node.configuration,
            node.candidates,
            node.replication.caught_up(),
            frozenset(alive & (node.connected | {node.member_id})),
            node.log.entries[-1][1] + 1,
        )
        if change is not None:
            self.append_configuration(change)

    def append_configuration(self, configuration: Configuration) -> None:
        """The next configuration; it counts from now on, committed or not."""
        self._node.core.append(b"\x02" + configuration.encode())

    def may_append(self) -> bool:
        """Whether anything new may enter the log: not while another voter is to take over."""
        return self.knows_commits() and self._node.changes.transfer is None

    def shows_commits(self) -> bool:
        """Whether the machine here has all that is committed: after a start that takes a while."""
        return (
            self.knows_commits() and self._node.core.applied_index >= self._node.core.commit_index
        )

    def knows_commits(self) -> bool:
        """Whether the leader's own no-op is committed: before, nobody knows what the entries of
        earlier terms will become."""
        node = self._node
        noop = node.core.noop_index
        return (
            self._led_term == node.core.term
            and noop is not None
            and (node.core.commit_index >= noop)
        )
