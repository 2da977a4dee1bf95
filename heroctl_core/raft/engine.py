"""The door of pysyncobj: its Raft core, driven and watched from outside.

What stays pysyncobj's: elections, nextIndex and matchIndex, the commit rule, the order of applying.
Everything else – time, transport, durability, membership, snapshots, proposals – is ours and
reaches the core through this module. Nothing global is patched, so any number of cores live in one
process: the core never asks its clock for anything that matters, because

- its election deadline is always infinity or 0 (`_SyncObj__generateRaftTimeout`),
- it sends AppendEntries only when told (`_SyncObj__newAppendEntriesTime` is infinity),
- its fallback timeout never strikes; the node steps down through `step_down`.

tests/contract/test_contract_pysyncobj_*.py hold what this relies on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.journal import Journal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from .guard import AppendEntries, Entry

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
_NEVER = 10**9


class DurableLog(Protocol):
    """What the core needs of a log: raft/log.py and testing/memory_log.py."""

    entries: list[Entry]
    term: int
    vote: str | None
    commit_index: int

    def append(self, data: bytes, index: int, term: int) -> None: ...
    def truncate_from(self, index: int) -> None: ...
    def set_term(self, term: int, vote: str | None) -> None: ...
    def set_commit(self, index: int) -> None: ...


class CoreOwner(Protocol):
    """Who drives the core; called back on the same thread, inside `tick` or a message."""

    def core_sends(self, member_id: str, message: dict[str, Any]) -> None:
        """A message of the core: request_vote, response_vote or next_node_idx."""

    def core_applies(self) -> bool:
        """Apply committed entries; True when followers should hear the commit index now."""
        ...

    def core_composes(self) -> None:
        """Turn waiting proposals into one entry."""

    def core_replicates(self) -> None:
        """Send AppendEntries to whom it is due."""

    def core_leads(self) -> None:
        """The core just became leader; its no-op is appended, nothing is sent yet."""

    def log_changed(self, index: int, *, truncated: bool, data: bytes | None) -> None:
        """An entry was appended at, or everything was cut off from, `index`."""


class _Peer(Node):  # type: ignore[misc]
    """A node whose hash does not depend on PYTHONHASHSEED, so that simulations repeat (row 27)."""

    def __init__(self, member_id: str) -> None:
        super().__init__(member_id)
        self._hash = int(member_id[:15], 16)

    def __hash__(self) -> int:
        return self._hash


class _LogJournal(Journal):  # type: ignore[misc]
    """pysyncobj's journal over our durable log. Positions count from the anchor."""

    def __init__(self, log: DurableLog, owner: CoreOwner) -> None:
        self._log = log
        self._owner = owner

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._log.append(command, idx, term)
        self._owner.log_changed(idx, truncated=False, data=command)

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        index = self._log.entries[0][1] + entryFrom
        self._log.truncate_from(index)
        self._owner.log_changed(index, truncated=True, data=None)

    def __getitem__(self, item: Any) -> Any:
        return self._log.entries[item]

    def __len__(self) -> int:
        return len(self._log.entries)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        self._log.set_commit(raftCommitIndex)

    def getRaftCommitIndex(self) -> int:
        return self._log.commit_index

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        self._log.set_term(term, votedForNodeId)

    def getCurrentTerm(self) -> int:
        return self._log.term

    def getVotedForNodeId(self) -> str | None:
        return self._log.vote

    def _destroy(self) -> None:
        pass


class _CoreTransport(Transport):  # type: ignore[misc]
    """Hands the core's messages to the owner; delivery is the node's business."""

    def __init__(self, owner: CoreOwner) -> None:
        super().__init__(None, None, [])
        self._owner = owner

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        self._owner.core_sends(node.id, message)
        return True


class _NoPoller:
    """The node has its own loop; the core must not wait for anything."""

    def poll(self, timeout: float) -> None:
        pass


class RaftCore(SyncObj):  # type: ignore[misc]
    """pysyncobj's core for the member `self_id` over `log`.

    One thread only. `applied_index` starts at the index of the machine's content.
    """

    def __init__(
        self, self_id: str, log: DurableLog, owner: CoreOwner, *, applied_index: int
    ) -> None:
        self._owner = owner
        self._log = log
        self._peers: dict[str, _Peer] = {}  # the same object each time: looking up costs no __eq__
        conf = SyncObjConf(
            autoTick=False,
            raftMinTimeout=1e6,
            raftMaxTimeout=2e6,
            connectionTimeout=3e6,
            leaderFallbackTimeout=1e9,
            logCompactionMinEntries=_NEVER,
            logCompactionMinTime=_NEVER,
        )
        super().__init__(self._peer(self_id), [], conf, transport=_CoreTransport(owner))
        self._poller = _NoPoller()
        # The journal is exchanged after construction: pysyncobj would open a file otherwise.
        self._SyncObj__raftLog = _LogJournal(log, owner)
        self._SyncObj__raftCurrentTerm = max(log.term, log.entries[-1][2])
        self._SyncObj__votedForNodeId = log.vote
        self._SyncObj__raftLastApplied = applied_index
        self._SyncObj__raftCommitIndex = max(applied_index, log.commit_index)
        self._SyncObj__raftElectionDeadline = math.inf
        self._SyncObj__newAppendEntriesTime = math.inf

    def _peer(self, member_id: str) -> _Peer:
        peer = self._peers.get(member_id)
        if peer is None:
            peer = self._peers[member_id] = _Peer(member_id)
        return peer

    # -- what pysyncobj calls and we decide

    def _SyncObj__generateRaftTimeout(self) -> float:
        return math.inf

    def _SyncObj__applyLogEntries(self) -> bool:
        return self._owner.core_applies()

    def _checkCommandsToApply(self) -> None:
        self._owner.core_composes()

    def _SyncObj__sendAppendEntries(self) -> None:
        self._SyncObj__newAppendEntriesTime = math.inf
        self._owner.core_replicates()

    def _SyncObj__onBecomeLeader(self) -> None:
        super()._SyncObj__onBecomeLeader()
        self._owner.core_leads()

    def _SyncObj__tryLogCompaction(self) -> None:
        """Dumps are made and named by our own log (rows 4 to 6)."""

    # -- what the node does with the core

    def tick(self) -> None:
        """Elections, commit, apply, compose: one round of the core's own order."""
        self._onTick(0.0)

    def campaign(self) -> None:
        """The next tick starts an election."""
        self._SyncObj__raftElectionDeadline = 0.0

    def step_down(self, term: int, leader_unknown_to: str) -> None:
        """Takes `term`, becomes follower, votes for nobody (engine.md, "Step down to term X")."""
        message = {
            "type": "request_vote",
            "term": term,
            "last_log_term": -1,
            "last_log_index": 0,
        }
        self._SyncObj__onMessageReceived(self._peer(leader_unknown_to), message)

    def stop_leading(self) -> None:
        """Becomes follower of nobody in the same term: a leader that lost its quorum."""
        self._SyncObj__raftState = FOLLOWER
        self._SyncObj__raftLeader = None
        self._SyncObj__raftElectionDeadline = math.inf

    def receive(self, sender: str, message: dict[str, Any]) -> None:
        """Hands on one message that the guard let through."""
        self._SyncObj__onMessageReceived(self._peer(sender), message)

    def receive_append(self, sender: str, message: AppendEntries) -> None:
        """Hands on an AppendEntries of the guard."""
        wire: dict[str, Any] = {
            "type": "append_entries",
            "term": message.term,
            "commit_index": message.commit_index,
        }
        if message.prev_index is not None:
            wire["prevLogIdx"] = message.prev_index
            wire["prevLogTerm"] = message.prev_term
            wire["entries"] = message.entries
        self.receive(sender, wire)

    def append(self, data: bytes) -> int:
        """Appends an entry of the present term; only a leader may. Its index."""
        if self.state != LEADER:
            raise AssertionError("only a leader appends")
        index: int = self._log.entries[-1][1] + 1
        self._SyncObj__raftLog.add(data, index, self.term)
        return index

    def set_members(self, voters: Iterable[str], learners: Iterable[str]) -> None:
        """The other members of the newest configuration; progress of those who stay is kept."""
        # Sorted: where hashes collide in a set, the order of insertion counts (row 27).
        other = {self._peer(m) for m in sorted(voters) if m != self.selfNode.id}
        readonly = {self._peer(m) for m in sorted(learners) if m != self.selfNode.id}
        self._SyncObj__otherNodes = other
        self._SyncObj__readonlyNodes = readonly
        for table, start in (
            (self._SyncObj__raftNextIndex, self._log.entries[-1][1] + 1),
            (self._SyncObj__raftMatchIndex, 0),
            (self._SyncObj__lastResponseTime, math.inf),
        ):
            for gone in [n for n in table if n not in other and n not in readonly]:
                del table[gone]
            for node in other | readonly:
                table.setdefault(node, start)

    def set_connected(self, member_id: str, *, connected: bool) -> None:
        """The core campaigns only when it is connected to anyone."""
        report: Callable[[Node], None] = (
            self._SyncObj__onNodeConnected if connected else self._SyncObj__onNodeDisconnected
        )
        report(self._peer(member_id))

    def installed(self, index: int) -> None:
        """The log was replaced by a snapshot up to `index`, and the machine with it."""
        self._SyncObj__raftLastApplied = index
        self._SyncObj__raftCommitIndex = max(index, self._SyncObj__raftCommitIndex)
        self._log.set_commit(self._SyncObj__raftCommitIndex)

    # -- what the node reads

    @property
    def state(self) -> int:
        return self._SyncObj__raftState

    @property
    def term(self) -> int:
        return self._SyncObj__raftCurrentTerm

    @property
    def leader_id(self) -> str | None:
        node = self._SyncObj__raftLeader
        return None if node is None else node.id

    @property
    def commit_index(self) -> int:
        return self._SyncObj__raftCommitIndex

    @property
    def applied_index(self) -> int:
        return self._SyncObj__raftLastApplied

    @applied_index.setter
    def applied_index(self, index: int) -> None:
        self._SyncObj__raftLastApplied = index

    @property
    def noop_index(self) -> int | None:
        """The index of the no-op of the newest term that this node led."""
        return self._SyncObj__noopIDx  # type: ignore[no-any-return]

    def next_index(self, member_id: str) -> int:
        return self._SyncObj__raftNextIndex[self._peer(member_id)]  # type: ignore[no-any-return]

    def set_next_index(self, member_id: str, index: int) -> None:
        self._SyncObj__raftNextIndex[self._peer(member_id)] = index

    def forget_match(self, member_id: str) -> None:
        """The follower has to show anew what it holds."""
        self._SyncObj__raftMatchIndex[self._peer(member_id)] = 0

    def match_index(self, member_id: str) -> int:
        return self._SyncObj__raftMatchIndex.get(self._peer(member_id), 0)  # type: ignore[no-any-return]
