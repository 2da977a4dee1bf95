"""One member of the cluster, without threads, sockets or a clock of its own.

The order of a turn is the heart of the safety argument (docs/engine.md, "One turn"):

    1 receive frames → guard → core        4 leader: compose one entry, append, send it at once
    2 log.sync() if dirty                  5 log.sync(): one fdatasync for all of the turn
    3 tick: commit, apply, resolve         6 release what promises: acknowledgements and votes

Free messages (AppendEntries, questions) leave at once; promises only after the sync that covers
them. An exception anywhere releases nothing: the caller stops the node.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from .. import codec, limits
from ..clock import Clock
from ..errors import HeroctlError, NodeFault, ReadOnly
from ..state.commands import request_id_of
from ..state.machine import StateMachine
from ..state.outcome import Outcome, Stamp
from . import guard, inbound
from .elections import Elections
from .engine import LEADER, RaftCore
from .install import Dumps, Loaded, Receiver, Sender
from .log import Log
from .membership import Candidate, Configuration, ConfigurationLog, next_change
from .proposals import ENTRY_OVERHEAD, Proposals
from .reads import Reads
from .replication import Replication

APPLY_SLICE_S: Final = 0.005
COMMIT_NOTICE_S: Final = 0.002  # how long a commit index may wait for an entry that carries it
UNCOMMITTED_ENTRIES: Final = 256  # more than this many in flight: new proposals wait
DUMP_AFTER_BYTES: Final = 64 * limits.MIB
DUMP_AFTER_ENTRIES: Final = 100_000
KEPT_ENTRIES: Final = 2_000  # behind a dump, for followers that lag a little


@dataclass(frozen=True, slots=True)
class Protections:
    """What stands between pysyncobj and the world. Only the simulator hands in weaker ones."""

    guard: bool = True
    sync: bool = True


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
        protections: Protections = Protections(),
        kept_entries: int = KEPT_ENTRIES,
    ) -> None:
        """`machine` and `configuration` are those of the log's current dump, or of the start."""
        self.member_id = member_id
        self.machine = machine
        self.log = log
        self._dumps = dumps
        self.clock = clock
        self.timing = timing
        self._flush = flush
        self.send = send
        self.protections = protections
        self._kept_entries = kept_entries
        self.promises: list[tuple[str, list[object]]] = []
        self.connected: set[str] = set()
        self.candidates: Mapping[str, Candidate] = {}
        self.heard: dict[str, float] = {}  # last frame of each member
        self.may_vote = False  # until the start-up questions are answered
        self.lost_below = 0  # this node once acknowledged and may lack committed entries up to here
        self.suspended: str | None = None  # why this node takes no part any more
        self.proposals = Proposals(clock, wake)
        self.reads = Reads(clock, wake, number=rng.getrandbits(62))
        self.elections = Elections(clock, rng, timing.election_timeout_s)
        applied = log.dump.index if log.dump else log.entries[0][1]
        self.core = RaftCore(member_id, log, self, applied_index=applied)
        self.replication = Replication(self.core, log, send)
        self.sender = Sender(dumps, clock, send)
        self.receiver = Receiver(dumps)
        self._configurations = ConfigurationLog(applied, configuration)
        for data, index, _ in log.entries:
            if index > applied and data[0] == guard.MEMBERSHIP:
                self._configurations.appended(index, data[1:])
        self._members_changed()
        self.votes: tuple[int, set[str]] = (0, set())
        self.answering_seq = 0
        self._led_term = 0
        self._heartbeat_due_s = 0.0
        self._commit_told = self._commit_seen = self._last_sent = 0
        self._commit_due_s = 0.0
        self._forwarded_index = 0  # the newest entry with a command of a follower's caller
        self._answered_tick = False
        self._bytes_since_dump = sum(len(e[0]) for e in log.entries)
        self._stamped: tuple[float, int] | None = None  # (monotonic s, ms) of our last entry
        self.last_quorum_s = -math.inf
        self.leader_changes = 0
        self.failed_installs = 0
        self._known_leader: str | None = None

    # -- what the outside asks

    @property
    def configuration(self) -> Configuration:
        """The newest one in the log, committed or not."""
        return self._configurations.newest

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
    def dump_error(self) -> str | None:
        """Why the log cannot be compacted at the moment, or None."""
        return self._dumps.write_error

    def propose(self, command: bytes, request_id: bytes) -> Future[Outcome]:
        """Any thread. See Replicator.propose."""
        return self.proposals.submit(command, request_id)

    def start_voting(self) -> None:
        """The start-up questions are answered: this node takes part in elections from now on."""
        self.may_vote = True
        self.elections.start(alone=self._is_only_voter())

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
            if held := self.replication.held.get(member_id):
                self.send(member_id, ["held", held])
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

    def close(self) -> None:
        """Closes log and dumps; after `stop`."""
        self.log.close()
        self._dumps.close()

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
        if self.protections.sync and self.leading:
            assert self.log.synced_index == self.log.entries[-1][1], "the leader counts unsynced"
        self.proposals.drain()
        self.reads.drain()
        self._run_elections()
        self.core.tick()
        self._after_tick()
        self._flush()
        self._sync_and_release()
        self._flush()
        return self._next_turn_s()

    def _turn_suspended(self) -> float:
        why = f"this node takes no part: {self.suspended}"
        self.proposals.fail_unsent(lambda: ReadOnly(why))
        self.reads.end(lambda: ReadOnly(why))
        return self.timing.heartbeat_s

    def _sync_and_release(self) -> None:
        if self.log.dirty:
            if self.protections.sync:
                self.log.sync()
            elif self.leading:
                self.log.synced_index = self.log.entries[-1][1]
        for member_id, frame in self.promises:
            self.send(member_id, frame)
        self.promises.clear()

    def _next_turn_s(self) -> float:
        now = self.clock.monotonic_s()
        if self.core.applied_index < self.core.commit_index:
            return 0.0
        if self.leading:
            more = self.log.entries[-1][1] > self.core.commit_index and self._is_only_voter()
            if more or (self.proposals.anything_unsent and self._room_for_entries()):
                return 0.0
            if self._commit_told < self._commit_seen:
                return max(0.0, min(self._commit_due_s, self._heartbeat_due_s) - now)
            return max(0.0, self._heartbeat_due_s - now)
        return max(0.0, min(self.elections.deadline_s, self._heartbeat_due_s) - now)

    def _run_elections(self) -> None:
        if not self.takes_part or self.leading or self.member_id not in self.configuration.voters:
            return
        if not self.elections.due():
            return
        proposed, nonce = self.elections.ask(self.member_id, self.core.term)
        if self.configuration.is_quorum({self.member_id}):
            self.core.campaign()
            return
        last = self.log.entries[-1]
        for member_id in sorted(self.configuration.voters & self.connected):
            self.send(member_id, ["pv", proposed, last[2], last[1], nonce])

    def _after_tick(self) -> None:
        """Heartbeats, quorum check, reads, membership, dumps: what is due by time."""
        now = self.clock.monotonic_s()
        due = now >= self._heartbeat_due_s
        self._note_leader()
        if self.leading:
            self._lead(now, due=due)
        else:
            self._follow(due=due)
        self._poll_dumps()
        if due:
            self._heartbeat_due_s = now + self.timing.heartbeat_s
            self.proposals.expire()
            self.reads.expire()
            if self.has_quorum():
                self.last_quorum_s = now
            else:
                self._refuse_without_quorum()

    def _lead(self, now: float, *, due: bool) -> None:
        reading = False
        if self._noop_committed():
            reading = self.reads.register(self.core.commit_index, self.replication.seq)
        tell = due or reading or self._tells_commit(now)
        self.replication.send_all(self.connected, heartbeat=tell)
        self._confirm_reads()
        wanted = self.replication.needs_snapshot & self.connected
        self.sender.work(wanted, self.log.dump, self.core.term)
        if due:
            self.replication.note_held()
            alive = self.replication.recently(now, self.timing.election_timeout_s)
            if not self.configuration.is_quorum(alive | {self.member_id}):
                self.lose_leadership("this node led, but heard no majority of voters any more")
                return
            self._change_membership()

    def _tells_commit(self, now: float) -> bool:
        """Whether followers shall hear the commit index in a message of its own: they apply, and
        answer their waiting calls, only then. The next entry carries it too, so without anybody
        who waits there it may take a moment."""
        commit, last = self.core.commit_index, self.log.entries[-1][1]
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

    def _follow(self, *, due: bool) -> None:
        leader = self.leader_id
        if leader is not None and leader in self.connected:
            while commands := self.proposals.take(limits.ENTRY_BYTES - ENTRY_OVERHEAD):
                self.send(leader, ["prop", commands])
            if (number := self.reads.ask()) is not None:
                self.send(leader, ["read", number])
        if due and (leader is None or self.elections.silent_s() > 3 * self.timing.heartbeat_s):
            # Without these nobody would know in time that there still is a majority.
            for member_id in sorted(self.configuration.members.keys() & self.connected):
                self.send(member_id, ["ping"])

    def _refuse_without_quorum(self) -> None:
        why = "no majority of voters is reachable"
        self.proposals.fail_unsent(lambda: ReadOnly(f"the cluster is read-only: {why}"))
        self.reads.fail(lambda: ReadOnly(f"no linearizable read: {why}"))

    # -- what the core calls

    def core_sends(self, member_id: str, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "request_vote":
            frame = ["rv", message["term"], message["last_log_term"], message["last_log_index"]]
            self.send(member_id, frame)
        elif kind == "response_vote":
            self.elections.postpone()
            self.promises.append((member_id, ["vote", message["term"]]))
        elif kind == "next_node_idx":
            self.answer(member_id, message["next_node_idx"], success=message["success"])
        else:
            raise NodeFault(f"the core sent {kind!r}, which this engine does not know")

    def core_applies(self) -> bool:
        core, log, machine = self.core, self.log, self.machine
        first = log.entries[0][1]
        until = self.clock.monotonic_s() + APPLY_SLICE_S
        waiting = self.proposals.anything_waiting
        index = core.applied_index
        while index < core.commit_index:
            index += 1
            data = log.entries[index - first][0]
            if data[0] == guard.REGULAR:
                time_ms, commands = codec.unpack(memoryview(data)[1:])
                stamp = Stamp(index, time_ms)
                for command in commands:
                    outcome = machine.apply(command, stamp)
                    if waiting:
                        self.proposals.resolve(request_id_of(command), outcome)
            core.applied_index = index
            if self.clock.monotonic_s() > until:
                break
        self.reads.applied(core.applied_index)
        return False

    def core_composes(self) -> None:
        """One entry from all proposals that wait (engine.md, step 4)."""
        if not self.leading or not self._noop_committed() or not self._room_for_entries():
            return
        commands = self.proposals.take(limits.ENTRY_BYTES - ENTRY_OVERHEAD)
        if commands:
            time_ms = self._entry_time_ms()
            self._stamped = (self.clock.monotonic_s(), time_ms)
            index = self.core.append(b"\x00" + codec.pack([time_ms, commands]))
            if self.proposals.took_forwarded:
                self._forwarded_index = index

    def core_replicates(self) -> None:
        """Entries leave in `_lead`, once a turn."""

    def core_leads(self) -> None:
        # One voter alone commits in the same tick: the no-op must be durable before (row 8).
        self.log.sync()
        self._led_term = self.core.term
        now = self.clock.monotonic_s()
        members = [m for m in self.configuration.members if m != self.member_id]
        self.replication.begin(members, now)
        self._heartbeat_due_s = now
        self._stamped = None

    def log_changed(self, index: int, *, truncated: bool, data: bytes | None) -> None:
        if truncated:
            if self._configurations.truncated(index):
                self._members_changed()
            return
        assert data is not None
        self._bytes_since_dump += len(data)
        if data[0] == guard.MEMBERSHIP:
            self._configurations.appended(index, data[1:])
            self._members_changed()

    # -- leading

    def _noop_committed(self) -> bool:
        noop = self.core.noop_index
        return (
            self._led_term == self.core.term
            and noop is not None
            and (self.core.commit_index >= noop)
        )

    def _room_for_entries(self) -> bool:
        return self.log.entries[-1][1] - self.core.commit_index < UNCOMMITTED_ENTRIES

    def _entry_time_ms(self) -> int:
        """The leader's clock, clamped: one clock that jumps cannot poison expiry (contracts.md)."""
        time_ms = self.clock.time_ms()
        if self._stamped is not None:
            at_s, last_ms = self._stamped
            elapsed_ms = int((self.clock.monotonic_s() - at_s) * 1000)
            time_ms = min(time_ms, last_ms + elapsed_ms + limits.LEADER_TIME_SLACK_MS)
        return max(time_ms, self.machine.time_ms)

    def lose_leadership(self, why: str) -> None:
        self.core.stop_leading()
        self.stopped_leading(why)

    def stopped_leading(self, why: str) -> None:
        """What waited for this leader's entries ends; reads wait for the next leader."""
        self.elections.postpone()
        self.proposals.fail_sent(why)
        self.reads.lost_leader()
        self.sender.stop()

    def _confirm_reads(self) -> None:
        def answer(member_id: str, number: int, index: int) -> None:
            self.send(member_id, ["readok", number, index])

        self.reads.confirm(self.replication.quorum_seq(self.configuration, self.member_id), answer)
        self.reads.applied(self.core.applied_index)

    def _change_membership(self) -> None:
        if not self._noop_committed() or self._configurations.newest_index > self.core.commit_index:
            return  # one change at a time (row 1)
        now = self.clock.monotonic_s()
        alive = self.replication.recently(now, self.timing.election_timeout_s) | {self.member_id}
        change = next_change(
            self.configuration,
            self.candidates,
            self.replication.caught_up(),
            frozenset(alive & (self.connected | {self.member_id})),
        )
        if change is not None:
            self.core.append(b"\x02" + change.encode())

    def _members_changed(self) -> None:
        voters = self.configuration.voters
        members = set(self.configuration.members)
        self.core.set_members(voters, members - voters)
        members.discard(self.member_id)
        self.replication.set_members(sorted(members), self.clock.monotonic_s())

    def _is_only_voter(self) -> bool:
        return self.configuration.voters == {self.member_id}

    def _note_leader(self) -> None:
        leader = self.core.leader_id
        if leader != self._known_leader:
            if self._known_leader is not None:
                self.leader_changes += 1
                self.proposals.fail_sent("the leader changed")
                self.reads.lost_leader()
            self._known_leader = leader
            if leader == self.member_id:
                self._commit_told = self._commit_seen = 0

    # -- dumps

    def _poll_dumps(self) -> None:
        written = self._dumps.poll_written()
        # One that a snapshot from the leader has overtaken meanwhile is of no use (row 5).
        if written is not None and (not self.log.dump or written.index > self.log.dump.index):
            keep_from = max(self.log.entries[0][1], written.index - self._kept_entries)
            self._configurations.forget_below(written.index)
            self.log.compact(written, keep_from)
            self._dumps.forget_but(written)
        loaded = self._dumps.poll_loaded()
        if isinstance(loaded, Loaded):
            self._install(loaded)
        elif loaded is not None:  # never answered: the leader sends it again
            self.failed_installs += 1
            self.receiver.finished()
        applied = self.core.applied_index
        last_dump = self.log.dump.index if self.log.dump else self.log.entries[0][1]
        if (
            self._bytes_since_dump > DUMP_AFTER_BYTES or applied - last_dump > DUMP_AFTER_ENTRIES
        ) and not self._dumps.busy:
            self.begin_dump()

    def begin_dump(self) -> None:
        """Starts a dump of the machine as it is; the log is cut when it is durable."""
        applied = self.core.applied_index
        last_dump = self.log.dump.index if self.log.dump else self.log.entries[0][1]
        if applied == last_dump or self._dumps.busy:
            return
        self._bytes_since_dump = 0
        term = self.log.entries[applied - self.log.entries[0][1]][2]
        # The dump carries the configuration of its own index, not the newest one (row 2).
        configuration = self._configurations.at(applied)
        self._dumps.begin(applied, term, configuration, self.machine)

    def _install(self, loaded: Loaded) -> None:
        """Case 9 of the guard, for a dump that is verified and decoded."""
        leader, ref = self.receiver.loading_for, loaded.ref
        self.receiver.finished()
        entries = self.log.entries
        committed = max(self.core.commit_index, self.core.applied_index)
        first = entries[0][1]
        if ref.index > committed:
            if ref.index <= entries[-1][1] and entries[ref.index - first][2] == ref.term:
                # Our log holds the same entry: what follows it may have been acknowledged, keep it.
                told = guard.AppendEntries(self.core.term, None, 0, (), ref.index)
                if leader is not None and leader == self.core.leader_id:
                    self.core.receive_append(leader, told)
            else:
                self._replace_log(loaded)
            committed = ref.index
        if leader is not None:
            self.answer(leader, committed + 1, success=True)

    def _replace_log(self, loaded: Loaded) -> None:
        self.log.install(loaded.ref)
        self.machine = loaded.machine
        self._configurations = ConfigurationLog(loaded.ref.index, loaded.configuration)
        self.core.installed(loaded.ref.index)
        self._members_changed()
        self._bytes_since_dump = 0
        self._dumps.forget_but(loaded.ref)
        self.proposals.fail_sent("a snapshot replaced the log on this node")
        self.reads.applied(loaded.ref.index)
