"""The history of changes: in order, whole revisions, bounded, read while it is written."""

from __future__ import annotations

import threading

import pytest

from heroctl_core import limits
from heroctl_core.state import events
from heroctl_core.state.commands import (
    AppendMetrics,
    Command,
    DeleteJob,
    Envelope,
    PutJob,
    PutKeyring,
    encode,
)
from heroctl_core.state.events import Event, History
from heroctl_core.state.machine import StateMachine
from heroctl_core.state.outcome import Applied, Outcome, Rejected, Stamp

ALL = 10**6


def event(revision: int, key: str = "x", row: bytes | None = b"row") -> Event:
    return (revision, "jobs", key, row)


def filled(count: int, *, of_each: int = 1) -> History:
    history = History()
    for revision in range(1, count + 1):
        history.extend([event(revision, f"job-{number}") for number in range(of_each)])
    return history


def apply(machine: StateMachine, command: Command, number: int) -> Outcome:
    request_id = number.to_bytes(16)
    return machine.apply(
        encode(Envelope(request_id, 1000, "operator", "test", command)), Stamp(number, 1000)
    )


@pytest.mark.parametrize("after", [0, 1, 999, 1000, 1001, 2499, 2500, 2501])
def test_a_reader_gets_what_came_after_its_revision(after: int) -> None:
    """All of it, or the first of it; across the borders of what is kept together."""
    history = filled(2500)
    assert [e[0] for e in history.after(after, ALL)] == list(range(after + 1, 2501))
    assert [e[0] for e in history.after(after, 7)] == list(range(after + 1, 2501))[:7]


def test_the_events_of_one_revision_stay_together() -> None:
    """However few are asked for; a cursor names a revision, so half of one would be lost."""
    history = filled(300, of_each=5)
    assert len(history) == 1500
    found = history.after(0, 7)
    assert [e[0] for e in found] == [1] * 5 + [2] * 5
    assert [e[0] for e in history.after(298, 1)] == [299] * 5


@pytest.mark.parametrize(("name", "limit"), [("WATCH_EVENTS", 3000), ("WATCH_BYTES", 3000 * 8)])
def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    """By number and by bytes; the floor says up to where, and nothing above it is missing."""
    monkeypatch.setattr(limits, name, limit)
    history = filled(10_000)
    assert len(history) <= 3000 + events._CHUNK_EVENTS
    assert history.floor >= 10_000 - 3000 - events._CHUNK_EVENTS
    assert [e[0] for e in history.after(history.floor, ALL)] == [*range(history.floor + 1, 10_001)]
    assert history.after(0, 1)[0][0] == history.floor + 1


def test_few_large_events_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not wait for a thousand others."""
    monkeypatch.setattr(limits, "WATCH_BYTES", 64_000)
    history = History()
    for revision in range(1, 200):
        history.extend([event(revision, "x", bytes(2000))])
    assert len(history) * 2000 <= 64_000 + 3 * 64_000 // 16
    assert [e[0] for e in history.after(history.floor, ALL)] == [*range(history.floor + 1, 200)]


def test_a_reader_beside_the_writer_misses_nothing() -> None:
    """Many events come while somebody reads them in small pieces."""
    history, last = History(), 20_000

    def write() -> None:
        for revision in range(1, last + 1):
            history.extend([event(revision, "a"), event(revision, "b")])

    writer = threading.Thread(target=write)
    writer.start()
    seen, found = 0, 0
    while seen < last:
        piece = history.after(seen, 100)
        revisions = [e[0] for e in piece]
        if piece:
            assert revisions[::2] == revisions[1::2] == list(range(seen + 1, revisions[-1] + 1))
            seen, found = revisions[-1], found + len(piece)
    writer.join()
    assert found == 2 * last


def test_the_machine_tells_its_changes() -> None:
    """Puts with the new row, deletions without one, nothing for what was refused or repeated."""
    machine = StateMachine()
    put = PutJob("web", b"\x80", {})
    assert isinstance(apply(machine, put, 1), Applied)
    assert isinstance(apply(machine, put, 1), Applied), "the same request"
    assert isinstance(apply(machine, PutJob("web", b"\x80", {}, 7), 2), Rejected)
    row = machine.get("jobs", "web")
    assert isinstance(apply(machine, DeleteJob("web"), 3), Applied)
    assert machine.history.after(0, ALL) == [(1, "jobs", "web", row), (2, "jobs", "web", None)]


def test_keyring_and_samples_are_not_told() -> None:
    """Nobody may see the one, and the others would push everything else out."""
    machine = StateMachine()
    assert isinstance(apply(machine, PutKeyring(b"wrapped"), 1), Applied)
    append = AppendMetrics([["cpu", {}, [[1000, 1.0]]]])
    assert isinstance(apply(machine, append, 2), Applied)
    assert machine.history.after(0, ALL) == []


def test_a_loaded_machine_knows_nothing_of_before() -> None:
    """The floor is its revision; the history is another object, so that watchers notice."""
    machine = StateMachine()
    apply(machine, PutJob("web", b"\x80", {}), 1)
    before = machine.history
    machine.load([], revision=40, epoch=2, time_ms=1000)
    assert machine.history is not before
    assert (machine.history.floor, len(machine.history)) == (40, 0)
