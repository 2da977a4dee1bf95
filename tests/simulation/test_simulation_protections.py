"""Each protection of the engine, taken away: some run must break a promise, or the simulator could
not see what it is for. What random seeds meet too rarely is staged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from heroctl_core.testing.invariants import Violation
from heroctl_core.testing.linearizability import Kind
from heroctl_core.testing.simulate import run_seeds
from heroctl_core.testing.simulated_host import Host
from heroctl_core.testing.simulated_network import CALM
from heroctl_core.testing.simulator import World
from heroctl_core.testing.weakened import WITHOUT, Parts

LONG_S = 15.0


@dataclass
class Stage:
    """A world without accidents, in which a test says what happens."""

    world: World

    @classmethod
    def of(cls, voters: int, parts: Parts) -> Stage:
        """A cluster with a leader, in step."""
        world = World(seed=7, voters=voters, parts=parts)
        world.calm, world.network.weather = True, CALM
        stage = cls(world)
        stage.until(lambda: stage.leader() is not None)
        stage.wait(1.0)
        return stage

    @property
    def hosts(self) -> list[Host]:
        """All machines."""
        return list(self.world.hosts.values())

    def leader(self, among: Iterable[Host] | None = None) -> Host | None:
        """Who leads, in the newest term."""
        up = [h for h in among or self.hosts if h.node is not None and h.node.leading]
        return max(up, key=lambda h: h.node.core.term if h.node else 0, default=None)

    def until(self, happened: Callable[[], bool]) -> None:
        """Lets the world go on until something happened."""
        late_s = self.world.now_s + LONG_S
        while not happened():
            assert self.world.now_s < late_s, "it did not happen"
            self.world.step()

    def wait(self, seconds: float) -> None:
        """Lets the world go on."""
        until_s = self.world.now_s + seconds
        self.until(lambda: self.world.now_s >= until_s)

    def write(self, host: Host, count: int) -> None:
        """Writes through one node, one entry of the log each."""
        for _ in range(count):
            assert host.node is not None
            self.world.clients.call(host.node, self.world.now_s, Kind.PUT)
            self.world.step()

    def only(self, *links: tuple[Host, Host]) -> None:
        """Only these links are open from now on, in both directions; others are cut unnoticed."""
        ways = {(a.member_id, b.member_id) for a in self.hosts for b in self.hosts if a != b}
        ways -= {(a.member_id, b.member_id) for a, b in links}
        ways -= {(b.member_id, a.member_id) for a, b in links}
        self.world.network.cut.clear()
        self.world.network.cut_off(ways, noticed=False)

    def open_way(self, source: Host, target: Host) -> None:
        """Opens one direction."""
        self.world.network.cut.discard((source.member_id, target.member_id))


def vote_twice(parts: Parts) -> None:
    """A voter loses its power right after it voted; who asks it next asks for the same term."""
    stage = Stage.of(3, parts)
    world = stage.world
    voter = stage.leader()
    assert voter is not None
    first, second = (host for host in stage.hosts if host != voter)
    stage.only((voter, first))
    world.crash(voter)
    world.boot(voter)
    while True:
        stage.until(lambda: _voted(voter) not in (None, voter.member_id) or stage.leader() == voter)
        world.crash(voter)
        if stage.leader() != voter and _voted_of(first) == first.member_id:
            break
        world.boot(voter)
    stage.until(lambda: stage.leader() == first)
    stage.only((voter, second))
    world.boot(voter)
    stage.until(lambda: stage.leader([voter, second]) is not None)


def _voted(host: Host) -> str | None:
    return host.node.log.vote if host.node is not None else None


def _voted_of(host: Host) -> str | None:
    return _voted(host)


def believe_an_old_answer(parts: Parts) -> None:
    """A follower's acknowledgement of a former leadership arrives when the same node leads again,
    and other entries stand at those indexes."""
    stage = Stage.of(5, parts)
    world = stage.world
    a = stage.leader()
    assert a is not None
    b, c, d, e = (host for host in stage.hosts if host != a)
    stage.only((a, b), (c, d), (d, e), (c, e))
    late_s = world.now_s + 12.0
    world.network.stall(b.member_id, a.member_id, late_s)
    stage.write(a, 20)  # a and b hold them; what b answers stays under way
    world.network.reconnect(b.member_id, a.member_id)
    stage.until(lambda: stage.leader([c, d, e]) is not None)
    stage.only((a, c), (a, d), (a, e), (c, d), (d, e), (c, e))
    stage.wait(1.0)  # a's own entries give way
    stage.only((a, c), (a, d), (a, e))
    stage.open_way(b, a)
    stage.until(lambda: stage.leader() == a)
    stage.until(lambda: world.now_s > late_s - 0.4)
    assert stage.leader() == a
    stage.only((a, d))
    stage.open_way(b, a)
    stage.write(a, 30)  # a and d hold them: no majority
    stage.wait(0.3)
    stage.only((b, c), (c, e), (b, e))
    stage.until(lambda: stage.leader([b, c, e]) is not None)


def read_from_a_deposed_leader(parts: Parts) -> None:
    """A leader whose clock goes slow is cut off, and believes in its majority for longer than the
    others wait for it: another one has acknowledged a write."""
    stage = Stage.of(3, parts)
    world = stage.world
    slow = stage.leader()
    assert slow is not None and slow.node is not None
    others = [host for host in stage.hosts if host != slow]
    slow.clock.change_rate(0.2)
    stage.only((others[0], others[1]))
    stage.until(lambda: stage.leader(others) is not None)
    stage.wait(0.2)
    successor = stage.leader(others)
    assert successor is not None
    stage.write(successor, 30)  # each key some times
    stage.wait(0.3)
    assert slow.node.leading
    for _ in range(30):
        world.clients.call(slow.node, world.now_s, Kind.READ)
    stage.wait(10.0)
    world.clients.check_end([])


STAGED = {
    "vote-sync": (vote_twice, "two leaders in term"),
    "stale-term": (believe_an_old_answer, "lacks committed entry"),
    "read-index": (read_from_a_deposed_leader, "not linearizable"),
}
MET_BY_SEEDS = {
    "guard": "committed",
    "sync": "committed",
    "request-ids": "took effect twice",
}


@pytest.mark.parametrize("protection", STAGED)
def test_a_staged_accident_is_survived_with_the_protection_only(protection: str) -> None:
    """The same story twice."""
    story, what = STAGED[protection]
    story(Parts())
    with pytest.raises(Violation, match=what):
        story(WITHOUT[protection])


@pytest.mark.parametrize("protection", MET_BY_SEEDS)
def test_seeds_fail_without_the_protection(protection: str) -> None:
    """Within a few of them, with what the protection is for."""
    violations = (run.violation or "" for run in run_seeds(range(20), protection))
    assert any(MET_BY_SEEDS[protection] in violation for violation in violations)


def test_every_protection_is_tried() -> None:
    """One that nobody takes away may be missing."""
    assert set(WITHOUT) == set(STAGED) | set(MET_BY_SEEDS)
