"""The outcome of one write for the thread that waits: told once, whoever tells it."""

from __future__ import annotations

import threading
from concurrent.futures import InvalidStateError, ThreadPoolExecutor

import pytest

from heroctl_core.errors import OutcomeUnknown
from heroctl_core.raft.reply import Reply
from heroctl_core.state.outcome import Applied, Outcome, Rejected

LONG_S = 10.0


@pytest.mark.parametrize("outcome", [Applied(7), Rejected("conflict", "no", 7)])
def test_a_waiting_thread_gets_the_outcome(outcome: Outcome) -> None:
    """Whether it came before the wait or during it."""
    before, during = Reply(), Reply()
    before.set_result(outcome)
    assert before.done()
    assert before.result(0) == outcome
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(during.result, LONG_S)
        during.set_result(outcome)
        assert waits.result(LONG_S) == outcome


def test_a_failure_is_raised() -> None:
    """The very error that was set."""
    reply, error = Reply(), OutcomeUnknown("gone")
    reply.set_exception(error)
    with pytest.raises(OutcomeUnknown) as caught:
        reply.result(LONG_S)
    assert caught.value is error


def test_without_an_outcome_in_time_it_says_so() -> None:
    """And it can still end afterwards."""
    reply = Reply()
    with pytest.raises(TimeoutError, match=r"no outcome within 0\.001 s"):
        reply.result(0.001)
    assert not reply.done()
    reply.set_result(Applied(7))
    assert reply.result(0) == Applied(7)


def test_of_two_that_end_it_at_once_one_counts() -> None:
    """The other one is told; the waiting thread sees the first end. Shows the check; that the two
    are never inside it together would need a thread that stops there."""
    for _ in range(200):
        reply, start = Reply(), threading.Barrier(2)

        def end(number: int, reply: Reply = reply, start: threading.Barrier = start) -> bool:
            start.wait(LONG_S)
            try:
                reply.set_result(Applied(number))
            except InvalidStateError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            counted = list(pool.map(end, (1, 2)))
        assert sorted(counted) == [False, True]
        assert reply.result(0) == Applied(1 + counted.index(True))
