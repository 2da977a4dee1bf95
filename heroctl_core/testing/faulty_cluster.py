"""Real nodes to which everything happens that happens to machines.

Nodes are processes; the network between them is testing/link_proxy.py. A fault is a value: what it
does, how it is taken back, for how long it stays. Clocks need gcc, full disks need root and a file
system of their own for each data folder; the rest needs neither.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..errors import HeroctlError, NodeFault
from .link_proxy import LinkProxy
from .local_cluster import LocalCluster
from .skewed_clock import SkewedClocks
from .small_disk import SmallDisk

PAUSE_S: Final = 5.0
_DISK_MB: Final = 256
_FULL_S: Final = 30.0
_BULK: Final = {"v": 0, "pad": "x" * 150_000}


class FaultyCluster(LocalCluster):
    """A cluster whose nodes reach each other only through `proxy`."""

    def __init__(
        self,
        folder: Path,
        *,
        size: int,
        election_timeout_ms: int,
        clocks: bool = False,
        small_disk: bool = False,
    ) -> None:
        """With `small_disk` the first node has a disk that can be filled."""
        self._paused: dict[str, list[tuple[float, float]]] = {}
        super().__init__(
            folder,
            size=size,
            name="faults",
            election_timeout_ms=election_timeout_ms,
            dialed_at=self._through_proxy,
        )
        self.clocks = SkewedClocks(self.folder / "clocks", list(self.nodes)) if clocks else None
        for name, node in self.nodes.items():
            if self.clocks is not None:
                node.env |= self.clocks.env(name)
        self.small = next(iter(self.nodes.values()))
        self.disk = SmallDisk(self.small.data_dir, _DISK_MB) if small_disk else None
        if self.disk is not None:
            self.disk.mount()

    def _through_proxy(self, raft: Mapping[str, str]) -> Mapping[str, str]:
        self.proxy = LinkProxy(raft, self._pids)
        return self.proxy.addresses

    def _pids(self) -> dict[int, str]:
        running = [n for n in self.nodes.values() if n.process is not None]
        return {n.process.pid: n.name for n in running if n.process is not None}

    def pause(self, name: str) -> None:
        """SIGSTOP: it stands still, and does not know it."""
        node = self.nodes[name]
        if node.process is not None and node.is_running:
            self._paused.setdefault(name, []).append((time.monotonic(), float("inf")))
            node.process.send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT, when it was paused."""
        node, pauses = self.nodes[name], self._paused.get(name, [])
        if pauses and pauses[-1][1] == float("inf"):
            pauses[-1] = (pauses[-1][0], time.monotonic())
            if node.process is not None and node.is_running:
                node.process.send_signal(signal.SIGCONT)

    def stood_still_s(self, name: str, began_s: float, ended_s: float) -> float:
        """How many of the seconds between two moments the node was paused."""
        spans = list(self._paused.get(name, ()))
        return sum(max(0.0, min(ended_s, e) - max(began_s, b)) for b, e in spans)

    def leader(self) -> str | None:
        """Who says that it leads, in the highest term; None when nobody answers so."""
        found: list[tuple[int, str]] = []
        for name, node in self.nodes.items():
            try:
                with node.client(timeout_s=0.5) as client:
                    status = client.get("/v1/status").body
            except HeroctlError:
                continue
            if status["role"] == "leader":
                found.append((status["term"], name))
        return max(found)[1] if found else None

    def ended(self) -> list[str]:
        """The nodes that ended although nobody stopped them."""
        nodes = self.nodes.values()
        return [n.name for n in nodes if n.process is not None and n.process.poll() is not None]

    def close(self) -> None:
        """Stops whatever still runs, and the network."""
        for name in self.nodes:
            self.resume(name)
        try:
            super().close()
        finally:
            self.proxy.close()
            if self.disk is not None:
                self.disk.unmount()

    def write_until_full(self) -> None:
        """Fills the small disk, and writes until its node says that it has no room."""
        assert self.disk is not None
        self.disk.fill()
        number, end_s = 0, time.monotonic() + _FULL_S
        while not self._lacks_room():
            name = list(self.nodes)[number % len(self.nodes)]
            number += 1
            try:
                with self.nodes[name].client(timeout_s=2.0) as client:
                    client.write("PUT", f"/v1/jobs/bulk-{number % 8}", {"spec": _BULK})
            except HeroctlError:
                pass  # the full node, or one that hears nothing of the others yet
            if time.monotonic() > end_s:
                raise NodeFault(f"{self.small.name} goes on although its disk is full")

    def _lacks_room(self) -> bool:
        with self.small.client(timeout_s=2.0) as client:
            return "no space" in str(client.get("/v1/status").body["warnings"])


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
    proxy, loses = choice.cluster.proxy, choice.rng.random() < 0.5

    def begin() -> None:
        for sources, targets in links:
            proxy.cut(sources, targets)

    def end() -> None:
        if loses:
            proxy.reset()
        proxy.heal()

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
    proxy, everybody = choice.cluster.proxy, [choice.leader, *choice.others]
    delay_s = choice.rng.choice((0.01, 0.05, 0.2))

    def begin() -> None:
        proxy.slow(nodes, everybody, delay_s)
        proxy.slow(everybody, nodes, delay_s)

    words = f"{delay_s * 1000:.0f} ms of delay from and to {' '.join(nodes)}"
    return Fault("delay", words, choice.hold_s(), begin, proxy.heal)


def _reset(choice: _Choice) -> Fault:
    proxy = choice.cluster.proxy
    return Fault("reset", "all connections break", 0.2, proxy.reset, lambda: None)


def _clock(choice: _Choice, victim: str) -> Fault:
    clocks = choice.cluster.clocks
    assert clocks is not None
    seconds = choice.rng.choice((-86400, -3600, -61, 61, 700, 3600, 86400))
    words = f"the clock of {victim} jumps by {seconds} s"

    def end() -> None:
        clocks.set(victim, 0.0)

    return Fault("clock", words, choice.hold_s(), lambda: clocks.set(victim, seconds), end)


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
}
CLOCK_KINDS: Final[dict[str, Callable[[_Choice], Fault]]] = {
    "clock of leader": lambda c: _clock(c, c.leader),
    "clock of one": lambda c: _clock(c, c.some(1)[0]),
}


DISK_KINDS: Final[dict[str, Callable[[_Choice], Fault]]] = {"full disk": _full_disk}


def fault(kind: str, cluster: FaultyCluster, rng: random.Random) -> Fault:
    """A fault of a kind, for the cluster as it is now."""
    names = list(cluster.nodes)
    leader = cluster.leader() or rng.choice(names)
    choice = _Choice(cluster, rng, leader, [name for name in names if name != leader])
    return (KINDS | CLOCK_KINDS | DISK_KINDS)[kind](choice)
