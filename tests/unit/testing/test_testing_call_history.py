"""The judge of a run with faults: it finds every kind of lie."""

from __future__ import annotations

from heroctl_core.testing.call_history import CallHistory, unknown
from heroctl_core.testing.linearizability import Kind, Operation


def put(value: int, at: float, revision: int) -> Operation:
    return Operation(Kind.PUT, value, at, at + 1, revision=revision)


def read(value: int | None, at: float) -> Operation:
    return Operation(Kind.READ, value, at, at + 1)


def test_a_true_history_has_no_violation() -> None:
    """Writes in the order of their revisions, reads that show the newest one."""
    history = CallHistory()
    for operation in (put(1, 0, 1), read(1, 2), put(2, 4, 2), read(2, 6)):
        history.saw("web", operation)
    history.wrote("node-1", 0.0, "kept-1", 3, once=True)
    assert history.judge(history.contended(), {"web": 2}) == 0
    assert history.missing("node-1", {"web", "kept-1"}) == 0
    assert history.violations == []


def test_a_stale_read_is_found() -> None:
    """A read that ignores a write which was acknowledged before it began."""
    history = CallHistory()
    for operation in (put(1, 0, 1), put(2, 2, 2), read(1, 4)):
        history.saw("web", operation)
    assert history.judge(["web"]) == 1
    assert history.violations == ["what clients saw of web is not linearizable"]
    assert [line.split("(")[0].strip() for line in history.unexplained().splitlines()] == [
        *("web", "Operation", "Operation", "Operation")
    ]


def test_a_lost_write_is_found() -> None:
    """The state at the end does not show what was acknowledged: the newest value of a contended
    key, or a key that was written once."""
    history = CallHistory()
    history.saw("web", put(1, 0, 1))
    history.saw("web", put(2, 2, 2))
    history.wrote("node-1", 0.0, "kept-1", 3, once=True)
    assert history.judge(["web"], {"web": 1}) == 1
    assert history.missing("node-2", {"web"}) == 1
    assert len(history.violations) == 2


def test_a_write_of_unknown_outcome_may_be_there_or_not() -> None:
    """Nobody was told anything, so both ends are true."""
    history = CallHistory()
    history.saw("web", put(1, 0, 1))
    history.saw("web", unknown(Kind.PUT, 2, 2.0))
    assert history.judge(["web"], {"web": 1}) == 0
    assert history.judge(["web"], {"web": 2}) == 0
    assert history.judge(["web"], {"web": 3}) == 1


def test_a_write_that_was_refused_and_is_there_is_found() -> None:
    """NotApplied means: certainly not."""
    history = CallHistory()
    history.refused.add("kept-1")
    assert history.missing("node-1", {"kept-1"}) == 0
    assert history.violations != []


def test_a_revision_that_was_told_for_two_writes_is_found() -> None:
    """Each write has its own; the same one again is the answer to a repeated request."""
    history = CallHistory()
    history.wrote("node-1", 0.0, "a", 5, once=True)
    history.wrote("node-2", 0.0, "a", 5, once=True)
    assert history.violations == []
    history.wrote("node-2", 0.0, "b", 5, once=True)
    assert history.violations == ["revision 5 was told for b and for a"]


def test_the_longest_silence_is_between_two_acknowledgements() -> None:
    """Also the time until the first one counts."""
    history = CallHistory(acknowledged_s=[12.0, 13.0, 18.0, 19.0])
    assert history.longest_silence_s(11.0) == 5.0
    assert history.longest_silence_s(4.0) == 8.0
