"""The times of a leader's entries: one wrong clock cannot move the state's time by much."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from heroctl_core import limits
from heroctl_core.raft.entry_time import EntryTime, StateTime
from heroctl_core.state.commands import Envelope, PutJob, encode
from heroctl_core.state.outcome import Applied, Outcome
from heroctl_core.testing.clock import ManualClock
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
        assert -2 <= time_ms - true_ms - SLACK_MS <= tenth * 100


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


def test_a_clock_that_is_set_back_slows_the_states_time() -> None:
    """It neither goes back nor stands still, and is the clock's again when that has caught up."""
    entries = EntryTime()
    assert entries.next_ms(HOUR_MS, 0.0, 0) == HOUR_MS
    assert entries.next_ms(5, 1.0, HOUR_MS) == HOUR_MS + 500
    assert entries.next_ms(1005, 2.0, HOUR_MS + 500) == HOUR_MS + 1000
    assert entries.next_ms(HOUR_MS + 1400, 3.0, HOUR_MS + 1000) == HOUR_MS + 1500
    assert entries.next_ms(HOUR_MS + 2400, 4.0, HOUR_MS + 1500) == HOUR_MS + 2400


@pytest.mark.parametrize("entries_per_s", [1, 700, 5000])
def test_time_goes_on_at_half_speed_however_many_entries_there_are(entries_per_s: int) -> None:
    """Parts of a step are not lost."""
    entries = EntryTime()
    time_ms = entries.next_ms(HOUR_MS, 0.0, 0)
    for number in range(1, 10 * entries_per_s + 1):
        time_ms = entries.next_ms(0, number / entries_per_s, time_ms)
    assert HOUR_MS + 4998 <= time_ms <= HOUR_MS + 5000


def request(bench: RaftBench, letter: str, number: int) -> Future[Outcome]:
    """A write through a node, stamped with what that node takes the time to be."""
    node = bench.nodes[letter]
    request_id = number.to_bytes(16)
    put = PutJob(f"job-{number % 7}", b"\x80", {})
    envelope = Envelope(request_id, node.time_ms(), "bench", "bench", put)
    return node.propose(encode(envelope), request_id)


def test_writes_go_on_while_the_state_is_ahead_of_every_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An hour ahead, by a leader that is gone, and more writes than there are ids kept: were time
    to stand still, the ids that are dropped would make every request as old as they are."""
    monkeypatch.setattr(limits, "REQUEST_IDS", 20)
    bench = RaftBench()
    bench.cluster()
    bench.clock.set_time_ms(bench.clock.time_ms() + HOUR_MS)
    bench.elect("b")
    request(bench, "b", 1)
    bench.run(0.05)
    bench.clock.set_time_ms(bench.clock.time_ms() - HOUR_MS)
    bench.elect("a")
    for number in range(2, 100):
        future = request(bench, "abc"[number % 3], number)
        bench.run(0.05)
        assert isinstance(future.result(0), Applied), number


class _AheadBy:
    """The clock of the bench, with another idea of what day it is."""

    def __init__(self, clock: ManualClock, ahead_ms: int) -> None:
        self._clock, self._ahead_ms = clock, ahead_ms

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def time_ms(self) -> int:
        return self._clock.time_ms() + self._ahead_ms


@pytest.mark.parametrize("ahead_ms", [24 * HOUR_MS, -24 * HOUR_MS])
def test_the_wrong_clock_of_one_node_expires_nobodys_requests(
    monkeypatch: pytest.MonkeyPatch, ahead_ms: int
) -> None:
    """It stamps its requests by the state's time as it sees it move, not by its clock."""
    monkeypatch.setattr(limits, "REQUEST_IDS", 20)
    bench = RaftBench()
    bench.cluster()
    bench.nodes["c"].clock = _AheadBy(bench.clock, ahead_ms)
    for number in range(1, 100):
        future = request(bench, "abc"[number % 3], number)
        bench.run(0.15)
        assert isinstance(future.result(0), Applied), number
    told_ms = bench.nodes["c"].time_ms()
    assert abs(told_ms - bench.clock.time_ms()) < 1000


def test_a_node_that_knows_no_better_trusts_its_clock() -> None:
    """Before an entry of the term was applied, and without a leader for an election timeout."""
    bench = RaftBench()
    bench.cluster()
    node = bench.nodes["c"]
    assert node.time_ms() == bench.clock.time_ms()
    request(bench, "a", 1)
    bench.run(0.15)
    bench.clock.set_time_ms(bench.clock.time_ms() + HOUR_MS)
    assert node.time_ms() < bench.clock.time_ms() - HOUR_MS + 1000
    bench.run(1.5, cut="c")
    assert node.time_ms() == bench.clock.time_ms()


def test_the_states_time_moves_between_entries() -> None:
    """With the steady clock; nothing is known of another term."""
    known = StateTime()
    assert known.now_ms(1, 0.0) is None
    known.applied(2, HOUR_MS, 100.0)
    assert known.now_ms(2, 100.0) == HOUR_MS
    assert known.now_ms(2, 160.5) == HOUR_MS + 60_500
    assert known.now_ms(3, 160.5) is None


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
