"""The orderly end of a node: another one leads, what waits is written, and patience ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from heroctl_core.raft.hand_over import hand_over
from heroctl_core.raft.node import RaftNode
from heroctl_core.state.outcome import Applied
from heroctl_core.testing.raft_bench import RaftBench


def call(function: Callable[[], bool]) -> Future[bool]:
    """The engine's thread, which is this one."""
    future: Future[bool] = Future()
    future.set_result(function())
    return future


def end(bench: RaftBench, node: RaftNode, monkeypatch: pytest.MonkeyPatch) -> float:
    """Hands over while everybody works; how long it took by the bench's clock."""
    began_s = bench.clock.monotonic_s()
    monkeypatch.setattr(time, "sleep", lambda _: bench.run(0.01))
    monkeypatch.setattr(node.orders, "_wake", lambda: bench.run(0.3))
    hand_over(node, call)
    return bench.clock.monotonic_s() - began_s


def test_a_leader_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to wait for an election timeout."""
    bench = RaftBench()
    leader = bench.cluster()
    end(bench, leader, monkeypatch)
    assert not leader.leading
    assert any(node.leading for node in bench.nodes.values())


def test_what_waits_at_a_follower_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader gets it first."""
    bench = RaftBench()
    bench.cluster()
    written = bench.write("b", 1)
    end(bench, bench.nodes["b"], monkeypatch)
    assert written.result(0) == Applied(1)


def test_a_stop_waits_two_election_timeouts_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody leads, so what waits here will not be written."""
    bench = RaftBench()
    bench.cluster()
    written = bench.write("b", 1)
    for letter in "ac":
        bench.stop(letter)
    node = bench.nodes["b"]
    monkeypatch.setattr(node.proposals, "fail_unsent", lambda _: None)
    monkeypatch.setattr(node.proposals, "fail_sent", lambda _: None)
    assert 2.0 <= end(bench, node, monkeypatch) < 2.1
    assert not written.done()


def test_a_lone_voter_has_nobody_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded node ends at once."""
    bench = RaftBench()
    leader = bench.cluster("a")
    assert end(bench, leader, monkeypatch) == 0.0
    assert leader.leading
