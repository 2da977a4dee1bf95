"""When a leader composes its next entry: what waits for what, and that no wait is long."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from heroctl_core.raft.grouping import ENOUGH, REST_S, RETURN_S, UNDER_WAY_S, Grouping, Hold
from heroctl_core.state.outcome import Outcome
from heroctl_core.testing.raft_bench import RaftBench

MOST = 512


def test_a_write_that_comes_alone_leaves_at_once() -> None:
    """Also the next one of the only caller, and any when nothing is under way."""
    grouping = Grouping(MOST)
    assert grouping.hold(5.0, 1, under_way=False) is None
    grouping.left()
    grouping.answered(5.1, 1, 0)
    assert grouping.hold(5.1, 1, under_way=False) is None


def test_what_comes_while_an_entry_is_under_way_waits_for_its_commit() -> None:
    """Until the commit, or a millisecond, or until there are enough for a whole entry."""
    grouping = Grouping(MOST)
    assert grouping.hold(5.0, 1, under_way=True) == Hold(5.0 + UNDER_WAY_S, MOST)
    assert grouping.hold(5.0, MOST, under_way=True) is None
    assert grouping.hold(5.0 + UNDER_WAY_S / 2, 7, under_way=False) is None
    assert grouping.hold(5.0 + UNDER_WAY_S, 7, under_way=True) is None
    grouping.left()
    late = 5.0 + UNDER_WAY_S
    assert grouping.hold(late, 1, under_way=True) == Hold(late + UNDER_WAY_S, MOST)


def test_callers_that_were_answered_may_come_back_first() -> None:
    """Those that waited meanwhile leave together with them."""
    grouping = Grouping(MOST)
    grouping.answered(5.0, 10, 6)
    assert grouping.hold(5.0, 6, under_way=False) == Hold(5.0 + RETURN_S, 16)
    assert grouping.hold(5.0, 15, under_way=False) == Hold(5.0 + RETURN_S, 16)
    assert grouping.hold(5.0, 16, under_way=False) is None


def test_nobody_waits_for_more_than_enough() -> None:
    """A disk that waits for the last of many callers does nothing."""
    grouping = Grouping(MOST)
    grouping.answered(5.0, 10 * ENOUGH, 0)
    assert grouping.hold(5.0, ENOUGH - 1, under_way=False) == Hold(5.0 + RETURN_S, ENOUGH)
    assert grouping.hold(5.0, ENOUGH, under_way=False) is None


def test_callers_that_do_not_come_back_are_left_alone_for_a_while() -> None:
    """A service whose callers write once in a while pays the wait once in a while."""
    grouping = Grouping(MOST)
    grouping.answered(5.0, 10, 6)
    late = 5.0 + RETURN_S
    assert grouping.hold(late, 6, under_way=False) is None
    grouping.left()
    grouping.answered(late + REST_S * 0.9, 10, 6)
    assert grouping.hold(late + REST_S * 0.9, 6, under_way=False) is None
    grouping.left()
    again = late + REST_S
    grouping.answered(again, 10, 6)
    assert grouping.hold(again, 6, under_way=False) == Hold(again + RETURN_S, 16)


def test_no_write_waits_longer_than_both_waits_together() -> None:
    """Commits come one behind the other, and whoever they answer does not come back."""
    grouping = Grouping(MOST)
    end_s = 5.0 + UNDER_WAY_S + RETURN_S
    for step in range(200):
        now = 5.0 + step * RETURN_S / 10
        grouping.answered(now, 5, 1)
        hold = grouping.hold(now, 1, under_way=True)
        assert (hold is None) == (now >= end_s), now
        if hold is None:
            break
        assert hold.until_s <= end_s
    assert hold is None


def test_a_leader_that_leads_again_begins_anew() -> None:
    """What waited in an earlier term is no reason to wait, or not to, in this one."""
    bench = RaftBench()
    leader = bench.cluster()
    before = leader.leadership._grouping
    bench.elect("b")
    bench.elect("a")
    assert leader.leading
    assert leader.leadership._grouping is not before


def test_writes_under_way_together_share_entries() -> None:
    """A cluster: three writes while the first is under way are one entry, when it is committed."""
    bench = RaftBench()
    leader = bench.cluster()
    before = leader.log.entries[-1][1]
    first = bench.write("a", 1)
    bench.turn("a")
    later: list[Future[Outcome]] = []
    for number in (2, 3, 4):
        later.append(bench.write("a", number))
        bench.turn("a")
    assert leader.log.entries[-1][1] == before + 1
    bench.deliver()
    assert first.done()
    bench.clock.advance(RETURN_S)
    bench.turn("a")
    bench.deliver()
    assert all(future.done() for future in later)
    assert leader.log.entries[-1][1] == before + 2


@pytest.mark.parametrize("letters", ["a", "abc"])
def test_a_leader_sleeps_no_longer_than_what_waits(letters: str) -> None:
    """A lone voter never waits; among several the next turn comes when the wait is over."""
    bench = RaftBench()
    leader = bench.cluster(letters)
    bench.write("a", 1)
    bench.turn("a")
    future = bench.write("a", 2)
    slept_s = leader.turn()
    assert slept_s == (0.0 if letters == "a" else pytest.approx(UNDER_WAY_S))
    bench.clock.advance(slept_s)
    entries = leader.log.entries[-1][1]
    bench.turn("a")
    assert future.done() if letters == "a" else leader.log.entries[-1][1] == entries + 1
