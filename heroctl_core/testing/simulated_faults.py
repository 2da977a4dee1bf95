"""What goes wrong in a simulated cluster, and what is repaired, as a table of chances.

Crashes that lose what was not synced – between turns, and before, inside and after each step of
one –, partitions in one or both directions that connections notice or not, new connections, other
weather, disks that are slow, stalled, full or broken, clocks that jump or go wrong, machines that
join, that come back empty under their old name, dumps and so snapshot installs.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..raft.membership import Candidate, Configuration
from ..raft.node import RaftNode
from .crash_disk import PowerCut
from .simulated_network import WEATHERS

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
    _table: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _wiped: int = 0

    def __post_init__(self) -> None:
        self._table = [
            (0.004, self._crash),
            (0.001, self._crash_leader),
            (0.025, self._boot),
            (0.003, self._isolate),
            (0.002, self._isolate_leader),
            (0.001, self._cut_one_way),
            (0.001, self._split),
            (0.002, self._notice),
            (0.012, self._heal),
            (0.003, self._reconnect),
            (0.001, self._stall_connection),
            (0.001, self._change_weather),
            (0.006, self._dump),
            (0.002, self._step_clock),
            (0.003, self._slow_disk),
            (0.004, self._fast_disks),
            (0.0005, self._stall),
            (0.0005, self._fill_disk),
            (0.003, self._empty_disks),
            (0.0005, self._change_rate),
            (0.0015, self._join),
            (0.0007, self._wipe),
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
        self._heal()
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

    def _leader(self) -> Host | None:
        leading = [h for h in self._up() if h.node is not None and h.node.leading]
        return self.world.rng.choice(leading) if leading else None

    def _crash(self) -> None:
        up = self._up()
        if up and len(self.world.hosts) - len(up) < len(self.world.hosts) // 2 + 1:
            self.world.crash(self.world.rng.choice(up))

    def _crash_leader(self) -> None:
        if leader := self._leader():
            self.world.crash(leader)

    def _boot(self) -> None:
        if down := [host for host in self.world.hosts.values() if host.node is None]:
            self.world.boot(self.world.rng.choice(down))

    def _isolate(self) -> None:
        self._cut_off(self.world.rng.choice(list(self.world.hosts)))

    def _isolate_leader(self) -> None:
        if leader := self._leader():
            self._cut_off(leader.member_id)

    def _cut_off(self, lonely: str) -> None:
        way = self.world.rng.choice(("both", "both", "into", "out"))
        others = [member_id for member_id in self.world.hosts if member_id != lonely]
        ways = [(lonely, other) for other in others if way in ("both", "out")]
        ways += [(other, lonely) for other in others if way in ("both", "into")]
        self._cut(ways, f"partitions {way}")

    def _cut_one_way(self) -> None:
        if len(self.world.hosts) > 1:
            source, target = self.world.rng.sample(list(self.world.hosts), 2)
            self._cut([(source, target)], "partitions one way")

    def _split(self) -> None:
        members = list(self.world.hosts)
        self.world.rng.shuffle(members)
        left, right = members[: len(members) // 2], members[len(members) // 2 :]
        self._cut([way for a in left for b in right for way in ((a, b), (b, a))], "splits")

    def _cut(self, ways: Iterable[tuple[str, str]], what: str) -> None:
        noticed = self.world.rng.random() < 0.6
        self.world.stats[what] += 1
        self.world.stats["cuts that nobody noticed at once"] += not noticed
        self.world.network.cut_off(ways, noticed=noticed)
        self.world.connect()

    def _notice(self) -> None:
        """The ends of connections see that nothing comes through."""
        self.world.network.unnoticed.clear()
        self.world.connect()

    def _reconnect(self) -> None:
        """A connection breaks and is made anew."""
        world = self.world
        if len(world.hosts) < 2:
            return
        source, target = world.rng.sample(list(world.hosts.values()), 2)
        if source.node is None or target.member_id not in source.node.connected:
            return
        source.node.set_connected(target.member_id, connected=False)
        if target.node is not None:
            target.node.peer_closed(source.member_id)
        world.network.reconnect(source.member_id, target.member_id)
        source.node.set_connected(target.member_id, connected=True)
        world.stats["reconnections"] += 1

    def _stall_connection(self) -> None:
        """Nothing arrives for a while, then everything; behind what a new connection carries."""
        world = self.world
        if len(world.hosts) > 1:
            source, target = world.rng.sample(list(world.hosts), 2)
            world.network.stall(source, target, world.now_s + world.rng.uniform(0.5, 5.0))
            world.stats["stalled connections"] += 1

    def _change_weather(self) -> None:
        self.world.network.weather = self.world.rng.choice(WEATHERS)

    def _heal(self) -> None:
        self.world.network.heal()
        self.world.connect()

    def _dump(self) -> None:
        if up := self._up():
            self.world.act(self.world.rng.choice(up), RaftNode.begin_dump)

    def _step_clock(self) -> None:
        """By less than REQUEST_AGE_MS, or every request of the others would be expired."""
        host = self.world.rng.choice(list(self.world.hosts.values()))
        host.clock.skew_ms = self.world.rng.randint(-250_000, 250_000)

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

    def _join(self) -> None:
        if len(self.world.hosts) < self.world.voters + 2:
            self._add(f"x{len(self.world.joiners)}")
            self.world.stats["joins"] += 1

    def _wipe(self) -> None:
        """A machine loses its disk and comes back under its old name, as a new member.

        Only while every voter that any node knows still has its disk: a cluster that lost a
        majority for good cannot be helped here.
        """
        world = self.world
        known = [node.configuration.voters for node in world.nodes]
        whole = known and all(len(v) > 2 and v <= world.hosts.keys() for v in known)
        if not whole or self._wiped == 2:
            return
        host = world.rng.choice(list(world.hosts.values()))
        names = {m: s.name for n in world.nodes for m, s in n.configuration.members.items()}
        if host.member_id not in names:
            return
        if host.node is not None:
            world.crash(host)
        del world.hosts[host.member_id]
        world.joiners.pop(host.member_id, None)
        self._wiped += 1
        self._add(names[host.member_id])
        world.stats["replacements"] += 1

    def _add(self, name: str) -> None:
        member_id = self.world.new_id()
        self.world.joiners[member_id] = Candidate(name, f"{name}:1")
        self.world.add_host(member_id, Configuration({}))
