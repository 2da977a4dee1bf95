"""The guard's table, case by case with its edges, and that no follower under it loses anything."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heroctl_core import limits
from heroctl_core.raft.guard import Answer, AppendEntries, Entry, Facts, Verdict, judge, malformed

# The follower of the table: first index 10, last 20, committed up to 15. Terms: 10..12 are of
# term 1, 13..17 of term 2, 18..20 of term 3; its own term is 4.
FIRST, LAST, COMMITTED, TERM = 10, 20, 15, 4


def term_at(index: int) -> int:
    """The terms of the follower's log; asking for another index is a mistake of the guard."""
    assert FIRST <= index <= LAST, f"the guard asked for index {index}"
    return 1 if index <= 12 else 2 if index <= 17 else 3


FACTS = Facts(TERM, False, None, FIRST, LAST, COMMITTED, term_at)


def held(first: int, last: int) -> tuple[Entry, ...]:
    """Entries as the follower has them."""
    return tuple((b"\x00", index, term_at(index)) for index in range(first, last + 1))


def new(first: int, last: int, term: int = 4) -> tuple[Entry, ...]:
    """Entries that the follower lacks."""
    return tuple((b"\x00", index, term) for index in range(first, last + 1))


def message(
    previous: int | None,
    entries: tuple[Entry, ...] = (),
    *,
    commit: int = 12,
    term: int = TERM,
    prev_term: int | None = None,
) -> AppendEntries:
    """A leader's message; `prev_term` is what the follower has unless said."""
    if prev_term is None:
        inside = previous is not None and FIRST <= previous <= LAST
        prev_term = term_at(previous) if inside and previous is not None else 1
    return AppendEntries(term, previous, prev_term, entries, commit)


def told(commit: int, next_index: int, *, success: bool) -> Verdict:
    """H(commit) and the guard's own answer."""
    return Verdict(AppendEntries(TERM, None, 0, (), commit), Answer(next_index, success))


def handed(previous: int, entries: tuple[Entry, ...], commit: int) -> Verdict:
    """A message for pysyncobj, which answers itself."""
    return Verdict(AppendEntries(TERM, previous, term_at(previous), entries, commit))


CASES: dict[str, tuple[AppendEntries, Verdict]] = {
    # 1: an older term
    "1 older term": (message(20, term=3, prev_term=3), Verdict(stale=True)),
    "1 much older, and other entries": (message(12, new(13, 14, 1), term=1), Verdict(stale=True)),
    # 3: nothing in it is above the commit index
    "3 ends below": (message(11, held(12, 14)), told(15, 16, success=True)),
    "3 ends at": (message(11, held(12, 15)), told(15, 16, success=True)),
    "3 empty at": (message(15), told(15, 16, success=True)),
    "3 all before the log": (message(3, new(4, 9, 1)), told(15, 16, success=True)),
    "3 the leader's commit index is higher": (message(14, commit=99), told(15, 16, success=True)),
    # 4: begins below the commit index and goes beyond
    "4 all held": (message(14, held(15, 17)), told(12, 18, success=True)),
    "4 more than held": (message(12, held(13, 20) + new(21, 22)), handed(20, new(21, 22), 12)),
    "4 begins before the log": (
        message(5, (*new(6, 9, 1), *held(10, 20), *new(21, 21))),
        handed(20, new(21, 21), 12),
    ),
    "4 differs above": (message(14, held(15, 16) + new(17, 18)), handed(16, new(17, 18), 12)),
    # 5: there is a gap
    "5 a gap of one": (message(21, prev_term=3), told(15, 21, success=False)),
    "5 a wide gap": (message(90, new(91, 92), prev_term=4), told(15, 21, success=False)),
    # 6: the entry before is another one
    "6 run inside": (message(20, prev_term=4), told(15, 18, success=False)),
    "6 run of one": (message(18, prev_term=4), told(15, 18, success=False)),
    "6 run reaches the commit index": (message(16, prev_term=1), told(15, 16, success=False)),
    "6 run reaches below": (message(17, prev_term=1), told(15, 16, success=False)),
    # 7a: everything is here
    "7a empty": (message(20, commit=18), told(18, 21, success=True)),
    "7a in the middle": (message(16, commit=99), told(16, 17, success=True)),
    "7a entries held": (message(15, held(16, 18), commit=99), told(18, 19, success=True)),
    "7a to the end": (message(15, held(16, 20), commit=19), told(19, 21, success=True)),
    # 7b: goes beyond the end
    "7b appends": (message(20, new(21, 23), commit=99), handed(20, new(21, 23), 23)),
    "7b overlaps": (
        message(16, held(17, 20) + new(21, 21), commit=18),
        handed(20, new(21, 21), 18),
    ),
    # 7c: the first difference
    "7c right above the commit index": (message(15, new(16, 17)), handed(15, new(16, 17), 12)),
    "7c in the middle": (
        message(16, held(17, 18) + new(19, 20), commit=99),
        handed(18, new(19, 20), 20),
    ),
    "7c at the last": (message(19, new(20, 20), commit=99), handed(19, new(20, 20), 20)),
    # 8: no previous index
    "8 heartbeat": (message(None, commit=99), told(15, 16, success=False)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_table(case: str) -> None:
    """Every case of docs/engine.md, at its edges."""
    given_message, verdict = CASES[case]
    assert judge("a", given_message, FACTS) == verdict


STOPS = {
    "3 a committed entry differs": message(11, (*held(12, 13), *new(14, 15, 3))),
    "3 the entry before differs": message(15, prev_term=1),
    "4 a committed entry differs": message(13, (*held(14, 14), *new(15, 17))),
    "6 the last committed one differs": message(15, new(16, 16), prev_term=3),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_contradiction_to_what_is_committed_stops_the_node(case: str) -> None:
    """Whoever is right, one state machine has applied what the cluster never agreed on."""
    assert "differs from the leader's" in (judge("a", STOPS[case], FACTS).stop or "")


def test_a_difference_below_the_log_is_not_seen() -> None:
    """What is in the dump only cannot be compared, and does not need to be."""
    strange = message(3, (*new(4, 9, 1),), prev_term=1)
    assert judge("a", strange, FACTS).stop is None


@pytest.mark.parametrize(
    ("leading", "leader", "term", "stops"),
    [
        (True, "me", 4, True),
        (False, "b", 4, True),
        (False, "a", 4, False),
        (False, None, 4, False),
        (False, "b", 5, False),
        (True, "me", 5, False),
    ],
)
def test_two_leaders_of_one_term_stop_the_node(
    leading: bool, leader: str | None, term: int, stops: bool
) -> None:
    """Case 2; a newer term has its own leader."""
    facts = FACTS._replace(leading=leading, leader=leader)
    verdict = judge("a", message(20, term=term), facts)
    assert (verdict.stop is not None) == stops


MALFORMED = {
    "a hole": message(20, (*new(21, 21), *new(23, 23))),
    "not behind the previous": message(20, new(22, 22)),
    "twice": message(20, (*new(21, 21), *new(21, 21))),
    "terms fall": message(20, (*new(21, 21, 4), *new(22, 22, 3))),
    "a term below the previous": message(20, new(21, 21, 2)),
    "a term above the leader's": message(20, new(21, 21, 5)),
    "the previous term above the leader's": message(20, prev_term=5),
    "without previous index": message(None, new(1, 1)),
    "an empty entry": message(20, ((b"", 21, 4),)),
    "an unknown kind": message(20, ((b"\x03", 21, 4),)),
    "no configuration": message(20, ((b"\x02not a map", 21, 4),)),
    "too long": message(20, ((bytes(limits.ENTRY_BYTES + 1), 21, 4),)),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_rubbish_cuts_the_peer_off(case: str) -> None:
    """Case 0: no honest leader sends it, whatever the terms are."""
    assert judge("a", MALFORMED[case], FACTS).cut
    assert malformed(MALFORMED[case])


def test_the_longest_entry_and_all_kinds_are_good() -> None:
    """The limit itself is allowed."""
    entries = tuple(
        (data, index, 4) for index, data in enumerate((b"\x00", b"\x01", b"\x02\x80"), 21)
    )
    longest = (bytes(limits.ENTRY_BYTES), 24, 4)
    assert malformed(message(20, (*entries, longest))) is None


# -- the property: a leader's log and a follower's, with messages of any age in any order


@dataclass
class Model:
    """A follower as pysyncobj makes it: what is handed on truncates, appends and commits."""

    log: list[Entry]
    committed: int = 1
    term: int = 1
    leader: str | None = None

    def facts(self) -> Facts:
        last = self.log[-1][1]
        return Facts(
            self.term, False, self.leader, 1, last, self.committed, lambda i: self.log[i - 1][2]
        )

    def take(self, sender: str, given_message: AppendEntries) -> Verdict:
        verdict = judge(sender, given_message, self.facts())
        hand_on = verdict.hand_on
        if hand_on is not None:
            self.term, self.leader = hand_on.term, sender
            if hand_on.prev_index is not None:
                assert self.log[hand_on.prev_index - 1][2] == hand_on.prev_term
                del self.log[hand_on.prev_index :]
                self.log.extend(hand_on.entries)
            self.committed = max(self.committed, min(hand_on.commit_index, self.log[-1][1]))
        return verdict


ANCHOR: Entry = (b"\x01", 1, 0)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, AppendEntries, int]]:
    """Messages of three leaders in turn, in any order, some twice: (sender, message, commit).

    Each leader's log holds what was committed before and replaces any tail; the number is the
    commit index that its log had when the message was sent.
    """
    log: list[Entry] = [ANCHOR]
    committed = 1
    sent: list[tuple[str, AppendEntries, int]] = []
    for term, leader in enumerate("xyz", start=2):
        del log[draw(st.integers(committed, len(log))) :]
        for index in range(len(log) + 1, len(log) + 1 + draw(st.integers(0, 4))):
            log.append((b"\x00" + bytes([term, index]), index, term))
        for _ in range(draw(st.integers(1, 6))):
            previous = draw(st.integers(1, len(log)))
            stop = draw(st.integers(previous, len(log)))
            if log[-1][2] == term:
                committed = draw(st.integers(committed, len(log)))
            entries = tuple(log[previous:stop])
            prev_term = log[previous - 1][2]
            sent.append(
                (leader, AppendEntries(term, previous, prev_term, entries, committed), len(log))
            )
    order = draw(st.permutations(range(len(sent))))
    again = draw(st.lists(st.sampled_from(range(len(sent))), max_size=5))
    return [sent[at] for at in (*order, *again)]


@given(histories())
@settings(max_examples=400, deadline=None)
def test_a_follower_never_loses_what_is_committed(
    history: list[tuple[str, AppendEntries, int]],
) -> None:
    """Whatever comes late, twice or in another order, its log keeps its committed part, and a
    success is only said for what is equal to the leader's."""
    truth: dict[tuple[int, int], Entry] = {}
    for _, given_message, _ in history:
        for entry in given_message.entries:
            truth[entry[1], entry[2]] = entry
    follower = Model([ANCHOR])
    kept: list[Entry] = [ANCHOR]
    for sender, given_message, _ in history:
        verdict = follower.take(sender, given_message)
        assert verdict.stop is None
        assert verdict.cut is None
        assert follower.log[: len(kept)] == kept
        kept = follower.log[: follower.committed]
        assert follower.committed <= max(m.commit_index for _, m, _ in history)
        if verdict.hand_on and (verdict.answer is None or verdict.answer.success):
            verified = given_message.last_index
            assert [e[1] for e in follower.log] == list(range(1, len(follower.log) + 1))
            for entry in given_message.entries:
                assert follower.log[entry[1] - 1] == entry
            if verdict.answer is not None:
                assert verdict.answer.next_index - 1 <= max(verified, follower.committed)
