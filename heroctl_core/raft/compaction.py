"""Cutting the log: own dumps, and dumps that a leader sent in place of entries.

Dumps are written and decoded beside the loop (raft/install.py, `Dumps`); here is what happens on
the loop when one is done. The log names a dump only when it is durable and verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .. import limits
from . import guard
from .install import Dumps, Loaded
from .membership import ConfigurationLog

if TYPE_CHECKING:
    from .node import RaftNode

DUMP_AFTER_BYTES: Final = 64 * limits.MIB
DUMP_AFTER_ENTRIES: Final = 100_000


class Compaction:
    """The dumps of one node. Only the engine's thread."""

    def __init__(self, node: RaftNode, dumps: Dumps, kept_entries: int) -> None:
        self._node = node
        self.dumps = dumps
        self._kept_entries = kept_entries
        self.bytes_since_dump = sum(len(entry[0]) for entry in node.log.entries)
        self.failed_installs = 0

    def poll(self) -> None:
        """Takes what was written or loaded since the last turn; begins a dump when one is due."""
        node = self._node
        written = self.dumps.poll_written()
        # One that a snapshot from the leader has overtaken meanwhile is of no use (row 5).
        if written is not None and (not node.log.dump or written.index > node.log.dump.index):
            keep_from = max(node.log.entries[0][1], written.index - self._kept_entries)
            node.configurations.forget_below(written.index)
            node.log.compact(written, keep_from)
            self.dumps.forget_but(written)
        loaded = self.dumps.poll_loaded()
        if isinstance(loaded, Loaded):
            self._install(loaded)
        elif loaded is not None:  # never answered: the leader sends it again
            self.failed_installs += 1
            node.receiver.finished()
        applied = node.core.applied_index
        last_dump = node.log.dump.index if node.log.dump else node.log.entries[0][1]
        if (
            self.bytes_since_dump > DUMP_AFTER_BYTES or applied - last_dump > DUMP_AFTER_ENTRIES
        ) and not self.dumps.busy:
            self.begin_dump()

    def begin_dump(self) -> None:
        """Starts a dump of the machine as it is; the log is cut when it is durable."""
        node = self._node
        applied = node.core.applied_index
        last_dump = node.log.dump.index if node.log.dump else node.log.entries[0][1]
        if applied == last_dump or self.dumps.busy:
            return
        self.bytes_since_dump = 0
        term = node.log.entries[applied - node.log.entries[0][1]][2]
        # The dump carries the configuration of its own index, not the newest one (row 2).
        configuration = node.configurations.at(applied)
        self.dumps.begin(applied, term, configuration, node.machine)

    def _install(self, loaded: Loaded) -> None:
        """Case 9 of the guard, for a dump that is verified and decoded."""
        node = self._node
        leader, ref = node.receiver.loading_for, loaded.ref
        node.receiver.finished()
        entries = node.log.entries
        committed = max(node.core.commit_index, node.core.applied_index)
        first = entries[0][1]
        if ref.index > committed:
            if ref.index <= entries[-1][1] and entries[ref.index - first][2] == ref.term:
                # Our log holds the same entry: what follows it may have been acknowledged, keep it.
                told = guard.AppendEntries(node.core.term, None, 0, (), ref.index)
                if leader is not None and leader == node.core.leader_id:
                    node.core.receive_append(leader, told)
            else:
                self._replace_log(loaded)
            committed = ref.index
        if leader is not None:
            node.answer(leader, committed + 1, success=True)

    def _replace_log(self, loaded: Loaded) -> None:
        node = self._node
        node.log.install(loaded.ref)
        node.machine = loaded.machine
        node.configurations = ConfigurationLog(loaded.ref.index, loaded.configuration)
        node.core.installed(loaded.ref.index)
        node.members_changed()
        self.bytes_since_dump = 0
        self.dumps.forget_but(loaded.ref)
        node.proposals.fail_sent("a snapshot replaced the log on this node")
        node.reads.applied(loaded.ref.index)
