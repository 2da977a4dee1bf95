"""What must hold while generations come and go.

- In one generation: what holds in any Raft cluster (testing/invariants.py).
- Once a generation is confirmed by counting, no generation before it acknowledges or commits
  anything any more.
- Of two forks at most one is confirmed by counting.
- What was acknowledged in the generation that survives is there; what was acknowledged in another
  one is on some disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..raft import fence
from ..raft.node import RaftNode
from .invariants import Invariants, Violation

if TYPE_CHECKING:
    from .simulated_member import Disk, Member

Lineage = tuple[str, ...]  # restore ids


class Acknowledged(NamedTuple):
    """A client was told that its write is durable."""

    job: str
    request_id: bytes
    lineage: Lineage


@dataclass(slots=True)
class GenerationChecks:
    """Everything that was seen in one run."""

    writes: list[Acknowledged] = field(default_factory=list)
    confirmed: dict[Lineage, int] = field(default_factory=dict)  # what its parents had committed
    decided: bool = False  # an operator gave generations up: their nodes count for others too
    _raft: dict[str, Invariants] = field(default_factory=dict)  # by restore id
    _committed: dict[Lineage, int] = field(default_factory=dict)
    _of: dict[int, str] = field(default_factory=dict)  # id(node): restore id
    _fault: str | None = None

    def acknowledged(self, job: str, request_id: bytes, lineage: Lineage) -> None:
        """A client was told so, just now."""
        self.writes.append(Acknowledged(job, request_id, lineage))
        if child := self._confirmed_child(lineage):
            self._fault = f"{_short(lineage)} acknowledged after {_short(child)} was confirmed"

    def forget(self, node: RaftNode) -> None:
        """The node is gone; another object may get its id()."""
        if restore_id := self._of.pop(id(node), None):
            self._raft[restore_id].forget(node)

    def look(self, members: Iterable[Member]) -> None:
        """After every step of the world."""
        by_id: dict[str, list[RaftNode]] = {}
        for member in members:
            if member.node is not None and member.lineage:
                by_id.setdefault(member.lineage[-1], []).append(member.node)
                self._of[id(member.node)] = member.lineage[-1]
                self._note_commit(member.lineage, member.node.core.commit_index)
                self._note_confirmed(member)
        for restore_id, nodes in by_id.items():
            self._raft.setdefault(restore_id, Invariants()).check(nodes)
        if self._fault is not None:
            raise Violation(self._fault)

    def _note_commit(self, lineage: Lineage, index: int) -> None:
        before = self._committed.get(lineage, 0)
        if index > before:
            self._committed[lineage] = index
            if child := self._confirmed_child(lineage):
                self._fault = f"{_short(lineage)} committed after {_short(child)} was confirmed"

    def _note_confirmed(self, member: Member) -> None:
        lineage, folder = member.lineage, member.folder
        assert folder is not None
        if len(lineage) == 1 or lineage in self.confirmed or folder.mark("confirmed") is not None:
            return
        if not fence.is_confirmed(folder):
            return
        for other in self.confirmed:
            forks = other[: len(lineage)] != lineage and lineage[: len(other)] != other
            if forks and not self.decided:
                self._fault = f"both {_short(lineage)} and its fork {_short(other)} are confirmed"
        self.confirmed[lineage] = self._committed.get(lineage[:-1], 0)

    def _confirmed_child(self, lineage: Lineage) -> Lineage | None:
        longer = (c for c in self.confirmed if len(c) > len(lineage))
        return next((c for c in longer if c[: len(lineage)] == lineage), None)

    def converged(self, members: Iterable[Member]) -> bool:
        """Whether all members serve one generation, and have all that it has."""
        members = list(members)
        nodes = [m.node for m in members if m.node is not None]
        leaders = [node for node in nodes if node.leading and node.has_quorum()]
        if len(nodes) < len(members) or len(leaders) != 1:
            return False
        last = leaders[0].log.entries[-1][1]
        return (
            len({m.lineage for m in members}) == 1
            and all(n.core.applied_index == last and n.may_vote for n in nodes)
            and leaders[0].configuration.voters == {n.member_id for n in nodes}
        )

    def end(self, members: Iterable[Member]) -> None:
        """After the end: what clients were told is true, or on some disk."""
        members = list(members)
        node, survivor = members[0].node, members[0].lineage
        assert node is not None
        for write in self.writes:
            if write.lineage == survivor and node.machine.get("jobs", write.job) is None:
                raise Violation(f"{write.job}, acknowledged by the survivor, is gone")
        if missing := self._on_no_disk(members):
            job, _, lineage = missing[0]
            raise Violation(f"{job} of {_short(lineage)} is on no disk")

    def disk_lost(self, left: Iterable[Member]) -> None:
        """What was only on a disk that is gone now cannot be asked for any more."""
        gone = set(self._on_no_disk(left))
        self.writes = [write for write in self.writes if write not in gone]

    def _on_no_disk(self, members: Iterable[Member]) -> list[Acknowledged]:
        disks = [disk for member in members for disk in member.disks.values()]
        everywhere = b"".join(data for disk in disks for data, *_ in disk.log.entries)
        return [
            w for w in self.writes if w.request_id not in everywhere and not _in_dumps(disks, w.job)
        ]


def _in_dumps(disks: Iterable[Disk], job: str) -> bool:
    stored = (s for disk in disks for s in disk.dumps.stored.values())
    return any(s.state.view.get("jobs", job) is not None for s in stored)


def _short(lineage: Lineage) -> str:
    return "/".join(restore_id[:4] for restore_id in lineage)
