"""The checker of client histories: it finds what is wrong, and accepts what is right."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heroctl_core.testing.linearizability import Kind, Operation, State, is_linearizable

READ, PUT, CREATE, DELETE = Kind


def done(
    kind: Kind, value: State, started: float, ended: float, accepted: bool | None = True
) -> Operation:
    """One call that ended."""
    return Operation(kind, value, started, ended, accepted)


def unknown(kind: Kind, value: State, started: float) -> Operation:
    """One call whose outcome nobody knows."""
    return Operation(kind, value, started, math.inf, None)


RIGHT = {
    "nothing": [],
    "nothing is there at first": [done(READ, None, 1, 2)],
    "read what was written": [done(PUT, 1, 1, 2), done(READ, 1, 3, 4)],
    "either, while it is written": [
        done(PUT, 1, 1, 9),
        done(READ, None, 2, 3),
        done(READ, 1, 4, 5),
    ],
    "unknown took effect": [unknown(PUT, 1, 1), done(READ, 1, 5, 6)],
    "unknown took effect late": [
        unknown(PUT, 1, 1),
        done(READ, None, 2, 3),
        done(PUT, 2, 4, 5),
        done(READ, 1, 6, 7),
    ],
    "unknown never took effect": [unknown(PUT, 1, 1), done(READ, None, 5, 6)],
    "created after an unknown delete": [
        done(PUT, 1, 1, 2),
        unknown(DELETE, None, 3),
        done(CREATE, 2, 4, 5),
    ],
    "refused because of an unknown write": [unknown(PUT, 1, 1), done(CREATE, 2, 3, 4, False)],
}
WRONG = {
    "a stale read": [done(PUT, 1, 1, 2), done(PUT, 2, 3, 4), done(READ, 1, 5, 6)],
    "a lost write": [done(PUT, 1, 1, 2), done(READ, None, 3, 4)],
    "a value from nowhere": [done(READ, 1, 1, 2)],
    "a value from the future": [done(READ, 1, 1, 2), done(PUT, 1, 3, 4)],
    "an unknown value from the future": [done(READ, 1, 1, 2), unknown(PUT, 1, 3)],
    "back and forth": [
        done(PUT, 1, 1, 9),
        done(PUT, 2, 1, 9),
        done(READ, 1, 10, 11),
        done(READ, 2, 12, 13),
        done(READ, 1, 14, 15),
    ],
    "seen, then not": [done(PUT, 1, 1, 9), done(READ, 1, 2, 3), done(READ, None, 4, 5)],
    "an unknown write that took effect twice": [
        unknown(PUT, 1, 1),
        done(READ, 1, 2, 3),
        done(PUT, 2, 4, 5),
        done(READ, 1, 6, 7),
    ],
    "created twice": [done(CREATE, 1, 1, 2), done(CREATE, 2, 3, 4)],
    "refused for nothing": [done(CREATE, 1, 1, 2, False)],
    "deleted nothing": [done(DELETE, None, 1, 2)],
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_one_order_explains_is_right(case: str) -> None:
    """However odd it looks."""
    assert is_linearizable(RIGHT[case])


@pytest.mark.parametrize("case", WRONG)
def test_what_no_order_explains_is_wrong(case: str) -> None:
    """The checker must be able to fail."""
    assert not is_linearizable(WRONG[case])


def test_writes_go_in_the_order_of_their_revisions() -> None:
    """What two clients were told must not contradict what a third one reads."""
    one = Operation(PUT, 1, 1, 9, True, revision=2)
    two = Operation(PUT, 2, 1, 9, True, revision=1)
    assert is_linearizable([one, two, done(READ, 1, 10, 11)])
    assert not is_linearizable([one, two, done(READ, 2, 10, 11)])


def test_many_unknown_writes_take_no_time() -> None:
    """A partition leaves dozens of them."""
    history = [unknown(PUT, number, number) for number in range(60)]
    history += [unknown(DELETE, None, 60 + number) for number in range(60)]
    history += [done(READ, None, 200 + 2 * n, 201 + 2 * n) for n in range(60)]
    history += [done(PUT, 1000, 400, 401), done(READ, 1001, 402, 403)]
    assert not is_linearizable(history)


def by_trying_all(history: list[Operation]) -> bool:
    """The definition itself: any subset of the unknown calls, in any order."""
    certain = {at for at, call in enumerate(history) if call.ended < math.inf}
    for length in range(len(certain), len(history) + 1):
        for order in permutations(range(len(history)), length):
            if certain <= set(order) and explains([history[at] for at in order], history):
                return True
    return False


def explains(order: list[Operation], history: list[Operation]) -> bool:
    """Whether this order fits the results and the times."""
    state: State = None
    for at, call in enumerate(order):
        if any(later.ended < call.started for later in order[at + 1 :]):
            return False
        full = state is not None
        if call.kind is READ and call.value != state:
            return False
        if call.kind is CREATE and call.accepted not in (None, not full):
            return False
        if call.kind is DELETE and call.accepted not in (None, full):
            return False
        if call.kind is PUT or (call.kind is CREATE and not full):
            state = call.value
        elif call.kind is DELETE:
            state = None
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Up to six calls on a few moments; values of writes differ."""
    calls = []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(list(Kind)))
        started = draw(st.integers(0, 8))
        ended = started + draw(st.integers(1, 5)) + 0.5
        accepted: bool | None = True
        if kind is READ:
            value = draw(st.sampled_from([None, 0, 1, 2, 3]))
        else:
            value = None if kind is DELETE else number
            accepted = draw(st.sampled_from([True, True, None, kind is PUT]))
        calls.append(Operation(kind, value, started, ended if accepted is not None else math.inf,
                               accepted))  # fmt: skip
    return calls


@given(histories())
@settings(max_examples=300, deadline=None)
def test_the_search_agrees_with_the_definition(history: list[Operation]) -> None:
    """All its short cuts give the same answers as trying everything."""
    assert is_linearizable(history) == by_trying_all(history)
