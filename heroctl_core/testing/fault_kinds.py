"""What can go wrong with a cluster of real nodes.

Each fault is a value: what it does, how it is taken back, and for how long it stays.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from .faulty_cluster import FaultyCluster

PAUSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong for `hold_s` seconds; `end` takes it back."""

    kind: str
    words: str
    hold_s: float
    begin: Callable[[], None]
    end: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a fault is made from: who leads (or anybody, when nobody does), and the others."""

    cluster: FaultyCluster
    rng: random.Random
    leader: str
    others: list[str] = field(default_factory=list)

    def hold_s(self, least: float = 1.0, most: float = 4.0) -> float:
        return self.rng.uniform(least, most)

    def some(self, count: int) -> list[str]:
        return sorted(self.rng.sample([self.leader, *self.others], count))

    @property
    def most(self) -> int:
        """How many nodes are a majority."""
        return (len(self.others) + 1) // 2 + 1


def _killed(choice: _Choice, victims: list[str]) -> Fault:
    cluster, words = choice.cluster, f"SIGKILL {' '.join(victims)}"

    def end() -> None:
        cluster.start(*victims)

    return Fault("kill", words, choice.hold_s(0.1, 3.0), lambda: cluster.kill(*victims), end)


def _paused(choice: _Choice, victim: str) -> Fault:
    cluster = choice.cluster
    return Fault(
        "pause",
        f"SIGSTOP {victim}",
        PAUSE_S,
        lambda: cluster.pause(victim),
        lambda: cluster.resume(victim),
    )


def _cut(choice: _Choice, kind: str, words: str, links: list[tuple[list[str], list[str]]]) -> Fault:
    network = choice.cluster.network
    loses = network.breaks and choice.rng.random() < 0.5

    def begin() -> None:
        for sources, targets in links:
            network.cut(sources, targets)

    def end() -> None:
        if loses:
            network.reset()
        network.heal()

    words += "; what was under way is lost" if loses else ""
    return Fault(kind, words, choice.hold_s(1.0, 5.0), begin, end)


def _partitioned(choice: _Choice, minority: list[str]) -> Fault:
    rest = [n for n in (choice.leader, *choice.others) if n not in minority]
    words = f"partition {' '.join(minority)} | {' '.join(rest)}"
    return _cut(choice, "partition", words, [(minority, rest), (rest, minority)])


def _one_way(choice: _Choice, sources: list[str], targets: list[str]) -> Fault:
    targets = [name for name in targets if name not in sources]
    words = f"one-way partition {' '.join(sources)} -/-> {' '.join(targets)}"
    return _cut(choice, "one-way", words, [(sources, targets)])


def _bridge(choice: _Choice) -> Fault:
    """Two nodes do not reach each other; both reach the others."""
    a, b = [choice.leader], choice.rng.sample(choice.others, 1)
    words = f"no way between {a[0]} and {b[0]}"
    return _cut(choice, "bridge", words, [(a, b), (b, a)])


def _slow(choice: _Choice, nodes: list[str]) -> Fault:
    network, everybody = choice.cluster.network, [choice.leader, *choice.others]
    delay_s = choice.rng.choice((0.01, 0.05, 0.2))

    def begin() -> None:
        network.slow(nodes, everybody, delay_s)
        network.slow(everybody, nodes, delay_s)

    words = f"{delay_s * 1000:.0f} ms of delay from and to {' '.join(nodes)}"
    return Fault("delay", words, choice.hold_s(), begin, network.heal)


def _reset(choice: _Choice) -> Fault:
    network = choice.cluster.network
    return Fault("reset", "all connections break", 0.2, network.reset, lambda: None)


def _clock(choice: _Choice, victim: str) -> Fault:
    clocks = choice.cluster.clocks
    assert clocks is not None
    seconds = choice.rng.choice((-86400, -3600, -61, 61, 700, 3600, 86400))
    words = f"the clock of {victim} jumps by {seconds} s"

    def end() -> None:
        clocks.set(victim, 0.0)

    return Fault("clock", words, choice.hold_s(), lambda: clocks.set(victim, seconds), end)


def _lost_disk(choice: _Choice, victim: str) -> Fault:
    cluster, words = choice.cluster, f"{victim} loses its disk"

    def end() -> None:
        cluster.start(victim)

    return Fault(
        "lost disk", words, choice.hold_s(0.1, 2.0), lambda: cluster.lose_disk(victim), end
    )


def _full_disk(choice: _Choice) -> Fault:
    cluster = choice.cluster
    assert cluster.disk is not None
    words = f"full disk of {cluster.small.name}"
    return Fault("full disk", words, choice.hold_s(), cluster.write_until_full, cluster.disk.free)


KINDS: Final[dict[str, Callable[[_Choice], Fault]]] = {
    "kill leader": lambda c: _killed(c, [c.leader]),
    "kill one": lambda c: _killed(c, c.some(1)),
    "kill most": lambda c: _killed(c, c.some(c.most)),
    "kill all": lambda c: _killed(c, [c.leader, *c.others]),
    "pause leader": lambda c: _paused(c, c.leader),
    "pause one": lambda c: _paused(c, c.some(1)[0]),
    "isolate leader": lambda c: _partitioned(c, [c.leader]),
    "partition": lambda c: _partitioned(c, c.some(len(c.others) // 2)),
    "leader unheard": lambda c: _one_way(c, [c.leader], c.others),
    "leader deaf": lambda c: _one_way(c, c.others, [c.leader]),
    "one-way": lambda c: _one_way(c, c.some(1), c.others),
    "bridge": _bridge,
    "slow leader": lambda c: _slow(c, [c.leader]),
    "slow network": lambda c: _slow(c, [c.leader, *c.others]),
    "reset": _reset,
    "lost disk": lambda c: _lost_disk(c, c.some(1)[0]),
}
CLOCK_KINDS: Final[dict[str, Callable[[_Choice], Fault]]] = {
    "clock of leader": lambda c: _clock(c, c.leader),
    "clock of one": lambda c: _clock(c, c.some(1)[0]),
}


DISK_KINDS: Final[dict[str, Callable[[_Choice], Fault]]] = {"full disk": _full_disk}
# A disk fills by what its node is sent, and is made good again by the others.
ALONE: Final = {"full disk", "lost disk"}


def fault(kind: str, cluster: FaultyCluster, rng: random.Random) -> Fault:
    """A fault of a kind, for the cluster as it is now."""
    names = list(cluster.nodes)
    leader = cluster.leader() or rng.choice(names)
    choice = _Choice(cluster, rng, leader, [name for name in names if name != leader])
    return (KINDS | CLOCK_KINDS | DISK_KINDS)[kind](choice)
