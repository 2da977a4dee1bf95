"""Metric history: blocks, the window, the number of series, size, expiry."""

from __future__ import annotations

import random
from typing import Any

import pytest

from heroctl_core import limits
from heroctl_core.codec import unpack
from heroctl_core.state.commands import (
    AppendMetrics,
    Command,
    DeleteMetrics,
    Envelope,
    ExpireMetrics,
    encode,
)
from heroctl_core.state.machine import StateMachine
from heroctl_core.state.metrics import BLOCK_MS, samples_of
from heroctl_core.state.outcome import Applied, Outcome, Rejected, Stamp
from heroctl_core.state.points import append, decode, empty_tail

NOW_MS = 1_700_000_000_000 - 1_700_000_000_000 % BLOCK_MS + 1000  # a second into a block


class Store:
    def __init__(self) -> None:
        self.machine = StateMachine()
        self.sent = 0

    def send(self, command: Command) -> Outcome:
        self.sent += 1
        envelope = Envelope(self.sent.to_bytes(16), NOW_MS, "operator", "test", command)
        return self.machine.apply(encode(envelope), Stamp(self.sent, NOW_MS))

    def append(self, *values: tuple[int, Any], series: str = "cpu", **labels: str) -> Outcome:
        pairs = [list(pair) for pair in values]
        return self.send(AppendMetrics([[series, labels, pairs]]))

    def samples(self) -> list[tuple[int, float]]:
        rows = self.machine.view().items("metrics")
        return sorted(pair for key, row in rows for pair in samples_of(key, unpack(row)))


def test_samples_of_a_week_take_about_two_bytes() -> None:
    """Seven days of a slowly changing value, one a minute, are at most two bytes a sample."""
    store, source, level = Store(), random.Random(7), 37.0
    first_ms = NOW_MS - limits.METRIC_WINDOW_MS
    values = []
    for minute in range(7 * 24 * 60):
        level = min(100.0, max(0.0, level + source.choice([-0.4, -0.1, 0, 0, 0.1, 0.4])))
        values.append((first_ms + minute * 60_000, round(level, 1)))
    for at in range(0, len(values), 500):
        assert isinstance(store.append(*values[at : at + 500], node="node-1"), Applied)
    size = sum(len(row) for _, row in store.machine.view().items("metrics"))
    assert store.samples() == values
    assert size / len(values) < 2.0


def test_one_sample_at_a_time_gives_the_same_points_as_all_at_once() -> None:
    """Points do not depend on how samples were cut into commands."""
    values = [(NOW_MS + i * 1000, 20.5 + i % 3) for i in range(50)]
    one, all_at_once = Store(), Store()
    for pair in values:
        one.append(pair)
    all_at_once.append(*values)
    (left,) = [unpack(row) for _, row in one.machine.view().items("metrics")]
    (right,) = [unpack(row) for _, row in all_at_once.machine.view().items("metrics")]
    assert left["points"] == right["points"]
    assert (left["version"], right["version"]) == (50, 1)


def test_late_samples_are_sorted_in_and_the_newest_value_of_a_time_counts() -> None:
    """A sample before the last one is taken; a repeated time takes the new value."""
    store = Store()
    store.append((NOW_MS + 2000, 2), (NOW_MS + 3000, 3))
    store.append((NOW_MS + 1000, 1), (NOW_MS + 3000, 30))
    assert store.samples() == [(NOW_MS + 1000, 1.0), (NOW_MS + 2000, 2.0), (NOW_MS + 3000, 30.0)]


def test_the_last_time_again_takes_the_new_value() -> None:
    """A time is in a block once, also when it is the block's last one that is repeated."""
    store = Store()
    store.append((NOW_MS, 1))
    store.append((NOW_MS, 2))
    assert store.samples() == [(NOW_MS, 2.0)]


def test_more_decimals_come_later() -> None:
    """A block that began with integers takes decimals, and values that are no decimals."""
    store = Store()
    values = [(NOW_MS, 3), (NOW_MS + 1, 3.25), (NOW_MS + 2, 1 / 3), (NOW_MS + 3, 1e300)]
    for pair in values:
        store.append(pair)
    assert store.samples() == [(time_ms, float(value)) for time_ms, value in values]


def test_a_block_ends_after_six_hours() -> None:
    """The last millisecond of a block and the next are in two rows."""
    store = Store()
    end_ms = NOW_MS - NOW_MS % BLOCK_MS
    store.append((end_ms - 1, 1), (end_ms, 2))
    assert store.machine.count("metrics") == 2
    assert store.samples() == [(end_ms - 1, 1.0), (end_ms, 2.0)]


def test_labels_make_series() -> None:
    """Equal labels in any order are one series, other labels another."""
    store = Store()
    store.append((NOW_MS, 1), a="1", b="2")
    store.append((NOW_MS + 1, 1), b="2", a="1")
    store.append((NOW_MS, 1), a="1")
    assert store.machine.count("metrics") == 2


def test_expiry_drops_whole_blocks() -> None:
    """A block is dropped when its end has come, not a millisecond before."""
    store = Store()
    end_ms = NOW_MS - NOW_MS % BLOCK_MS
    store.append((end_ms - 1, 1), (end_ms, 2))
    store.send(ExpireMetrics(end_ms - 1))
    assert store.machine.count("metrics") == 2
    store.send(ExpireMetrics(end_ms))
    assert store.samples() == [(end_ms, 2.0)]


@pytest.mark.parametrize("before_ms", [-1, None, True, 1.5])
def test_expiry_needs_a_time(before_ms: Any) -> None:
    """Anything else is refused."""
    assert isinstance(Store().send(ExpireMetrics(before_ms)), Rejected)


def test_series_are_deleted_by_name_and_labels() -> None:
    """Those that have all the labels, with all their blocks; without labels all of the name."""
    store = Store()
    for series, node, disk in (("cpu", "a", "x"), ("cpu", "a", "y"), ("cpu", "b", "x")):
        store.append((NOW_MS - BLOCK_MS, 1), (NOW_MS, 2), series=series, node=node, disk=disk)
    store.append((NOW_MS, 7), series="cpu.user", node="a")
    assert store.send(DeleteMetrics("cpu", {"node": "c"})) == Rejected(
        "not_found", "metrics cpu with these labels does not exist", 4
    )
    assert isinstance(store.send(DeleteMetrics("cpu", {"node": "a", "disk": "y"})), Applied)
    assert store.machine.count("metrics") == 5
    assert isinstance(store.send(DeleteMetrics("cpu", {"disk": "x"})), Applied)
    assert store.samples() == [(NOW_MS, 7.0)]
    store.append((NOW_MS, 1), node="a")
    assert isinstance(store.send(DeleteMetrics("cpu", {})), Applied)
    gone = store.send(DeleteMetrics("cpu", {}))
    assert gone == Rejected("not_found", "metrics cpu does not exist", 8)
    assert store.samples() == [(NOW_MS, 7.0)]


@pytest.mark.parametrize(
    ("series", "labels"), [("a b", {}), (3, {}), ("cpu", None), ("cpu", {"": "x"})]
)
def test_a_deletion_names_a_series(series: Any, labels: Any) -> None:
    """Anything else is refused as invalid."""
    outcome = Store().send(DeleteMetrics(series, labels))
    assert isinstance(outcome, Rejected) and outcome.reason == "invalid"


def test_the_number_of_series_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new series above the limit is refused with both numbers; expiry and deletion make room."""
    monkeypatch.setattr(limits, "METRIC_SERIES", 2)
    store = Store()
    store.append((NOW_MS, 1), series="a")
    store.append((NOW_MS - BLOCK_MS, 1), series="b")
    refused = store.append((NOW_MS, 1), series="c")
    assert refused == Rejected("too_large", "3 metric series, the limit is 2", 2)
    assert isinstance(store.append((NOW_MS + 1, 1), series="a"), Applied)
    store.send(ExpireMetrics(NOW_MS - NOW_MS % BLOCK_MS))
    assert isinstance(store.append((NOW_MS, 1), series="c"), Applied)
    assert isinstance(store.append((NOW_MS, 1), series="d"), Rejected)
    store.send(DeleteMetrics("a", {}))
    assert isinstance(store.append((NOW_MS, 1), series="d"), Applied)


@pytest.mark.parametrize(
    ("time_ms", "taken"),
    [
        (NOW_MS - 1000 - limits.METRIC_WINDOW_MS, True),  # the block of the window's start
        (NOW_MS - 1001 - limits.METRIC_WINDOW_MS, False),
        (NOW_MS + BLOCK_MS, True),
        (NOW_MS + BLOCK_MS + 1, False),
    ],
)
def test_the_window_has_two_edges(time_ms: int, taken: bool) -> None:
    """Samples from before the seven days or from far ahead are refused, not kept for ever."""
    assert isinstance(Store().append((time_ms, 1)), Applied) == taken


@pytest.mark.parametrize(
    "samples",
    [
        None,
        [],
        [["cpu", {}]],
        [["cpu", {}, []]],
        [["cpu", {"a": 1}, [[NOW_MS, 1]]]],
        [["cpu load", {}, [[NOW_MS, 1]]]],
        [["", {}, [[NOW_MS, 1]]]],
        [["a/b", {}, [[NOW_MS, 1]]]],
        [["cpu", {}, [[NOW_MS]]]],
        [["cpu", {}, [[NOW_MS, True]]]],
        [["cpu", {}, [[NOW_MS, "1"]]]],
        [["cpu", {}, [[NOW_MS, float("inf")]]]],
        [["cpu", {}, [[float(NOW_MS), 1]]]],
        [["cpu", {"l": "x" * 5000}, [[NOW_MS, 1]]]],
    ],
)
def test_bad_samples_are_refused_together_with_the_good_ones(samples: Any) -> None:
    """One bad sample in a command and none is taken."""
    store = Store()
    good: list[Any] = ["good", {}, [[NOW_MS, 1]]]
    bad = [good, *samples] if samples else samples
    assert isinstance(store.send(AppendMetrics(bad)), Rejected)
    assert store.machine.count("metrics") == 0
    assert store.machine.revision == 0


def test_a_block_that_grows_beyond_a_row_is_refused_whole() -> None:
    """Noise at one sample a millisecond hits the row's limit; what was there stays."""
    store, source = Store(), random.Random(7)
    store.append((NOW_MS, 1))
    noise = [(NOW_MS + 1 + i, source.random()) for i in range(limits.ROW_BYTES // 9 + 1)]
    outcome = store.append(*noise)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "too_large"
    assert f"the limit is {limits.ROW_BYTES}" in outcome.message
    assert store.samples() == [(NOW_MS, 1.0)]


def test_points_are_these_bytes() -> None:
    """The encoding as documented, so that old archives stay readable."""
    encoded, tail = append(
        empty_tail(0, 1), [(0, 0.5), (10, 0.4), (20, 0.4), (25, 0.4), (30, 1 / 3)]
    )
    assert encoded.hex(" ") == "28 05 14 00 01 09 02 3f d5 55 55 55 55 55 55"
    assert decode(encoded, start_ms=0, scale=1)[-1] == (30, 1 / 3)
    assert (tail.count, tail.last_ms, tail.step_ms, tail.last_units) == (5, 30, 5, 4)


@pytest.mark.parametrize(
    "points", [b"\x80", b"\x01", b"\x02\x00", b"\x01\x80", b"\x02\x7f\xf0" + bytes(6)]
)
def test_damaged_points_are_refused(points: bytes) -> None:
    """Bytes that end within a sample, or hold infinity, are a ValueError."""
    with pytest.raises(ValueError, match="points"):
        decode(points, start_ms=0, scale=0)
