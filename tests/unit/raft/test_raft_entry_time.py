"""The times of a leader's entries: one wrong clock cannot move the state's time by much."""

from __future__ import annotations

from heroctl_core import limits
from heroctl_core.raft.entry_time import EntryTime
from heroctl_core.testing.raft_bench import RaftBench

HOUR_MS = 3600 * 1000
SLACK_MS = limits.LEADER_TIME_SLACK_MS


def test_a_clock_that_jumps_takes_the_state_along_by_the_slack_only() -> None:
    """However many entries follow, and however long the leader has led: 60 s, and then at most
    double speed."""
    entries = EntryTime()
    entries.next_ms(0, 0.0, 0)
    led_s = 10 * 3600
    before_ms = entries.next_ms(led_s * 1000, led_s, 0)
    assert before_ms == led_s * 1000
    for tenth in range(1, 1000):
        true_ms = before_ms + tenth * 100
        time_ms = entries.next_ms(true_ms + HOUR_MS, true_ms / 1000, entries.time_ms)
        assert -1 <= time_ms - true_ms - SLACK_MS <= tenth * 100


def test_a_machine_that_slept_finds_the_true_time() -> None:
    """Its steady clock stood still; the state's time runs at double speed until it is level."""
    entries = EntryTime()
    entries.next_ms(0, 0.0, 0)
    times = [entries.next_ms(HOUR_MS + s * 1000, s, 0) - s * 1000 for s in range(1, 3600)]
    assert times == sorted(times)
    assert times[0] < SLACK_MS + 2000
    assert times[-1] == HOUR_MS


def test_many_entries_within_a_millisecond_take_nothing_of_the_slack() -> None:
    """Parts of milliseconds are not lost, or the time would fall behind under load."""
    entries = EntryTime()
    for number in range(200_000):
        steady_s = number / 2600
        assert entries.next_ms(int(steady_s * 1000), steady_s, 0) >= int(steady_s * 1000) - 1
    assert entries.slack_ms >= SLACK_MS - 2


def test_a_clock_that_is_set_back_stops_the_states_time() -> None:
    """It never goes back, and goes on when the clock has caught up."""
    entries = EntryTime()
    assert entries.next_ms(HOUR_MS, 0.0, 0) == HOUR_MS
    assert entries.next_ms(5, 1.0, HOUR_MS) == HOUR_MS
    assert entries.next_ms(HOUR_MS + 2, 2.0, HOUR_MS) == HOUR_MS + 2


def test_a_leader_takes_its_clock_as_it_is_once_in_a_term() -> None:
    """After a long time without a leader nobody knows better; from then on it is bound."""
    bench = RaftBench()
    bench.cluster()
    times = []
    for number in range(1, 40):
        assert bench.write("a", number)
        bench.run(0.05)
        times.append(bench.nodes["a"].machine.time_ms)
        if number == 1:
            bench.clock.set_time_ms(bench.clock.time_ms() + HOUR_MS)
    assert 0 < times[-1] - times[0] - SLACK_MS < SLACK_MS
    bench.elect("b")
    bench.elect("a")
    assert bench.write("a", 40)
    bench.run(0.05)
    assert bench.nodes["a"].machine.time_ms >= times[0] + HOUR_MS
