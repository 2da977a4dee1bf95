"""One member of the cluster, without threads, sockets or a clock of its own.

The order of a turn is the heart of the safety argument (docs/engine.md, "One turn"):

    1 receive frames → guard → core        4 leader: compose one entry, send it, tell callers
    2 log.sync() if dirty                  5 log.sync(): one fdatasync for all of the turn
    3 tick: commit, apply                  6 release what promises: acknowledgements and votes

Free messages (AppendEntries, questions) leave at once; promises only after the sync that covers
them. An exception anywhere releases no promise: the caller stops the node.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from ..clock import Clock
from ..errors import HeroctlError, NotApplied, ReadOnly
from ..state.commands import SCHEMA
from ..state.machine import StateMachine
from ..state.outcome import Outcome
from . import following, guard, inbound, roster
from .changes import Changes
from .compaction import Compaction
from .compatibility import refusal_of
from .core_side import CoreSide
from .divergence import Divergence
from .elections import Elections
from .engine import LEADER, RaftCore
from .entry_time import StateTime
from .freshness import Freshness
from .install import Dumps, Receiver, Sender
from .leader_orders import Orders
from .leadership import Leadership
from .log import Log
from .membership import Candidate, Configuration, ConfigurationLog
from .port import Member
from .proposals import Proposals
from .reads import Reads
from .replication import Replication
from .reply import AnyReply

# The usual hint of a lost quorum, a forced bootstrap, would make things worse.
SUSPENDED: Final = (
    "nothing has to be forced: heroctl status says what to do. A contested node serves again when "
    "the nodes that it names are stopped and it is started first"
)
KEPT_ENTRIES: Final = 2_000  # behind a dump, for followers that lag a little


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; every other time follows from the election timeout."""

    election_timeout_s: float = 1.0

    @property
    def heartbeat_s(self) -> float:
        return self.election_timeout_s / 10


class RaftNode:
    """The engine of one member in one generation.

    `send(member_id, frame)` queues a frame for a member, `flush()` lets the queued ones go.
    """

    def __init__(
        self,
        member_id: str,
        *,
        log: Log,
        dumps: Dumps,
        machine: StateMachine,
        configuration: Configuration,
        clock: Clock,
        rng: random.Random,
        timing: Timing,
        send: Callable[[str, list[object]], None],
        flush: Callable[[], None],
        wake: Callable[[], None],
        kept_entries: int = KEPT_ENTRIES,
    ) -> None:
        """`machine` and `configuration` are those of the log's current dump, or of the start."""
        self.member_id = member_id
        self.machine = machine
        self.log = log
        self.clock = clock
        self.timing = timing
        self.flush = flush
        self.send = send
        self.promises: list[tuple[str, list[object]]] = []
        self.connected: set[str] = set()
        self.candidates: dict[str, Candidate] = {}  # who is reached, members too
        self.schemas = {member_id: SCHEMA}  # of each member that was met, itself included
        self.heard: dict[str, float] = {}  # last frame of each member
        self.may_vote = False  # until the start-up questions are answered
        self.lost_below = 0  # this node once acknowledged and may lack committed entries up to here
        self.suspended: str | None = None  # why this node takes no part any more
        self.proposals = Proposals(clock, wake)
        self.reads = Reads(clock, wake, number=rng.getrandbits(62))
        self.freshness = Freshness()
        self.state_time = StateTime()
        self.orders = Orders(self, wake, number=rng.getrandbits(62))
        self.elections = Elections(clock, rng, timing.election_timeout_s)
        applied = log.dump.index if log.dump else log.entries[0][1]
        self.core = RaftCore(member_id, log, CoreSide(self), applied_index=applied)
        self.replication = Replication(self.core, log, send)
        self.sender = Sender(dumps, clock, send)
        self.receiver = Receiver(dumps)
        self.leadership = Leadership(self)
        self.changes = Changes(self)
        self.divergence = Divergence(self)
        self.compaction = Compaction(self, dumps, kept_entries)
        self.configurations = ConfigurationLog(applied, configuration)
        for data, index, _ in log.entries:
            if index > applied and data[0] == guard.MEMBERSHIP:
                self.configurations.appended(index, data[1:])
        self.members_changed()
        self.votes: tuple[int, set[str]] = (0, set())
        self.answering_seq = 0
        self._heartbeat_due_s = 0.0
        self.leader_changes = 0
        self._known_leader: tuple[str, int] | None = None  # and its term

    # -- what the outside asks

    @property
    def configuration(self) -> Configuration:
        """The newest one in the log, committed or not."""
        return self.configurations.newest

    @property
    def removed(self) -> Mapping[str, int]:
        """Former members and the index of the committed entry that removed each."""
        return self.configurations.at(self.core.commit_index).removed

    @property
    def leading(self) -> bool:
        return self.core.state == LEADER

    @property
    def leader_id(self) -> str | None:
        """Who leads as far as this node knows and hears."""
        if self.leading:
            return self.member_id
        leader = self.core.leader_id
        return leader if leader and self.elections.hears_leader() else None

    def has_quorum(self) -> bool:
        """Whether a majority of voters was heard within one election timeout, seen from here."""
        if not self.leading and self.elections.silent_s() < self.timing.election_timeout_s:
            return True
        now, within = self.clock.monotonic_s(), self.timing.election_timeout_s
        if self.leading:
            heard = self.replication.recently(now, within)
        else:
            heard = {m for m, at in self.heard.items() if now - at < within and m in self.connected}
        return self.configuration.is_quorum(heard | {self.member_id})

    @property
    def warnings(self) -> list[str]:
        """What an operator has to know."""
        problem, split = self.compaction.dumps.write_error, self.divergence.warning
        found = [f"the log cannot be compacted: {problem}"] if problem else []
        return [*found, split] if split else found

    def members(self) -> tuple[Member, ...]:
        """The members of the newest configuration, as this node sees them."""
        return roster.members(self)

    def propose(self, command: bytes, request_id: bytes) -> Future[Outcome]:
        """Any thread. See Replicator.propose."""
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()  # nobody can cancel what may be in a log
        return self.submit(command, request_id, future)

    def submit(self, command: bytes, request_id: bytes, reply: AnyReply) -> AnyReply:
        """Any thread. As `propose`; the outcome goes to `reply`."""
        if (refusal := self.refuses(command)) is not None:
            raise refusal
        return self.proposals.submit(command, request_id, reply)

    def time_ms(self) -> int:
        """Any thread. See Replicator.time_ms."""
        now = self.clock.monotonic_s()
        if now - self.freshness.shown_s < self.timing.election_timeout_s:
            known_ms = self.state_time.now_ms(self.core.term, now)
            if known_ms is not None:
                return known_ms
        return max(self.clock.time_ms(), self.machine.time_ms)

    def refuses(self, command: bytes) -> NotApplied | None:
        """Why a command must not enter the log: a voter does not know it."""
        return refusal_of(command, self.configuration, self.schemas)

    def begin_dump(self) -> None:
        """Starts a dump of the machine as it is; the log is cut when it is durable."""
        self.compaction.begin_dump()

    def start_voting(self) -> None:
        """The start-up questions are answered: this node takes part in elections from now on."""
        self.may_vote = True
        self.elections.start(alone=self.is_only_voter())

    @property
    def takes_part(self) -> bool:
        """Whether this node votes and campaigns: not before it has again what it acknowledged in a
        former life, if its disk lost that (row 9)."""
        return self.may_vote and self.log.entries[-1][1] >= self.lost_below

    def suspend(self, reason: str) -> None:
        """Takes no part in this generation any more: no votes, acknowledgements, elections."""
        self.suspended = reason
        self.may_vote = False
        if self.leading:
            self.lose_leadership(reason)
        self.proposals.fail_sent(reason)
        self.promises.clear()

    def set_connected(self, member_id: str, *, connected: bool) -> None:
        """The way to a member opened or closed."""
        if connected:
            self.connected.add(member_id)
            if self.leading:
                self.replication.reconnected(member_id)
            elif member_id == self.core.leader_id:
                self._ask_again()  # what was under way on the old connection may be lost
            if held := self.replication.held.get(member_id):
                self.send(member_id, ["held", self.core.term, held])
        else:
            self.connected.discard(member_id)
            if follower := self.replication.followers.get(member_id):
                follower.disconnected()
        self.core.set_connected(member_id, connected=connected)

    def peer_closed(self, member_id: str) -> None:
        """A member closed its connection to us: if it led, it is probably gone."""
        if member_id == self.core.leader_id and not self.leading:
            self.elections.lost_leader()

    def stop(self, error: Callable[[], HeroctlError]) -> None:
        """Ends every waiting call; nothing is released any more."""
        self.promises.clear()
        self.sender.stop()
        self.proposals.end(error)
        self.reads.end(error)
        self.orders.end(error)

    def close(self) -> None:
        """Closes log and dumps; after `stop`."""
        self.log.close()
        self.compaction.dumps.close()

    def receive(self, sender: str, frame: list[Any]) -> str | None:
        """Takes one frame of an accepted peer; a reason to cut the peer off, or None."""
        if self.suspended is not None:
            return None
        self.heard[sender] = self.clock.monotonic_s()
        return inbound.receive(self, sender, frame)

    def answer(self, member_id: str, next_index: int, *, success: bool) -> None:
        """A promise: it leaves after the sync that covers it, with the term it was made in."""
        frame: list[object] = ["next", self.core.term, self.answering_seq, next_index, success]
        self.promises.append((member_id, frame))

    # -- one turn

    def turn(self) -> float:
        """Does what is due; the seconds until the next turn is needed without new frames."""
        if self.suspended is not None:
            return self._turn_suspended()
        self._sync_and_release()
        if self.leading:
            assert self.log.synced_index == self.log.entries[-1][1], "the leader counts unsynced"
        self.proposals.drain()
        self.reads.drain()
        if self.leading:
            self.leadership.check_quorum()
        else:
            following.run_elections(self)
        self.core.tick()
        self._after_tick()
        self.flush()
        self.proposals.tell()
        self._sync_and_release()
        return self._next_turn_s()

    def _turn_suspended(self) -> float:
        why = f"this node takes no part: {self.suspended}"
        self.proposals.fail_unsent(lambda: ReadOnly(why, hint=SUSPENDED))
        self.reads.end(lambda: ReadOnly(why, hint=SUSPENDED))
        self.orders.end(lambda: ReadOnly(why, hint=SUSPENDED))
        return self.timing.heartbeat_s

    def _sync_and_release(self) -> None:
        if self.log.dirty:
            self.log.sync()
        if self.promises:
            for member_id, frame in self.promises:
                self.send(member_id, frame)
            self.promises.clear()
            self.flush()  # at once: a leader waits for them

    def _next_turn_s(self) -> float:
        now = self.clock.monotonic_s()
        if self.core.applied_index < self.core.commit_index:
            return 0.0
        if self.leading:
            if self.log.entries[-1][1] > self.core.commit_index and self.is_only_voter():
                return 0.0
            due_s = min(self.leadership.notice_due_s(), self._heartbeat_due_s) - now
            return max(0.0, min(due_s, self.leadership.next_entry_s(now)))
        return max(0.0, min(self.elections.deadline_s, self._heartbeat_due_s) - now)

    def _after_tick(self) -> None:
        """Heartbeats, quorum check, reads, membership, dumps: what is due by time."""
        now = self.clock.monotonic_s()
        due = now >= self._heartbeat_due_s
        self._note_leader()
        self.orders.work()
        if self.leading:
            self.leadership.lead(now, due=due)
        else:
            following.follow(self, due=due)
        self.compaction.poll()
        if due:
            self._heartbeat_due_s = now + self.timing.heartbeat_s
            self.proposals.expire()
            self.reads.expire()
            self.orders.expire()
            self.divergence.work()
            if not self.has_quorum():
                following.refuse_without_quorum(self)

    # -- leading

    def started_leading(self) -> None:
        """The core just became leader; its no-op is durable, nothing is sent yet."""
        now = self.clock.monotonic_s()
        members = [m for m in self.configuration.members if m != self.member_id]
        self.replication.begin(members, now)
        self._heartbeat_due_s = now
        self.leadership.begin()

    def lose_leadership(self, why: str) -> None:
        """Without a majority: nobody knows what becomes of what waits, so it ends."""
        self.core.stop_leading()
        self.stopped_leading()
        self.proposals.fail_sent(why)

    def stopped_leading(self) -> None:
        """What waits is for the next leader."""
        self.elections.postpone()
        self.changes.forget()
        self._ask_again()
        self.sender.stop()

    def _ask_again(self) -> None:
        """What waits goes to the leader once more: a request id is applied once, reads and orders
        may be repeated."""
        self.proposals.resend()
        self.reads.lost_leader()

    def members_changed(self) -> None:
        """The newest configuration is another one."""
        voters = self.configuration.voters
        members = set(self.configuration.members)
        self.core.set_members(voters, members - voters)
        members.discard(self.member_id)
        self.replication.set_members(sorted(members), self.clock.monotonic_s())

    def is_only_voter(self) -> bool:
        return self.configuration.voters == {self.member_id}

    def _note_leader(self) -> None:
        """A leader of another term knows nothing of what was sent to the one before."""
        leader = self.core.leader_id
        led = (leader, self.core.term) if leader is not None else None
        if led != self._known_leader:
            if self._known_leader is not None:
                self.leader_changes += 1
                self._ask_again()
            self._known_leader = led
            if leader == self.member_id:
                self.leadership.forget_told()
