"""What other threads want to have run on the engine's thread; and what a fork is told."""

from __future__ import annotations

import os

import pytest

from heroctl_core.errors import NodeFault
from heroctl_core.raft import forks
from heroctl_core.raft.calls import Calls


def test_a_call_gets_what_its_function_gives_or_raises() -> None:
    """In order, and only when the engine comes to it."""
    woken: list[None] = []
    calls = Calls(lambda: woken.append(None))
    given, raised = calls.submit(lambda: 7), calls.submit(lambda: 1 // 0)
    assert len(woken) == 2 and not given.done()
    calls.run()
    assert given.result(0) == 7
    assert isinstance(raised.exception(0), ZeroDivisionError)


def test_a_call_that_was_given_up_is_not_run() -> None:
    """Whoever waited was told that nothing was changed."""
    calls, ran = Calls(lambda: None), list[int]()
    given_up = calls.submit(lambda: ran.append(1))
    assert given_up.cancel()
    calls.run()
    assert ran == []


def test_every_call_ends_with_the_engine() -> None:
    """Also one that comes later: nothing runs any more."""
    calls = Calls(lambda: None)
    waits = calls.submit(lambda: 7)
    calls.end(lambda: NodeFault("stopped"))
    late = calls.submit(lambda: 7)
    for call in (waits, late):
        with pytest.raises(NodeFault, match="stopped"):
            call.result(0)


def test_every_engine_is_told_of_a_fork() -> None:
    """In the child, before anything else runs there; the parent goes on."""

    told: list[int] = []

    class Engine:
        def leave_to_parent(self) -> None:
            told.append(os.getpid())

    engine = Engine()
    forks.watch(engine)
    child = os.fork()
    if child == 0:
        os._exit(7 if told == [os.getpid()] else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert told == []
