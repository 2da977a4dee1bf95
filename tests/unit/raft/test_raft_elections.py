"""When a node asks for votes, who grants a pre-vote, and what a won one needs."""

from __future__ import annotations

import random

import pytest

from heroctl_core.errors import OutcomeUnknown, ReadOnly
from heroctl_core.raft.elections import Elections, up_to_date
from heroctl_core.testing.clock import ManualClock
from heroctl_core.testing.raft_bench import RaftBench, append_entries, entries, members


def elections() -> tuple[Elections, ManualClock]:
    """Those of one node with an election timeout of a second, started."""
    clock = ManualClock()
    made = Elections(clock, random.Random(1), 1.0)
    made.start(alone=False)
    return made, clock


def test_a_lone_voter_campaigns_at_once() -> None:
    """Nobody else could be asked."""
    clock = ManualClock()
    alone = Elections(clock, random.Random(1), 1.0)
    assert not alone.due()
    alone.start(alone=True)
    assert alone.due()


def test_hearing_the_leader_pushes_the_deadline_by_one_to_two_timeouts() -> None:
    """Random, so that not all ask at once."""
    made, clock = elections()
    deadlines = set()
    for _ in range(50):
        made.heard_leader()
        deadlines.add(made.deadline_s)
    assert 1.0 <= min(deadlines) < 1.1
    assert 1.9 < max(deadlines) <= 2.0
    clock.advance(0.999)
    assert made.hears_leader()
    assert not made.due()
    clock.advance(0.001)
    assert not made.hears_leader()


def test_a_leader_that_closed_its_connection_is_not_waited_for() -> None:
    """The deadline is near, and others may have our pre-vote."""
    made, clock = elections()
    made.heard_leader()
    made.lost_leader()
    assert not made.hears_leader()
    clock.advance(0.31)
    assert made.due()


def test_a_majority_of_distinct_voters_wins() -> None:
    """The same voter twice is one."""
    made, _ = elections()
    _, nonce = made.ask("a", 3)
    voters = members("abcde")
    assert not made.won(voters, "b", 3, nonce)
    assert not made.won(voters, "b", 3, nonce)
    assert made.won(voters, "c", 3, nonce)
    assert not made.won(voters, "d", 3, nonce)  # it campaigns once


@pytest.mark.parametrize("wrong", ["nonce", "term", "leader"])
def test_grants_do_not_count_when_things_have_changed(wrong: str) -> None:
    """Another question, another term, or a leader that was heard since."""
    made, _ = elections()
    proposed, nonce = made.ask("a", 3)
    assert proposed == 4
    if wrong == "leader":
        made.heard_leader()
    term = 4 if wrong == "term" else 3
    nonce += wrong == "nonce"
    assert not made.won(members("abc"), "b", term, nonce)


@pytest.mark.parametrize(
    ("theirs", "good"), [((2, 9), True), ((2, 8), False), ((3, 1), True), ((1, 99), False)]
)
def test_up_to_date(theirs: tuple[int, int], good: bool) -> None:
    """The last term first, then the index (paper, 5.4.1); ours is term 2, index 9."""
    assert up_to_date(theirs, (2, 9)) is good


def pre_vote(bench: RaftBench, letter: str, *, term: int, last: tuple[int, int]) -> bool:
    """Whether a node grants the pre-vote that c asks for."""
    [[kind, _, nonce, granted]] = bench.receive(letter, "c", ["pv", term, *last, 7])
    assert (kind, nonce) == ("pva", 7)
    return bool(granted)


def test_a_pre_vote_is_granted_when_no_leader_is_heard() -> None:
    """For a newer term and a log as good as ours; it changes nothing here."""
    bench = RaftBench()
    node = bench.start("b", members("abc"))
    assert pre_vote(bench, "b", term=1, last=(0, 1))
    assert not pre_vote(bench, "b", term=0, last=(0, 1))
    assert not pre_vote(bench, "b", term=1, last=(0, 0))
    assert (node.core.term, node.log.vote) == (0, None)


def test_a_pre_vote_is_refused_while_the_leader_is_heard() -> None:
    """A node that was cut off cannot depose a leader that everybody else hears."""
    bench = RaftBench()
    bench.start("b", members("abc"))
    bench.receive("b", "a", append_entries(1))
    bench.clock.advance(0.99)
    assert not pre_vote(bench, "b", term=2, last=(9, 9))
    bench.clock.advance(0.01)
    assert pre_vote(bench, "b", term=2, last=(9, 9))


def test_a_leader_with_a_quorum_refuses_pre_votes() -> None:
    """It knows best that it leads."""
    bench = RaftBench()
    bench.cluster()
    assert not pre_vote(bench, "a", term=9, last=(9, 9))


def test_a_node_that_was_cut_off_does_not_disturb() -> None:
    """Its term stays; when it is back, the old leader still leads in the old term."""
    bench = RaftBench()
    leader = bench.cluster()
    bench.run(5.0, cut="c")
    assert bench.nodes["c"].core.term == 1
    bench.run(1.0)
    assert leader.leading
    assert leader.core.term == 1


def test_a_higher_term_of_a_lost_election_is_taken_over() -> None:
    """A node whose term rose without a leader is heard again: refusals carry its term."""
    bench = RaftBench()
    leader = bench.cluster()
    bench.elect("c", cut="ab")  # it campaigns all alone
    assert bench.nodes["c"].core.term == 2
    bench.run(3.0)
    led = [node for node in bench.nodes.values() if node.leading]
    assert len(led) == 1
    assert {node.core.term for node in bench.nodes.values()} == {led[0].core.term}
    assert leader.core.term > 1


def test_a_new_leader_comes_within_seconds_when_the_old_one_dies() -> None:
    """And everybody follows it."""
    bench = RaftBench()
    bench.cluster()
    bench.stop("a")
    bench.run(3.0)
    assert [node.leading for node in bench.nodes.values()].count(True) == 1
    assert len({node.leader_id for node in bench.nodes.values()}) == 1


def test_a_leader_without_a_majority_stops_leading() -> None:
    """After one election timeout, in the same term."""
    bench = RaftBench()
    leader = bench.cluster()
    bench.run(1.2, cut="bc")
    assert not leader.leading
    assert not leader.has_quorum()
    assert leader.core.term == 1


def test_a_learner_never_campaigns() -> None:
    """However long it hears nothing."""
    bench = RaftBench()
    node = bench.start("d", members("abc", learners="d"))
    bench.run(5.0)
    assert (node.core.term, node.leading) == (0, False)


def test_nobody_votes_before_the_start_up_questions_are_answered() -> None:
    """A node that has not been told to take part gives no vote and no pre-vote."""
    bench = RaftBench()
    node = bench.start("b", members("abc"))
    node.may_vote = False
    assert not pre_vote(bench, "b", term=1, last=(9, 9))
    assert bench.receive("b", "c", ["rv", 1, 9, 9]) == []


def test_a_leader_that_hears_no_majority_appends_nothing_more() -> None:
    """A write that comes after the timeout is refused, not of unknown outcome; what was appended
    before is unknown, at once."""
    bench = RaftBench()
    leader = bench.cluster()
    under_way = bench.write("a", 1)
    bench.run(0.9, cut="bc")
    assert leader.leading
    assert not under_way.done()
    bench.clock.advance(0.2)
    last = leader.log.entries[-1][1]
    late = bench.write("a", 2)
    bench.turn("a")
    assert not leader.leading
    assert leader.log.entries[-1][1] == last
    bench.run(0.2, cut="bc")
    assert isinstance(under_way.exception(0), OutcomeUnknown)
    assert isinstance(late.exception(0), ReadOnly)


def test_a_false_suspicion_ends_with_what_a_leader_has_committed() -> None:
    """A member names an index that nobody has: the node does not vote until it has all that the
    leader committed in its own term, and then it votes again."""
    bench = RaftBench()
    leader = bench.cluster()
    node = bench.nodes["b"]
    bench.receive("b", "c", ["held", 1, 2**40])
    assert not node.takes_part
    bench.write("a", 1)
    bench.run(0.2)
    assert leader.core.commit_index == node.core.commit_index
    assert node.takes_part


def test_a_stranger_puts_nobody_under_suspicion() -> None:
    """Only a member of the own configuration can have seen an acknowledgement."""
    bench = RaftBench()
    bench.cluster()
    bench.receive("b", "f", ["held", 1, 2**40])
    assert bench.nodes["b"].takes_part


def test_a_leader_of_an_earlier_term_does_not_end_a_suspicion() -> None:
    """Whoever saw the acknowledgement knows a newer term: what that term committed may be what this
    node lost."""
    bench = RaftBench()
    bench.cluster()
    node = bench.nodes["b"]
    bench.receive("b", "c", ["held", 5, 2**40])
    assert node.core.term == 5
    bench.receive("b", "a", append_entries(1, previous=(2, 1), commit=2, seq=99))
    assert not node.takes_part


def test_a_suspicion_stays_while_the_leader_has_committed_nothing_of_its_own() -> None:
    """Its commit index may be one that it only heard of, from before the lost entry."""
    bench = RaftBench()
    node = bench.start("b", members("abc"))
    bench.receive("b", "c", ["held", 2, 3])
    bench.receive("b", "a", append_entries(2, entries(2, 2), previous=(1, 0), commit=2))
    assert not node.takes_part
