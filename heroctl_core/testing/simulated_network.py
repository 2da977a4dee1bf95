"""The network between simulated nodes: frames that are late, lost, doubled or overtaken.

Between two nodes frames keep their order as on one connection, until the connection is another one:
what was under way on the old one may then arrive behind what the new one carries.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple


class Arrival(NamedTuple):
    """One frame on its way. `boots` tells which life of the target it was meant for."""

    due_s: float
    number: int
    source: str
    target: str
    boots: int
    frame: list[Any]


class Weather(NamedTuple):
    """Chances for one frame, and seconds that it takes."""

    lost: float
    doubled: float
    slow: float
    takes_s: tuple[float, float]
    takes_slow_s: tuple[float, float]
    double_behind_s: float


CALM: Final = Weather(0, 0, 0, (0.001, 0.02), (0.001, 0.02), 0)
USUAL: Final = Weather(0.01, 0.005, 0.1, (0.001, 0.02), (0.03, 0.4), 0.5)
FAR: Final = Weather(0.002, 0.001, 0.02, (0.04, 0.12), (0.1, 0.3), 0.5)
ROUGH: Final = Weather(0.08, 0.05, 0.3, (0.001, 0.05), (0.05, 1.5), 4.0)
WEATHERS: Final = (USUAL, USUAL, FAR, ROUGH)


@dataclass(slots=True)
class Network:
    """All ways between all nodes."""

    rng: random.Random
    weather: Weather = USUAL
    cut: set[tuple[str, str]] = field(default_factory=set)  # (source, target), one direction each
    unnoticed: set[tuple[str, str]] = field(default_factory=set)  # cut, and no end knows it yet
    sent: int = 0
    _arrivals: list[Arrival] = field(default_factory=list)
    _last_due_s: dict[tuple[str, str], float] = field(default_factory=dict)

    def send(self, source: str, target: str, boots: int, frame: list[object], at_s: float) -> None:
        """Sends a frame at `at_s`, if the way is open and the frame is not lost."""
        rng, weather, way = self.rng, self.weather, (source, target)
        chance = rng.random()
        if way in self.cut or chance < weather.lost:
            return
        takes_s = weather.takes_slow_s if chance > 1 - weather.slow else weather.takes_s
        due_s = at_s + rng.uniform(*takes_s)
        last_s = self._last_due_s.get(way, 0.0)
        if due_s <= last_s:
            due_s = last_s + 1e-6
        self._last_due_s[way] = due_s
        wire = _listed(frame)
        self._post(due_s, source, target, boots, wire)
        if rng.random() < weather.doubled:
            behind_s = rng.uniform(0, weather.double_behind_s)
            self._post(due_s + behind_s, source, target, boots, wire)

    def _post(self, due_s: float, source: str, target: str, boots: int, frame: list[Any]) -> None:
        self.sent += 1
        heapq.heappush(self._arrivals, Arrival(due_s, self.sent, source, target, boots, frame))

    def arrivals(self, now_s: float) -> Iterator[Arrival]:
        """What has arrived by now, in order."""
        while self._arrivals and self._arrivals[0].due_s <= now_s:
            arrival = heapq.heappop(self._arrivals)
            if (arrival.source, arrival.target) not in self.cut:
                yield arrival

    def postpone(self, arrival: Arrival, due_s: float) -> None:
        """The target is busy: its frame waits in front of it."""
        heapq.heappush(self._arrivals, arrival._replace(due_s=due_s))

    def seems_open(self, source: str, target: str) -> bool:
        """Whether the two ends believe that the way is open."""
        way = (source, target)
        return way not in self.cut or way in self.unnoticed

    def cut_off(self, ways: Iterable[tuple[str, str]], *, noticed: bool) -> None:
        """Cuts these ways. Unnoticed, connections stay open and what is sent is lost."""
        new = set(ways) - self.cut
        self.cut |= new
        if not noticed:
            self.unnoticed |= new
        for way in new:
            self._last_due_s.pop(way, None)

    def stall(self, source: str, target: str, until_s: float) -> None:
        """What is sent on this connection from now on arrives behind `until_s`, in its order."""
        way = (source, target)
        self._last_due_s[way] = max(until_s, self._last_due_s.get(way, 0.0))

    def reconnect(self, source: str, target: str) -> None:
        """A new connection: what the old one carries may arrive behind what this one will."""
        self._last_due_s.pop((source, target), None)

    def heal(self) -> None:
        """Opens every way, with new connections."""
        self.cut.clear()
        self.unnoticed.clear()
        self._last_due_s.clear()


def _listed(value: list[object]) -> list[Any]:
    """The frame as it arrives: lists, as msgpack makes them."""
    return [_listed(list(v)) if isinstance(v, list | tuple) else v for v in value]
