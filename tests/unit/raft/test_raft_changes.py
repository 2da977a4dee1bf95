"""Removing members through any node, and what the leader tells of them."""

from __future__ import annotations

import pytest

from heroctl_core.errors import (
    CommandRejected,
    HeroctlError,
    NodeFault,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    ReadOnly,
    RecoveryError,
)
from heroctl_core.raft.leader_orders import decode, encode
from heroctl_core.raft.membership import Candidate
from heroctl_core.raft.port import Member, Order
from heroctl_core.testing.raft_bench import RaftBench
from heroctl_core.version import __version__


def remove(bench: RaftBench, through: str, member: str) -> HeroctlError | None:
    """Removes a member; what went wrong, or None."""
    asked = bench.nodes[through].orders.submit(Order.REMOVE, member)
    bench.run(0.3)
    error = asked.exception(0)
    assert error is None or isinstance(error, HeroctlError)
    return error


@pytest.mark.parametrize("through", ["a", "b"])
def test_a_member_is_removed_by_name_or_id(through: str) -> None:
    """One change: it is committed when the caller is told, and its index is kept."""
    bench = RaftBench()
    leader = bench.cluster("abcd")
    assert remove(bench, through, "node-d") is None
    assert leader.configuration.members.keys() == set("abc")
    assert leader.core.commit_index >= leader.configuration.removed["d"]
    assert remove(bench, through, "c") is None
    assert leader.configuration.voters == {"a", "b"}


def test_the_leader_hands_over_before_it_is_removed() -> None:
    """The next leader removes it; the caller waits through both, also at the old leader."""
    bench = RaftBench()
    bench.cluster()
    assert remove(bench, "a", "node-a") is None
    [leader] = [node for node in bench.nodes.values() if node.leading]
    assert leader.member_id in "bc"
    assert leader.configuration.members.keys() == set("bc")


def test_what_would_leave_no_quorum_is_refused() -> None:
    """Of a, b and the dead c: b is needed, c is not; the error names who is missing."""
    bench = RaftBench()
    leader = bench.cluster()
    bench.stop("c")
    error = remove(bench, "a", "node-b")
    assert isinstance(error, RecoveryError)
    assert "without node-b there would be no quorum: node-c does not answer" in str(error)
    assert "node-c" in str(error.hint)
    assert remove(bench, "a", "node-c") is None
    assert leader.configuration.voters == {"a", "b"}
    assert remove(bench, "a", "node-b") is None
    error = remove(bench, "a", "node-a")
    assert "is the last voter" in str(error)


def test_a_voter_that_is_connected_but_silent_does_not_count() -> None:
    """Its process hangs: nobody may rely on its vote."""
    bench = RaftBench()
    leader = bench.cluster()
    bench.run(1.1, cut="c")
    assert "c" in leader.connected
    asked = leader.orders.submit(Order.REMOVE, "b")
    bench.run(0.1, cut="c")
    assert "node-c does not answer" in str(asked.exception(0))


def test_members_are_removed_one_at_a_time() -> None:
    """The second change waits until the first is committed, and so do both callers (row 1)."""
    bench = RaftBench()
    leader = bench.cluster("abcde")
    asked = [leader.orders.submit(Order.REMOVE, member) for member in "de"]
    bench.run(0.1, cut="bcde")
    assert len(leader.configuration.members) == 4
    assert not any(each.done() for each in asked)
    bench.run(0.3)
    assert leader.configuration.members.keys() == set("abc")
    assert [each.result(0) for each in asked] == [(), ()]


def test_more_orders_than_may_wait_are_refused_at_once() -> None:
    """Without a leader they would pile up."""
    bench = RaftBench()
    bench.cluster()
    node = bench.nodes["b"]
    node.elections.lost_leader()
    asked = [node.orders.submit(Order.MEMBERS, "") for _ in range(65)]
    bench.turn("b")
    assert [each.done() for each in asked] == [False] * 64 + [True]
    assert isinstance(asked[-1].exception(0), Overloaded)


def test_an_order_is_repeated_for_the_same_member() -> None:
    """A name may be another node's when the next leader is asked."""
    bench = RaftBench()
    bench.cluster("abcd")
    bench.nodes["b"].orders.submit(Order.REMOVE, "node-d")
    bench.turn("b")
    assert [sent.frame[3] for sent in bench.sent if sent.frame[0] == "ask"] == ["d"]


def test_a_leader_that_is_not_reached_is_not_asked_yet() -> None:
    """Or the order would end as one of unknown outcome."""
    bench = RaftBench()
    bench.cluster()
    node = bench.nodes["b"]
    node.set_connected("a", connected=False)
    assert node.leader_id == "a"
    asked = node.orders.submit(Order.MEMBERS, "")
    bench.turn("b")
    assert not [sent for sent in bench.sent if sent.frame[0] == "ask"]
    node.set_connected("a", connected=True)
    bench.run(0.1)
    assert len(asked.result(0)) == 3


def test_only_the_leader_that_was_asked_can_answer() -> None:
    """Another member that says the same number is not believed."""
    bench = RaftBench()
    bench.cluster()
    asked = bench.nodes["b"].orders.submit(Order.REMOVE, "node-c")
    bench.turn("b")
    [number] = [sent.frame[1] for sent in bench.sent if sent.frame[0] == "ask"]
    bench.receive("b", "c", ["told", number, encode(())])
    assert not asked.done()
    bench.receive("b", "a", ["told", number, encode(())])
    assert asked.result(0) == ()


def test_a_stranger_cannot_be_removed() -> None:
    """Exit code 6, as for everything that does not exist."""
    bench = RaftBench()
    bench.cluster()
    error = remove(bench, "c", "node-x")
    assert isinstance(error, CommandRejected)
    assert error.reason == "not_found"


def test_removing_twice_is_removing_once() -> None:
    """The second try of a caller whose answer was lost succeeds."""
    bench = RaftBench()
    bench.cluster("abcd")
    assert remove(bench, "b", "d") is None
    assert remove(bench, "c", "d") is None


def test_an_order_outlives_the_leader_that_had_it() -> None:
    """Its leader is cut off before anything is committed: the next one is asked."""
    bench = RaftBench()
    bench.cluster("abcde")
    asked = bench.nodes["b"].orders.submit(Order.REMOVE, "node-e")
    bench.turn("b")
    bench.deliver(cut="cd")
    bench.sent.clear()
    bench.elect("c", cut="a")
    bench.run(0.5, cut="a")
    assert asked.result(0) == ()
    assert bench.nodes["c"].configuration.members.keys() == set("abcd")


def test_without_a_quorum_an_order_ends_at_once() -> None:
    """And says what is missing, as a write does."""
    bench = RaftBench()
    bench.cluster()
    for letter in "ac":
        bench.stop(letter)
    bench.run(1.1)
    asked = bench.nodes["b"].orders.submit(Order.MEMBERS, "")
    bench.run(0.2)
    assert isinstance(asked.exception(0), ReadOnly)


def test_every_order_ends() -> None:
    """Without a leader at its deadline; asked and never answered as unknown; when the node stops
    at once."""
    bench = RaftBench()
    bench.cluster()
    node = bench.nodes["b"]
    node.elections.lost_leader()
    alone = node.orders.submit(Order.MEMBERS, "")
    bench.turn("b")
    bench.clock.advance(9.99)
    node.orders.expire()
    assert not alone.done()
    bench.clock.advance(0.01)
    node.orders.expire()
    assert isinstance(alone.exception(0), NoLeader)
    bench = RaftBench()
    bench.cluster()
    asked = bench.nodes["b"].orders.submit(Order.MEMBERS, "")
    bench.turn("b")
    bench.nodes["b"].orders.fail(lambda: NoLeader("gone"))
    assert isinstance(asked.exception(0), OutcomeUnknown)
    waits = bench.nodes["b"].orders.submit(Order.MEMBERS, "")
    bench.nodes["b"].orders.end(lambda: NodeFault("stopped"))
    late = bench.nodes["b"].orders.submit(Order.MEMBERS, "")
    assert isinstance(waits.exception(0), NodeFault)
    assert isinstance(late.exception(0), NodeFault)


def test_every_node_tells_what_the_leader_sees() -> None:
    """How far each member is, and when it was last heard."""
    bench = RaftBench()
    leader = bench.cluster()
    last = leader.log.entries[-1][1]
    asked = bench.nodes["c"].orders.submit(Order.MEMBERS, "")
    bench.run(0.2)
    told = {member.name: member for member in asked.result(0)}
    assert {name: member.match_index for name, member in told.items()} == {
        "node-a": last,
        "node-b": last,
        "node-c": last,
    }
    assert [name for name, member in told.items() if member.leads] == ["node-a"]
    assert all(m.heard_s is not None and m.heard_s < 0.5 for m in told.values())
    assert all(m.connected for m in told.values())


def test_a_node_tells_of_members_what_it_knows_itself() -> None:
    """A follower does not know how far others are; a release is what a member said in its hello."""
    bench = RaftBench()
    bench.cluster()
    node = bench.nodes["b"]
    node.candidates = {"a": Candidate("node-a", "a:1", "0.0.1")}
    node.set_connected("c", connected=False)
    told = {member.member_id: member for member in node.members()}
    assert [told[m].match_index for m in "abc"] == [None, None, None]
    assert [told[m].version for m in "abc"] == ["0.0.1", __version__, ""]
    assert [told[m].connected for m in "abc"] == [True, True, False]
    assert told["b"].heard_s == 0.0


@pytest.mark.parametrize(
    "outcome",
    [
        (),
        (Member("m1", "n1", "n1:1", voter=True, connected=False, match_index=7, heard_s=0.5),),
        RecoveryError("refused", hint="do this"),
        CommandRejected("not_found", "no member"),
        Overloaded("too many"),
    ],
)
def test_an_answer_survives_the_wire(outcome: object) -> None:
    """Values, and errors with kind, message and hint."""
    again = decode(encode(outcome))  # type: ignore[arg-type]
    if isinstance(outcome, HeroctlError):
        assert type(again) is type(outcome)
        assert (str(again), again.hint) == (str(outcome), outcome.hint)  # type: ignore[union-attr]
    else:
        assert again == outcome


@pytest.mark.parametrize("rubbish", [b"", b"\xc1", b"\xc0", b"\x91\xa1x", b"\x91\x91\x01", b"\x05"])
def test_an_answer_that_is_none_cuts_the_peer_off(rubbish: bytes) -> None:
    """Nothing of it is used."""
    bench = RaftBench()
    bench.cluster()
    bench.nodes["b"].orders.submit(Order.MEMBERS, "")
    bench.turn("b")
    [number] = [sent.frame[1] for sent in bench.sent if sent.frame[0] == "ask"]
    with pytest.raises(ConnectionError):
        bench.receive("b", "a", ["told", number, rubbish])


def test_an_unknown_order_cuts_the_peer_off() -> None:
    """Nobody honest sends one."""
    bench = RaftBench()
    bench.cluster()
    with pytest.raises(ConnectionError):
        bench.receive("a", "b", ["ask", 1, "explode", ""])
