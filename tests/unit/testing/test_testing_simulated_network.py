"""The simulated network: order on one connection, and what a new connection does to it."""

from __future__ import annotations

import random

from heroctl_core.testing.simulated_network import CALM, Network


def arriving(network: Network, until_s: float) -> list[object]:
    """What arrives until then, in order."""
    return [arrival.frame[0] for arrival in network.arrivals(until_s)]


def calm() -> Network:
    """Nothing is lost, doubled or slow."""
    return Network(random.Random(1), weather=CALM)


def test_frames_of_one_connection_keep_their_order() -> None:
    """Whatever each of them takes."""
    network = calm()
    for number in range(100):
        network.send("a", "b", 1, [number], number / 1000)
    assert arriving(network, 1.0) == list(range(100))


def test_a_stalled_connection_delivers_late_and_in_order() -> None:
    """Behind what a new connection carries."""
    network = calm()
    network.stall("a", "b", 5.0)
    network.send("a", "b", 1, ["old"], 0.0)
    network.send("a", "b", 1, ["older"], 0.0)
    network.reconnect("a", "b")
    network.send("a", "b", 1, ["new"], 1.0)
    assert arriving(network, 4.9) == ["new"]
    assert arriving(network, 5.1) == ["old", "older"]


def test_a_cut_is_of_one_direction_and_may_stay_unnoticed() -> None:
    """What is under way is lost with it; the ends learn of it later, or not at all."""
    network = calm()
    network.send("a", "b", 1, ["lost"], 0.0)
    network.cut_off([("a", "b")], noticed=False)
    network.send("a", "b", 1, ["lost"], 0.0)
    network.send("b", "a", 1, ["kept"], 0.0)
    assert arriving(network, 1.0) == ["kept"]
    assert network.seems_open("a", "b")
    network.unnoticed.clear()
    assert not network.seems_open("a", "b") and network.seems_open("b", "a")
    network.heal()
    assert network.seems_open("a", "b")
