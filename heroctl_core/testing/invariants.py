"""What must hold after every turn of a simulated cluster (Raft paper, Figure 3, and our promises)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..state.rows import KINDS

if TYPE_CHECKING:
    from ..raft.node import RaftNode
    from .simulator import Host


class Violation(AssertionError):
    """A promise was broken; the message says which, the seed repeats it."""


@dataclass(slots=True)
class Invariants:
    """Everything ever seen to be committed, by index."""

    leaders: dict[int, str] = field(default_factory=dict)
    entries: dict[int, tuple[bytes, int]] = field(default_factory=dict)  # index: data, term
    fingerprints: dict[int, tuple[int, ...]] = field(default_factory=dict)
    acked: dict[int, str] = field(default_factory=dict)  # revision: label
    _seen: dict[int, int] = field(default_factory=dict)  # id(node): index
    _checked: set[tuple[int, str]] = field(default_factory=set)

    def check(self, hosts: Mapping[str, Host]) -> None:
        """After every step of the world."""
        for host in hosts.values():
            if host.node is not None and host.node.suspended is None:
                self._check_applied(host.node)
        for host in hosts.values():
            if host.node is not None and host.node.leading:
                self._check_leader(host.node)

    def _check_applied(self, node: RaftNode) -> None:
        applied = node.core.applied_index
        seen = self._seen.get(id(node), 0)
        if seen == applied:
            return
        first = node.log.entries[0][1]
        for index in range(max(seen, first) + 1, applied + 1):
            data, _, term = node.log.entries[index - first]
            if self.entries.setdefault(index, (data, term)) != (data, term):
                raise Violation(f"index {index} was committed with another entry")
        self._seen[id(node)] = applied
        machine = node.machine
        now = (machine.revision, *(machine.fingerprint(kind) for kind in KINDS))
        if self.fingerprints.setdefault(applied, now) != now:
            raise Violation(f"{node.member_id[:4]} differs in state at index {applied}")

    def _check_leader(self, node: RaftNode) -> None:
        term = node.core.term
        if self.leaders.setdefault(term, node.member_id) != node.member_id:
            raise Violation(f"two leaders in term {term}")
        if (term, node.member_id) in self._checked:
            return
        self._checked.add((term, node.member_id))
        entries, first = node.log.entries, node.log.entries[0][1]
        for index, (data, at) in self.entries.items():
            if index <= first or at > term:
                continue
            if index - first >= len(entries) or entries[index - first][::2] != (data, at):
                if at < term:
                    raise Violation(f"the leader of term {term} lacks committed entry {index}")

    def acknowledged(self, label: str, revision: int) -> None:
        """A client was told that its write is durable at `revision`."""
        if self.acked.setdefault(revision, label) != label:
            raise Violation(f"revision {revision} was acknowledged twice")

    def check_end(self, hosts: Mapping[str, Host]) -> None:
        """After the calm: every acknowledged write is in the committed history."""
        reached = max((h.node.machine.revision for h in hosts.values() if h.node), default=0)
        lost = [label for revision, label in self.acked.items() if revision > reached]
        if lost:
            raise Violation(f"{len(lost)} acknowledged writes are gone, the first is {lost[0]}")
        written = {label for label in self.acked.values()}
        applied = b"".join(data for data, _ in self.entries.values())
        for label in written:
            number = int(label.split("#")[1])
            if number.to_bytes(4, "big") not in applied:
                raise Violation(f"acknowledged write {label} is in no committed entry")
