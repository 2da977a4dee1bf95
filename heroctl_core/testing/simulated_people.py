"""What people do to a simulated cluster: machines are added, replaced after a disk was lost, moved
to another address, removed; leadership is handed over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ..raft.membership import Candidate, Configuration

if TYPE_CHECKING:
    from .simulator import World

_WIPES: Final = 2
_MACHINES: Final = 9  # those that were removed count too


@dataclass(slots=True)
class People:
    """What they do, and how often."""

    world: World = field(repr=False)
    _wiped: int = 0
    _added: int = 0

    def table(self) -> list[tuple[float, Callable[[], None]]]:
        """Chances in one hundredth of a second."""
        return [
            (0.0015, self._join),
            (0.0007, self._wipe),
            (0.0004, self._move),
            (0.0008, self._remove),
            (0.001, self._hand_over),
        ]

    def _join(self) -> None:
        world = self.world
        removed = {m for node in world.nodes for m in node.configuration.removed}
        here = len(world.hosts.keys() - removed)
        if here < world.voters + 2 and len(world.hosts) < _MACHINES:
            self._add(f"x{self._added}")
            self._added += 1
            world.stats["joins"] += 1

    def _wipe(self) -> None:
        """A machine loses its disk and comes back under its old name, as a new member.

        Only while every voter that any machine knows still has its disk: a cluster that lost a
        majority for good cannot be helped here.
        """
        world = self.world
        known = [host.configuration for host in world.hosts.values()]
        voters = [configuration.voters for configuration in known if configuration.members]
        whole = all(len(v) > 2 and v <= world.hosts.keys() for v in voters)
        if not whole or self._wiped == _WIPES:
            return
        host = world.rng.choice(list(world.hosts.values()))
        if not any(host.member_id in configuration.members for configuration in known):
            return
        if host.node is not None:
            world.crash(host)
        del world.hosts[host.member_id]
        self._wiped += 1
        self._add(host.names.name)
        world.stats["replacements"] += 1

    def _add(self, name: str) -> None:
        names = Candidate(name, f"{name}:1")
        self.world.add_host(self.world.new_id(), names, Configuration({}))

    def _move(self) -> None:
        """A machine gets another address; others see it when they meet it again."""
        world = self.world
        host = world.rng.choice(list(world.hosts.values()))
        host.names = replace(host.names, address=f"{host.names.name}:{world.rng.randint(2, 9)}")
        world.stats["other addresses"] += 1
        world.connect()

    def _remove(self) -> None:
        if nodes := [node for node in self.world.nodes if len(node.configuration.members) > 1]:
            self.world.operators.remove(self.world.rng.choice(nodes), self.world.now_s)

    def _hand_over(self) -> None:
        if nodes := self.world.nodes:
            self.world.operators.hand_over(self.world.rng.choice(nodes), self.world.now_s)
