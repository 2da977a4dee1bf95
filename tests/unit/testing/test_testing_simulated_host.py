"""The clocks of a simulated machine: steady ones never go back, each goes at its own rate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from heroctl_core.testing.simulated_host import LOOK_S, VirtualClock


def clock_of(world: Any) -> VirtualClock:
    """A clock in a world that has only a time."""
    return VirtualClock(world, origin_s=1000.0)


def test_a_clock_goes_at_its_own_rate() -> None:
    """Both clocks of the machine do, and the steady one goes on where it was."""
    world = SimpleNamespace(now_s=0.0)
    clock = clock_of(world)
    wall_ms = clock.time_ms()
    clock.change_rate(0.5)
    world.now_s = 10.0
    assert clock.monotonic_s() == pytest.approx(1005.0, abs=2 * LOOK_S)
    clock.change_rate(2.0)
    world.now_s = 11.0
    assert clock.monotonic_s() == pytest.approx(1007.0, abs=5 * LOOK_S)
    assert clock.time_ms() - wall_ms == pytest.approx(7000, abs=5)


def test_looks_take_time_and_keep_the_machine_busy() -> None:
    """Work in a turn shows on the clock of its machine, and nowhere else."""
    world = SimpleNamespace(now_s=1.0)
    clock = clock_of(world)
    before_s = clock.monotonic_s()
    assert clock.monotonic_s() > before_s
    clock.lag_s += 0.5
    clock.end_turn()
    assert clock.busy and world.now_s == 1.0
    world.now_s = 1.6
    assert not clock.busy


def test_a_step_of_the_wall_clock_leaves_the_steady_one() -> None:
    """As an operator or NTP does it."""
    clock = clock_of(SimpleNamespace(now_s=5.0))
    steady_s, wall_ms = clock.monotonic_s(), clock.time_ms()
    clock.skew_ms = -60_000
    assert clock.time_ms() < wall_ms - 59_000
    assert clock.monotonic_s() > steady_s
