"""Whether this node's state is the one that the majority has: it stops itself when it is not.

Now and then the leader appends an entry that changes nothing. Who applies it notes the fingerprints
of its state there and tells every member. A majority of the voters says which state is right, not
the leader: it may be the one that differs, and followers that believed it would all stop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ..errors import NodeFault
from . import guard

if TYPE_CHECKING:
    from .node import RaftNode

EVERY_S: Final = 60.0
_REVISION: Final = "revision"  # not in any fingerprint, but the same on every node

Prints = tuple[tuple[str, bytes], ...]  # (kind, fingerprint), sorted


class Divergence:
    """The newest comparison of one node. Only the engine's thread."""

    def __init__(self, node: RaftNode) -> None:
        self._node = node
        self.every_s = EVERY_S
        self._due_s = 0.0
        self._index = 0  # of the newest check that was applied here
        self._mine: Prints = ()
        self._heard: dict[str, tuple[int, Prints]] = {}  # the newest of each member
        self._untold: set[str] = set()
        self.warning: str | None = None

    def begin(self) -> None:
        """The node just became leader."""
        self._due_s = self._node.clock.monotonic_s() + self.every_s

    def lead(self, now: float) -> None:
        """Appends a check when one is due and something was applied since the last one."""
        node = self._node
        if now < self._due_s or len(node.configuration.voters) == 1:
            return
        self._due_s = now + self.every_s
        if node.core.applied_index > self._index:
            node.core.append(bytes([guard.CHECK]))

    def applied(self, index: int) -> None:
        """A check was applied: the machine holds what all have at its index."""
        node = self._node
        values = {_REVISION: node.machine.revision, **node.machine.fingerprints()}
        self._index = index
        self._mine = tuple((kind, value.to_bytes(32)) for kind, value in sorted(values.items()))
        self._untold = set(node.configuration.members) - {node.member_id}

    def work(self) -> None:
        """Tells who is connected, once; stops this node when a majority has another state."""
        node = self._node
        for member_id in sorted(self._untold & node.connected):
            prints = [list(each) for each in self._mine]
            node.send(member_id, ["print", self._index, prints])
        self._untold -= node.connected
        self._compare()

    def told(self, sender: str, index: int, prints: Prints) -> None:
        """What a member's state is at an index."""
        if sender in self._node.configuration.members:
            self._heard[sender] = (index, prints)

    def _compare(self) -> None:
        """NodeFault when a majority of the voters agrees on something else."""
        node = self._node
        voters = node.configuration.voters
        said = {m: p for m, (at, p) in self._heard.items() if at == self._index and m in voters}
        if node.member_id in voters:
            said[node.member_id] = self._mine
        self.warning = None
        if not said or set(said.values()) == {self._mine}:
            return
        prints, votes = Counter(said.values()).most_common(1)[0]
        names = {m: node.configuration.members[m].name for m in said}
        if votes < node.configuration.quorum:
            self.warning = (
                f"the states of {_listed(names.values())} differ at log index {self._index}, and "
                "no majority says which is right: save a snapshot of each before anything else"
            )
        elif prints == self._mine:
            others = _listed(names[m] for m, p in said.items() if p != prints)
            self.warning = f"{others} had another state at log index {self._index}"
        else:
            others = _listed(names[m] for m, p in said.items() if p == prints)
            difference = _difference(self._mine, prints, others)
            raise NodeFault(
                f"this node's state differs from the majority's at log index {self._index}: "
                f"{difference}",
                hint="start it again, for its log may be right; when it stops again, keep its data "
                "folder for a report and start it with an empty one: it joins as a new member",
            )


def _listed(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


def _difference(mine: Prints, theirs: Prints, who: str) -> str:
    """What differs, with both values."""
    here, there = dict(mine), dict(theirs)
    found = []
    for kind in sorted(here.keys() | there.keys()):
        ours, other = here.get(kind, bytes(32)), there.get(kind, bytes(32))
        if ours != other:
            found.append(f"{kind} is {_shown(kind, ours)} here, {_shown(kind, other)} on {who}")
    return "; ".join(found)


def _shown(kind: str, value: bytes) -> str:
    return str(int.from_bytes(value)) if kind == _REVISION else value.hex()[:16]
