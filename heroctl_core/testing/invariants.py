"""What must hold after every turn of a simulated cluster: Figure 3 of the Raft paper, and more."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..raft.guard import CHECK, MEMBERSHIP
from ..raft.membership import Configuration, decode
from ..state.rows import KINDS
from .simulated_machine import Applications

if TYPE_CHECKING:
    from ..raft.node import RaftNode


class Violation(AssertionError):
    """A promise was broken; the message says which, the seed repeats it."""


class Committed(NamedTuple):
    """An entry that some node applied. `seen_term` is that node's term: it was committed in that
    term or before."""

    data: bytes
    term: int
    seen_term: int


@dataclass(slots=True)
class Invariants:
    """Everything ever seen to be committed, by index."""

    leaders: dict[int, str] = field(default_factory=dict)  # by term
    entries: dict[int, Committed] = field(default_factory=dict)  # by index
    applications: Applications = field(default_factory=Applications)
    _fingerprints: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _applied: dict[int, int] = field(default_factory=dict)  # id(node): index
    _elected: set[tuple[int, str]] = field(default_factory=set)

    def check(self, nodes: Iterable[RaftNode]) -> None:
        """After every step of the world."""
        nodes = [node for node in nodes if node.suspended is None]
        for node in nodes:
            self.check_kept(node)
            self.check_applied(node)
        if self.applications.fault is not None:
            raise Violation(self.applications.fault)
        for node in nodes:
            if node.leading:
                self._check_leader(node)

    def check_kept(self, node: RaftNode) -> None:
        """What a node applied stays in its log."""
        if node.log.entries[-1][1] < node.core.applied_index:
            raise Violation(f"{node.member_id[:4]} cut off committed entries")

    def check_applied(self, node: RaftNode) -> None:
        """What a node applied is what everybody applied; also in the middle of its last turn, when
        it may have taken a term that its disk refused, and seem to lead in it."""
        applied = node.core.applied_index
        seen = self._applied.get(id(node), 0)
        if seen == applied:
            return
        if applied < seen:
            raise Violation(f"{node.member_id[:4]} went back from index {seen} to {applied}")
        first = node.log.entries[0][1]
        for index in range(max(seen, first) + 1, applied + 1):
            data, _, term = node.log.entries[index - first]
            known = self.entries.setdefault(index, Committed(data, term, node.core.term))
            if known[:2] != (data, term):
                raise Violation(f"index {index} was committed with another entry")
        self._applied[id(node)] = applied
        machine = node.machine
        now = (machine.revision, *(machine.fingerprint(kind) for kind in KINDS))
        if self._fingerprints.setdefault(applied, now) != now:
            raise Violation(f"{node.member_id[:4]} differs in state at index {applied}")

    def _check_leader(self, node: RaftNode) -> None:
        """Election safety and leader completeness."""
        term = node.core.term
        if self.leaders.setdefault(term, node.member_id) != node.member_id:
            raise Violation(f"two leaders in term {term}")
        if (term, node.member_id) in self._elected:
            return
        self._elected.add((term, node.member_id))
        entries, first = node.log.entries, node.log.entries[0][1]
        for index, (data, at, seen_term) in self.entries.items():
            if index <= first or seen_term >= term:
                continue
            if index - first >= len(entries) or entries[index - first][::2] != (data, at):
                raise Violation(f"the leader of term {term} lacks committed entry {index}")

    def forget(self, node: RaftNode) -> None:
        """The node is gone; another object may get its id()."""
        self._applied.pop(id(node), None)

    def check_end(self, nodes: Iterable[RaftNode]) -> None:
        """After the calm: every acknowledged write is in the committed history."""
        reached = max((node.machine.revision for node in nodes), default=0)
        for revision in self.applications.acknowledged:
            if revision > reached:
                raise Violation(f"acknowledged revision {revision} is gone, {reached} is the last")
        for request_id, effect in self.applications.effects.items():
            if request_id not in self.entries[effect.at].data:
                raise Violation(f"revision {effect.revision} is not in entry {effect.at}")

    def committed_changes(self) -> Counter[str]:
        """What committed entries did besides commands: voters added, members removed, states
        compared."""
        changes: Counter[str] = Counter()
        before: Configuration | None = None
        for _, entry in sorted(self.entries.items()):
            if entry.data[0] == MEMBERSHIP:
                now = decode(entry.data[1:])
                if before is not None:
                    changes["voters added"] += len(now.voters - before.voters)
                    changes["members removed"] += len(before.members.keys() - now.members.keys())
                before = now
            changes["states compared"] += entry.data[0] == CHECK
        return changes

    def digest(self, stats: Mapping[str, int], *more: int) -> str:
        """One value for the whole history: two runs of a seed must give the same."""
        history = (
            sorted(self.leaders.items()),
            sorted(self.entries.items()),
            self.applications.acknowledged,
            sorted(stats.items()),
            more,
        )
        return hashlib.sha256(repr(history).encode()).hexdigest()
