"""Operators of a simulated cluster: they remove members and hand over leadership, through any node.

Each order must end, and who was removed must stay away.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import HeroctlError
from ..raft.guard import MEMBERSHIP
from ..raft.membership import decode
from ..raft.node import RaftNode
from ..raft.port import Order
from .invariants import Committed, Violation

ORDER_S: Final = 16.0  # the engine's deadline, by a slow clock, behind the longest stall of a disk


@dataclass(slots=True)
class _Given:
    what: str
    at_s: float
    future: Future[Any]


@dataclass(slots=True)
class Operators:
    """All orders. `stats` counts how they ended."""

    rng: random.Random
    stats: Counter[str]
    open: list[_Given] = field(default_factory=list)

    def remove(self, node: RaftNode, now_s: float) -> None:
        """Some member, by its name or its id, as `node` knows it."""
        member_id, spec = self.rng.choice(sorted(node.configuration.members.items()))
        self._give(node, Order.REMOVE, self.rng.choice((member_id, spec.name)), now_s)

    def hand_over(self, node: RaftNode, now_s: float) -> None:
        """To a named member, or to any other one."""
        member = self.rng.choice(["", *sorted(node.configuration.members)])
        self._give(node, Order.TRANSFER, member, now_s)

    def _give(self, node: RaftNode, order: Order, member: str, now_s: float) -> None:
        given = _Given(order.value, now_s, node.orders.submit(order, member))
        self.open.append(given)

    def go_on(self, now_s: float) -> None:
        """Counts what has ended; nothing may wait for ever."""
        for given in [given for given in self.open if given.future.done()]:
            self.open.remove(given)
            error = given.future.exception()
            if error is not None and not isinstance(error, HeroctlError):
                raise Violation(f"{given.what} ended with {error!r}")
            self.stats[f"{given.what}: {error.reason if error else 'done'}"] += 1
        for given in self.open:
            if now_s - given.at_s > ORDER_S:
                raise Violation(f"the order {given.what} never ended")

    def check_end(self, entries: Iterable[tuple[int, Committed]]) -> None:
        """Whether everybody who was removed stayed away."""
        removed: set[str] = set()
        for index, entry in entries:
            if entry.data[0] == MEMBERSHIP:
                now = decode(entry.data[1:])
                removed |= now.removed.keys()
                if back := removed & now.members.keys():
                    raise Violation(f"removed {min(back)[:4]} is a member again at index {index}")
