"""What bounds a watch, and what becomes of who reaches a bound: cut between revisions, not held."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from watching import LONG_S, settled, taken

from heroctl_core import limits
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.errors import (
    NodeFault,
    Overloaded,
    SlowConsumer,
)


@pytest.fixture(autouse=True)
def closed(catalogue: Catalogue) -> Iterator[None]:
    yield
    catalogue.watches.close()


def test_a_watcher_that_does_not_take_is_cut_off(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets what waited, then the reason; the others get everything."""
    monkeypatch.setattr(limits, "WATCH_QUEUE", 5)
    with catalogue.watches.open("jobs/") as slow, catalogue.watches.open("jobs/") as quick:
        for number in range(8):
            catalogue.jobs.put(f"job-{number}", {})
            assert [c.name for c in taken(quick, 1)] == [f"job-{number}"]
        assert len(slow.take()) == 5
        with pytest.raises(SlowConsumer, match="5 changes wait"):
            slow.take()
        assert slow.cursor == "1.5"
        with catalogue.watches.open("jobs/", since=slow.cursor) as again:
            assert [c.name for c in taken(again, 3)] == ["job-5", "job-6", "job-7"]


def test_whoever_stops_inside_a_revision_misses_nothing(catalogue: Catalogue) -> None:
    """A transaction's changes come again from the cursor of any but its last one."""
    with catalogue.watches.open("jobs/") as watch:
        catalogue.transaction([catalogue.jobs.put_command(f"job-{n}", {}) for n in range(3)])
        assert watch.wait(LONG_S)
        [first] = watch.take(1)
        assert (first.revision, first.cursor, watch.cursor) == (1, "1.0", "1.0")
        second, last = watch.take()
        assert (second.cursor, last.cursor, watch.cursor) == ("1.0", "1.1", "1.1")
    with catalogue.watches.open("jobs/", since=first.cursor) as again:
        assert [c.name for c in taken(again, 3)] == ["job-0", "job-1", "job-2"]
    with catalogue.watches.open("jobs/job-1", since="1.0") as narrow:
        assert [c.cursor for c in taken(narrow, 1)] == ["1.1"]


def test_a_cut_falls_between_revisions(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on from the cursor gives what was cut, whole."""
    monkeypatch.setattr(limits, "WATCH_QUEUE", 4)
    with catalogue.watches.open("jobs/") as slow:
        for step in range(2):
            parts = [catalogue.jobs.put_command(f"job-{step}-{n}", {}) for n in range(3)]
            catalogue.transaction(parts)
        settled(catalogue)
        assert len(slow.take()) == 3
        with pytest.raises(SlowConsumer):
            slow.take()
        with catalogue.watches.open("jobs/", since=slow.cursor) as again:
            assert [c.name for c in taken(again, 3)] == ["job-1-0", "job-1-1", "job-1-2"]


def test_who_comes_back_late_is_not_slow(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was missed does not count against what may wait from now on."""
    monkeypatch.setattr(limits, "WATCH_QUEUE", 4)
    for number in range(20):
        catalogue.jobs.put(f"job-{number}", {})
    with catalogue.watches.open("jobs/", since="1.0") as watch:
        catalogue.jobs.put("live", {})
        settled(catalogue)
        assert len(watch.take()) == 21


def test_a_batch_is_bounded_in_bytes(catalogue: Catalogue) -> None:
    """At least one change, and none of them is left out."""
    with catalogue.watches.open("jobs/") as watch:
        for number in range(5):
            catalogue.jobs.put(f"job-{number}", {"filling": "x" * 1000})
        settled(catalogue)
        assert [len(watch.take(most_bytes=size)) for size in (1, 1500, 10**6)] == [1, 2, 2]


def test_a_defect_ends_watches_loudly(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for a thread that is gone."""
    with catalogue.watches.open("jobs/") as watch:

        def fail(event: object) -> None:
            raise LookupError("a defect of ours")

        monkeypatch.setattr(catalogue.watches, "_give", fail)
        catalogue.jobs.put("web", {})
        assert watch.wait(LONG_S)
        with pytest.raises(NodeFault, match="a defect of ours"):
            watch.take()
    assert "watching ended" in caplog.text
    with pytest.raises(NodeFault):
        catalogue.watches.open("jobs/")


def test_watchers_are_bounded(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is refused; one that leaves makes room."""
    monkeypatch.setattr(limits, "WATCHERS", 3)
    first, *_ = [catalogue.watches.open("jobs/") for _ in range(3)]
    with pytest.raises(Overloaded, match="3 watchers"):
        catalogue.watches.open("nodes/")
    first.close()
    first.close()
    catalogue.watches.open("nodes/")


def test_many_watchers_all_see_everything(catalogue: Catalogue) -> None:
    """While writers write and watchers come and go."""
    with ThreadPoolExecutor(8) as pool:
        watches = [catalogue.watches.open("jobs/own-1" if n % 2 else "jobs/") for n in range(20)]
        for name in range(8):
            pool.submit(
                lambda name=name: [catalogue.jobs.put(f"own-{name}", {"i": i}) for i in range(30)]
            )
        for number, watch in enumerate(watches):
            changes = taken(watch, 30 if number % 2 else 240)
            revisions = [c.revision for c in changes]
            assert revisions == sorted(set(revisions))
            watch.close()
