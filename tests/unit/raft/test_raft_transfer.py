"""Handing over leadership: nothing is lost, nobody sees an error, and a failed try is given up."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from heroctl_core.errors import CommandRejected, NotApplied, RecoveryError
from heroctl_core.raft.port import Member, Order
from heroctl_core.state.outcome import Applied, Outcome
from heroctl_core.testing.raft_bench import RaftBench, members


def transfer(bench: RaftBench, letter: str, to: str = "") -> Future[tuple[Member, ...]]:
    """An order to hand over, given through a node."""
    return bench.nodes[letter].orders.submit(Order.TRANSFER, to)


def leaders(bench: RaftBench) -> list[str]:
    """Who leads."""
    return [letter for letter, node in bench.nodes.items() if node.leading]


@pytest.mark.parametrize("through", ["a", "b", "c"])
def test_the_named_voter_leads_at_once(through: str) -> None:
    """Whichever node is asked; no election timeout passes and nobody is asked for a pre-vote."""
    bench = RaftBench()
    bench.cluster()
    asked = transfer(bench, through, "node-c")
    bench.run(0.05)
    assert leaders(bench) == ["c"]
    [member] = asked.result(0)
    assert (member.member_id, member.leads) == ("c", True)
    assert bench.nodes["c"].core.term == 2


def test_without_a_name_the_most_caught_up_voter_leads() -> None:
    """Nobody has to wait for one that lags."""
    bench = RaftBench()
    bench.cluster()
    bench.write("a", 1)
    bench.run(0.1, cut="b")
    asked = transfer(bench, "a")
    bench.run(0.1, cut="b")
    assert leaders(bench) == ["c"]
    assert asked.result(0)[0].member_id == "c"


def test_writes_under_way_are_applied_and_nobody_sees_an_error() -> None:
    """Under a stream of writes through every node leadership goes round fifty times; each write is
    applied exactly once."""
    bench = RaftBench()
    bench.cluster()
    written: list[Future[Outcome]] = []
    for turn in range(50):
        asked = transfer(bench, "abc"[turn % 3], "bca"[turn % 3])
        for _ in range(6):
            written += [bench.write(letter, len(written) + n) for n, letter in enumerate("abc")]
            bench.run(0.01)
        assert asked.result(0)[0].member_id == "bca"[turn % 3]
    bench.run(1.0)
    revisions = {future.result(0) for future in written}
    assert revisions == {Applied(number + 1) for number in range(len(written))}


def test_nothing_is_appended_until_the_target_has_everything() -> None:
    """Or it would never have everything under load (row 24)."""
    bench = RaftBench()
    leader = bench.cluster()
    bench.write("a", 1)
    bench.turn("a")
    last = leader.log.entries[-1][1]
    transfer(bench, "a", "b")
    bench.turn("a")
    late = bench.write("a", 2)
    for _ in range(3):
        bench.turn("a")
    assert leader.log.entries[-1][1] == last
    assert not [sent for sent in bench.sent if sent.frame[0] == "timeout"]
    bench.run(0.1)
    assert leaders(bench) == ["b"]
    assert late.result(0) == Applied(2)


def test_a_transfer_that_does_not_happen_is_given_up() -> None:
    """The target is there but hears nothing: after an election timeout the leader leads on, the
    order fails, what waited is written, and an answer that comes late does no harm."""
    bench = RaftBench()
    leader = bench.cluster()
    asked = transfer(bench, "a", "b")
    bench.turn("a")
    bench.clock.advance(0.9)
    bench.run(0.05, cut="b")
    waits = bench.write("a", 1)
    bench.run(0.02, cut="b")
    assert not waits.done()
    bench.run(0.2, cut="b")
    assert leader.leading
    assert isinstance(asked.exception(0), NotApplied)
    assert waits.result(0) == Applied(1)
    bench.receive("b", "a", ["timeout", leader.core.term])
    bench.run(3.0)
    assert len(leaders(bench)) == 1


def test_a_transfer_to_a_node_that_dies_is_given_up_at_once() -> None:
    """Writers need not wait for an election timeout."""
    bench = RaftBench()
    leader = bench.cluster()
    asked = transfer(bench, "a", "b")
    bench.turn("a")
    bench.stop("b")
    waits = bench.write("a", 1)
    bench.run(0.1)
    assert leader.leading
    assert isinstance(asked.exception(0), NotApplied)
    assert waits.result(0) == Applied(1)


def test_what_is_in_flight_is_committed_before_the_target_is_told() -> None:
    """So its writer hears of it from the old leader, also when only the target has it."""
    bench = RaftBench()
    leader = bench.cluster("abcde")
    written = bench.write("a", 1)
    bench.turn("a")
    transfer(bench, "a", "b")
    bench.run(0.1, cut="cde")
    assert leader.core.match_index("b") == leader.log.entries[-1][1]
    assert leader.leading and leader.core.term == 1
    assert bench.nodes["b"].core.term == 1
    bench.run(0.2)
    assert written.result(0) == Applied(1)
    assert leaders(bench) == ["b"]


def test_a_target_that_is_removed_meanwhile_did_not_take_over() -> None:
    """The orders of three operators: hand over to it, remove it, hand over to it."""
    bench = RaftBench()
    leader = bench.cluster()
    first = transfer(bench, "a", "b")
    removed = bench.nodes["a"].orders.submit(Order.REMOVE, "b")
    second = transfer(bench, "a", "b")
    bench.turn("a")
    bench.run(1.2, cut="b")
    assert leader.leading
    assert removed.result(0) == ()
    assert all("did not take over" in str(asked.exception(0)) for asked in (first, second))


def test_only_the_leader_of_the_present_term_can_hand_over() -> None:
    """Anybody else would start elections at will."""
    bench = RaftBench()
    bench.cluster()
    for sender, term in (("c", 1), ("a", 0), ("a", 2)):
        bench.receive("b", sender, ["timeout", term])
        bench.run(0.05)
        assert leaders(bench) == ["a"]


def test_a_message_of_the_old_leader_does_not_stop_the_new_one() -> None:
    """A heartbeat that comes in the same moment as the call to take over."""
    bench = RaftBench()
    leader = bench.cluster()
    last = leader.log.entries[-1][1]
    bench.nodes["b"].receive("a", ["timeout", 1])
    bench.nodes["b"].receive("a", ["ae", 1, leader.replication.seq + 1, last, 1, [], last])
    bench.run(0.05)
    assert leaders(bench) == ["b"]


def test_a_voter_that_cannot_lead_is_refused() -> None:
    """One that does not answer, a learner, a stranger; with nobody else there is no transfer."""
    bench = RaftBench()
    for letter in "abc":
        bench.start(letter, members("abc", learners="d"))
    bench.elect("a")
    bench.stop("c")
    cases = {
        "node-c": (RecoveryError, "does not answer"),
        "node-d": (RecoveryError, "is a learner"),
        "nobody": (CommandRejected, "is no member"),
    }
    for to, (kind, words) in cases.items():
        asked = transfer(bench, "b", to)
        bench.run(0.05)
        assert type(asked.exception(0)) is kind
        assert words in str(asked.exception(0))
    assert leaders(bench) == ["a"]


def test_a_lone_voter_says_that_nobody_else_answers() -> None:
    """It leads on."""
    bench = RaftBench()
    bench.start("a", members("a"))
    bench.elect("a")
    asked = transfer(bench, "a")
    bench.run(0.05)
    assert "no other voter answers" in str(asked.exception(0))
    again = transfer(bench, "a", "node-a")
    bench.run(0.05)
    assert again.result(0)[0].member_id == "a"
