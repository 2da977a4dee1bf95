"""How old a stale read says it is: never younger than what it shows."""

from __future__ import annotations

import math

from heroctl_core.raft.freshness import Freshness
from heroctl_core.raft.status import stale_for_s
from heroctl_core.testing.raft_bench import RaftBench, append_entries


def test_nothing_was_ever_shown() -> None:
    """Before a leader was heard nobody knows how old the rows are."""
    assert Freshness().shown_s == -math.inf


def test_hearing_is_not_showing() -> None:
    """What a leader said counts from then, once everything that was committed then is applied."""
    fresh = Freshness()
    fresh.told(2, 10, 5.0)
    fresh.applied(9, 2)
    assert fresh.shown_s == -math.inf
    fresh.told(2, 20, 8.0)  # the leader goes on; what it said first is what is waited for
    fresh.applied(10, 2)
    assert fresh.shown_s == 5.0


def test_a_new_leader_does_not_know_yet() -> None:
    """Until an entry of its own term is applied, what it says may lag what was acknowledged."""
    fresh = Freshness()
    fresh.told(3, 10, 5.0)
    fresh.applied(11, 2)
    assert fresh.shown_s == -math.inf
    fresh.applied(12, 3)
    assert fresh.shown_s == 5.0


def test_who_comes_back_is_as_old_as_its_rows() -> None:
    """A node that was away hears the leader at once; its rows stay old until they are new."""
    bench = RaftBench()
    bench.cluster()
    written = bench.write("a", 1)
    bench.run(3.0, cut="c")
    away = bench.nodes["c"]
    assert written.done()
    assert stale_for_s(bench.nodes["a"], bench.clock.monotonic_s()) == 0.0
    last, commit_index = bench.indexes("a")[-1], bench.nodes["a"].core.commit_index
    frame = append_entries(bench.nodes["a"].core.term, previous=last, commit=commit_index, seq=99)
    bench.receive("c", "a", frame)  # what the next heartbeat would be
    assert away.elections.silent_s() == 0.0
    assert stale_for_s(away, bench.clock.monotonic_s()) >= 3.0
    bench.run(1.0)
    assert stale_for_s(away, bench.clock.monotonic_s()) < 0.3
