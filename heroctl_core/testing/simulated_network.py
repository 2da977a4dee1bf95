"""The network between simulated nodes: frames that are late, lost, doubled or overtaken.

Between two nodes frames keep their order as on one connection, until the way is cut: what was under
way on the old connection may then arrive behind what the new one carries.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Arrival(NamedTuple):
    """One frame on its way. `boots` tells which life of the target it was meant for."""

    due_s: float
    number: int
    source: str
    target: str
    boots: int
    frame: list[Any]


@dataclass(slots=True)
class Network:
    """All ways between all nodes. While `calm` nothing is lost, doubled or very late."""

    rng: random.Random
    calm: bool = False
    cut: set[tuple[str, str]] = field(default_factory=set)  # (source, target), one direction each
    _arrivals: list[Arrival] = field(default_factory=list)
    _last_due_s: dict[tuple[str, str], float] = field(default_factory=dict)
    _numbers: int = 0

    def send(self, source: str, target: str, boots: int, frame: list[object], at_s: float) -> None:
        """Sends a frame at `at_s`, if the way is open and the frame is not lost."""
        rng = self.rng
        if (source, target) in self.cut or (not self.calm and rng.random() < 0.01):
            return
        slow = not self.calm and rng.random() < 0.1
        delay_s = rng.uniform(0.03, 0.4) if slow else rng.uniform(0.001, 0.02)
        due_s = max(at_s + delay_s, self._last_due_s.get((source, target), 0.0) + 1e-6)
        self._last_due_s[source, target] = due_s
        self._post(due_s, source, target, boots, frame)
        if not self.calm and rng.random() < 0.005:
            self._post(due_s + rng.uniform(0, 0.5), source, target, boots, frame)

    def _post(
        self, due_s: float, source: str, target: str, boots: int, frame: list[object]
    ) -> None:
        self._numbers += 1
        arrival = Arrival(due_s, self._numbers, source, target, boots, _wire(frame))
        heapq.heappush(self._arrivals, arrival)

    def arrivals(self, now_s: float) -> Iterator[Arrival]:
        """What has arrived by now, in order."""
        while self._arrivals and self._arrivals[0].due_s <= now_s:
            arrival = heapq.heappop(self._arrivals)
            if (arrival.source, arrival.target) not in self.cut:
                yield arrival

    def postpone(self, arrival: Arrival, due_s: float) -> None:
        """The target is busy: its frame waits in front of it."""
        heapq.heappush(self._arrivals, arrival._replace(due_s=due_s))

    def isolate(self, lonely: str, others: Iterable[str], *, into: bool, out: bool) -> None:
        """Cuts the ways from and to one node."""
        for other in others:
            if other != lonely and out:
                self.cut.add((lonely, other))
            if other != lonely and into:
                self.cut.add((other, lonely))
        self._last_due_s.clear()

    def split(self, left: Iterable[str], right: Iterable[str]) -> None:
        """Cuts every way between two groups."""
        right = list(right)
        self.cut |= {way for a in left for b in right for way in ((a, b), (b, a))}
        self._last_due_s.clear()

    def heal(self) -> None:
        """Opens every way, with new connections."""
        self.cut.clear()
        self._last_due_s.clear()


def _wire(frame: list[object]) -> list[Any]:
    """The frame as it arrives: lists, as msgpack makes them."""
    return [_listed(value) for value in frame]


def _listed(value: object) -> object:
    return [_listed(v) for v in value] if isinstance(value, list | tuple) else value
