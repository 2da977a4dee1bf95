"""What pysyncobj's core calls back while it works for one node: its messages out, committed entries
into the machine, waiting proposals into one entry.

Called on the engine's thread, inside `RaftCore.tick` or `RaftCore.receive` (engine.CoreOwner).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .. import codec
from ..errors import NodeFault
from ..state.commands import request_id_of
from ..state.outcome import Stamp
from . import guard

if TYPE_CHECKING:
    from .node import RaftNode

APPLY_SLICE_S: Final = 0.005


class CoreSide:
    """The core's owner, on behalf of a node."""

    def __init__(self, node: RaftNode) -> None:
        self._node = node

    def core_sends(self, member_id: str, message: dict[str, Any]) -> None:
        node, kind = self._node, message["type"]
        if kind == "request_vote":
            frame = ["rv", message["term"], message["last_log_term"], message["last_log_index"]]
            node.send(member_id, frame)
        elif kind == "response_vote":
            node.elections.postpone()
            node.promises.append((member_id, ["vote", message["term"]]))
        elif kind == "next_node_idx":
            node.answer(member_id, message["next_node_idx"], success=message["success"])
        else:
            raise NodeFault(f"the core sent {kind!r}, which this engine does not know")

    def core_applies(self) -> bool:
        node = self._node
        core, log, machine = node.core, node.log, node.machine
        first = log.entries[0][1]
        until = node.clock.monotonic_s() + APPLY_SLICE_S
        waiting = node.proposals.anything_waiting
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
                        node.proposals.resolve(request_id_of(command), outcome)
                term = log.entries[index - first][2]
                node.state_time.applied(term, machine.time_ms, node.clock.monotonic_s())
            elif data[0] == guard.CHECK:
                node.divergence.applied(index)
            core.applied_index = index
            if node.clock.monotonic_s() > until:
                break
        node.reads.applied(core.applied_index)
        node.freshness.applied(core.applied_index, log.entries[core.applied_index - first][2])
        return False

    def core_composes(self) -> None:
        """One entry from all proposals that wait (engine.md, step 4)."""
        if self._node.leading:
            self._node.leadership.compose()

    def core_replicates(self) -> None:
        """Entries leave in Leadership.lead, once a turn."""

    def core_leads(self) -> None:
        """Leadership begins: nobody has answered in this term."""
        # One voter alone commits in the same tick: the no-op must be durable before (row 8).
        self._node.log.sync()
        self._node.started_leading()

    def log_changed(self, index: int, *, truncated: bool, data: bytes | None) -> None:
        node = self._node
        if truncated:
            if node.configurations.truncated(index):
                node.members_changed()
            return
        assert data is not None
        node.compaction.bytes_since_dump += len(data)
        if data[0] == guard.MEMBERSHIP:
            node.configurations.appended(index, data[1:])
            node.members_changed()
