"""What goes wrong in a simulated cluster, and what is repaired, as a table of chances.

Here: crashes that lose what was not synced – between turns, and before, inside and after each step
of one –, disks that are slow, stalled, full or broken, clocks that jump or go wrong, and dumps, so
that there are snapshot installs. The network's faults are in simulated_cuts.py, what people do in
simulated_people.py.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .. import limits
from ..raft.node import RaftNode
from .crash_disk import PowerCut
from .simulated_cuts import NetworkFaults
from .simulated_people import People

if TYPE_CHECKING:
    from .simulated_host import Host
    from .simulator import World

_CUT_AT_DISK = 0.002  # chance of a power cut at one step of a disk
_CUT_AT_SEND = 0.0002
_FAILS_AT_SYNC = 0.0001


@dataclass(slots=True)
class Faults:
    """The faults of one world. All chances are those of one hundredth of a second."""

    world: World = field(repr=False)
    in_turn: bool = False  # a node is doing something that a power cut may interrupt
    network: NetworkFaults = field(init=False)
    people: People = field(init=False)
    _table: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network, self.people = NetworkFaults(self.world), People(self.world)
        self._table = [
            (0.004, self._crash),
            (0.001, self._crash_leader),
            (0.001, self._restart),
            (0.025, self._boot),
            (0.006, self._dump),
            (0.002, self._step_clock),
            (0.003, self._slow_disk),
            (0.004, self._fast_disks),
            (0.0005, self._stall),
            (0.0005, self._fill_disk),
            (0.003, self._empty_disks),
            (0.0005, self._change_rate),
            *self.network.table(),
            *self.people.table(),
        ]

    def disturb(self) -> None:
        """Maybe one of the table."""
        chance = self.world.rng.random()
        for share, fault in self._table:
            if chance < share:
                fault()
                return
            chance -= share

    def end(self) -> None:
        """Repairs everything that can be."""
        world = self.world
        self.network.heal()
        self._fast_disks()
        self._empty_disks()
        for host in world.hosts.values():
            if host.node is None:
                world.boot(host)

    # -- inside a turn

    def disk_step(self, host: Host, what: str) -> None:
        """Called at each step of a host's disk."""
        world = self.world
        if what in ("installed", "compacted", "truncate"):
            world.stats[what] += 1
        if what == "sync_data" and host.slow_s:
            host.clock.lag_s += world.rng.uniform(0, host.slow_s)
        self._maybe_cut(_CUT_AT_DISK)
        if host.dumps.full and what in ("write", "create"):
            raise OSError(errno.ENOSPC, "no space left on device")
        if what == "sync_data" and not world.calm and world.rng.random() < _FAILS_AT_SYNC:
            raise OSError(errno.EIO, "input/output error")

    def before_send(self) -> None:
        """Called before each frame that a node sends."""
        if self.in_turn:
            self._maybe_cut(_CUT_AT_SEND)

    def _maybe_cut(self, chance: float) -> None:
        if not self.world.calm and self.world.rng.random() < chance:
            self.world.stats["crashes inside a turn"] += 1
            raise PowerCut

    # -- between turns

    def _up(self) -> list[Host]:
        return [host for host in self.world.hosts.values() if host.node is not None]

    def _crash(self) -> None:
        up = self._up()
        if up and len(self.world.hosts) - len(up) < len(self.world.hosts) // 2 + 1:
            self.world.crash(self.world.rng.choice(up))

    def _crash_leader(self) -> None:
        if leader := self.world.leader():
            self.world.crash(leader)

    def _restart(self) -> None:
        """An orderly stop, as of a service that is upgraded."""
        if up := self._up():
            host = self.world.rng.choice(up)
            self.world.act(host, lambda node: node.log.sync_commit())
            if host.node is not None:
                self.world.crash(host)

    def _boot(self) -> None:
        if down := [host for host in self.world.hosts.values() if host.node is None]:
            self.world.boot(self.world.rng.choice(down))

    def _dump(self) -> None:
        if up := self._up():
            self.world.act(self.world.rng.choice(up), RaftNode.begin_dump)

    def _step_clock(self) -> None:
        """Mostly by less than REQUEST_AGE_MS: else the requests of all others are expired."""
        rng = self.world.rng
        most_ms = rng.choices((250_000, 2 * limits.REQUEST_AGE_MS), (50, 1))[0]
        host = rng.choice(list(self.world.hosts.values()))
        host.clock.skew_ms = rng.randint(-most_ms, most_ms)

    def _slow_disk(self) -> None:
        rng = self.world.rng
        rng.choice(list(self.world.hosts.values())).slow_s = rng.choice((0.02, 0.1, 0.4))

    def _fast_disks(self) -> None:
        for host in self.world.hosts.values():
            host.slow_s = 0.0

    def _change_rate(self) -> None:
        host = self.world.rng.choice(list(self.world.hosts.values()))
        host.clock.change_rate(self.world.rng.uniform(0.9, 1.1))
        self.world.stats["clocks at another rate"] += 1

    def _fill_disk(self) -> None:
        self.world.rng.choice(list(self.world.hosts.values())).dumps.full = True

    def _empty_disks(self) -> None:
        for host in self.world.hosts.values():
            host.dumps.full = False

    def _stall(self) -> None:
        """One sync that takes longer than an election."""
        if up := self._up():
            host = self.world.rng.choice(up)
            host.clock.lag_s += self.world.rng.uniform(0.5, 3.0)
            host.clock.end_turn()
            self.world.stats["stalls"] += 1
