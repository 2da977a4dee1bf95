"""What a simulated network does to connections: cuts that the two ends notice or not, in one or
both directions, new connections, stalls, other weather.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .simulated_network import WEATHERS

if TYPE_CHECKING:
    from .simulator import World


@dataclass(slots=True)
class NetworkFaults:
    """The faults of the network of one world."""

    world: World = field(repr=False)

    def table(self) -> list[tuple[float, Callable[[], None]]]:
        """Chances in one hundredth of a second."""
        return [
            (0.003, self._isolate),
            (0.002, self._isolate_leader),
            (0.001, self._cut_one_way),
            (0.001, self._split),
            (0.002, self._notice),
            (0.012, self.heal),
            (0.003, self._reconnect),
            (0.001, self._stall_connection),
            (0.001, self._change_weather),
        ]

    def _isolate(self) -> None:
        self._cut_off(self.world.rng.choice(list(self.world.hosts)))

    def _isolate_leader(self) -> None:
        if leader := self.world.leader():
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

    def heal(self) -> None:
        self.world.network.heal()
        self.world.connect()
