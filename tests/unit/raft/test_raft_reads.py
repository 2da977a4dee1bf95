"""ReadIndex: a read shows every write that was acknowledged before it, or ends with an error."""

from __future__ import annotations

from concurrent.futures import Future

from heroctl_core.errors import NodeFault, NoLeader, ReadOnly
from heroctl_core.raft.reads import DEADLINE_S, Reads
from heroctl_core.testing.clock import ManualClock
from heroctl_core.testing.raft_bench import RaftBench, Sent, members


def reads(number: int = 100) -> Reads:
    """Those of one node."""
    return Reads(ManualClock(), lambda: None, number)


def waiting(some: Reads) -> Future[int]:
    """A read that was submitted and taken in."""
    future = some.submit()
    some.drain()
    return future


def test_a_round_needs_answers_to_later_messages() -> None:
    """An answer to what was sent before the read proves nothing."""
    some = reads()
    future = waiting(some)
    assert some.register(commit_index=7, seq=5)
    some.confirm(5, lambda *_: None)
    some.applied(7)
    assert not future.done()
    some.confirm(6, lambda *_: None)
    some.applied(6)
    assert not future.done()
    some.applied(7)
    assert future.result(0) == 7


def test_a_follower_is_told_by_number() -> None:
    """Another number, or the same answer again, does nothing."""
    some = reads(100)
    future = waiting(some)
    assert some.ask() == 101
    assert some.ask() is None
    some.told(100, 1)
    some.applied(9)
    assert not future.done()
    some.told(101, 9)
    some.applied(9)
    assert future.result(0) == 9


def test_the_leader_answers_followers_with_their_numbers() -> None:
    """All that asked before the round."""
    some = reads()
    some.asked_by("b", 4)
    some.asked_by("c", 5)
    some.register(7, 1)
    some.asked_by("b", 6)
    told: list[tuple[str, int, int]] = []
    some.confirm(2, lambda *answer: told.append(answer))
    assert told == [("b", 4, 7), ("c", 5, 7)]


def test_a_read_asks_the_next_leader_again() -> None:
    """It has no effect, so nothing is lost with a leader but time."""
    some = reads()
    future = waiting(some)
    some.ask()
    some.lost_leader()
    number = some.ask()
    assert number is not None
    some.told(number, 3)
    some.applied(3)
    assert future.result(0) == 3


def test_every_read_ends_at_its_deadline() -> None:
    """Wherever it waits; asking another leader gives it no more time."""
    some = reads()
    clock = some.clock
    assert isinstance(clock, ManualClock)
    future = waiting(some)
    some.ask()
    clock.advance(4.9)
    some.lost_leader()
    some.expire()
    assert not future.done()
    clock.advance(0.1)
    some.expire()
    assert isinstance(future.exception(0), NoLeader)


def test_when_the_node_stops_every_read_ends() -> None:
    """Also one whose index is known, and one that comes too late."""
    some = reads()
    known = waiting(some)
    some.told(some.ask() or 0, 50)
    fresh = some.submit()
    some.end(lambda: NodeFault("stopped"))
    late = some.submit()
    for future in (known, fresh, late):
        assert isinstance(future.exception(0), NodeFault)


def test_without_a_quorum_reads_are_refused() -> None:
    """But one whose index is already known may still be served."""
    some = reads()
    known = waiting(some)
    some.told(some.ask() or 0, 50)
    refused = waiting(some)
    some.fail(lambda: ReadOnly("no quorum"))
    assert isinstance(refused.exception(0), ReadOnly)
    some.applied(50)
    assert known.result(0) == 50


def test_a_read_through_any_node_shows_an_acknowledged_write() -> None:
    """The follower that reads has applied it when the future is done."""
    bench = RaftBench()
    bench.cluster()
    for number, writer in enumerate("abc"):
        bench.write(writer, number)
        bench.run(0.1)
        for reader in "abc":
            seen = bench.nodes[reader].reads.submit()
            bench.run(0.1)
            assert seen.result(0) >= 2
            assert bench.nodes[reader].machine.revision == number + 1


def test_a_deposed_leader_confirms_no_read() -> None:
    """It cannot know of the writes of the new one."""
    bench = RaftBench()
    bench.cluster()
    bench.elect("b", cut="a")
    bench.write("b", 1)
    bench.run(0.1, cut="a")
    assert bench.nodes["a"].leading  # it has not noticed yet
    stale = bench.nodes["a"].reads.submit()
    bench.run(0.5, cut="a")
    assert not stale.done()
    bench.run(1.5, cut="a")
    assert isinstance(stale.exception(0), ReadOnly)


def test_an_answer_to_no_message_confirms_nothing() -> None:
    """A snapshot's answer, or one after a message of an older term, carries number 0."""
    bench = RaftBench()
    node = bench.start("b", members("abc"))
    bench.receive("b", "c", ["ae", 2, 900, 1, 0, [[b"\x01", 2, 2]], 2])
    [[kind, _, answered, next_index, success]] = [
        frame for frame in bench.receive("b", "a", ["ae", 3, 4, 2, 2, [], 2]) if frame[0] == "next"
    ]
    assert (kind, answered, next_index, success) == ("next", 4, 3, True)
    assert bench.receive("b", "c", ["ae", 2, 901, 2, 2, [], 2]) == [["stale", 3]]
    answers = bench.receive("b", "a", ["inst", 3, [1, 0, "00", "1-0.dump", 5], 0, b"12345"])
    assert answers == [["next", 3, 0, 3, True]]
    assert node.core.term == 3


def test_a_late_answer_to_a_former_life_answers_nothing() -> None:
    """A rebooted node asks under other numbers, so what its old question gave is not taken."""
    bench = RaftBench()
    bench.cluster()
    old = bench.nodes["b"].reads
    old.submit()
    bench.turn("b")
    bench.restart("b")
    bench.run(0.2, cut="c")
    assert bench.nodes["b"].leader_id == "a"
    bench.sent.clear()
    future = bench.nodes["b"].reads.submit()
    [question] = [sent.frame for sent in _turn(bench, "b") if sent.frame[0] == "read"]
    bench.receive("b", "a", ["readok", old.number, 1])
    assert not future.done()
    bench.receive("b", "a", ["readok", question[1], 1])
    assert future.done()


def _turn(bench: RaftBench, letter: str) -> list[Sent]:
    """What a node sends in one turn."""
    bench.turn(letter)
    return [sent for sent in bench.sent if sent.source == letter]


def test_a_question_that_nobody_answers_is_forgotten() -> None:
    """Its reads have ended; kept for ever it would be a leak under a leader that stays."""
    some = reads()
    clock = some.clock
    assert isinstance(clock, ManualClock)
    for _ in range(3):
        waiting(some)
        some.ask()
    clock.advance(DEADLINE_S)
    some.expire()
    assert not some.anything_waiting


def test_a_read_is_asked_again_when_the_way_to_the_leader_is_back() -> None:
    """The question was lost with the old connection; the leader and its term stay."""
    bench = RaftBench()
    bench.cluster()
    node = bench.nodes["b"]
    future = node.reads.submit()
    bench.turn("b")
    bench.sent.clear()
    node.set_connected("a", connected=False)
    node.set_connected("a", connected=True)
    bench.run(0.1)
    assert future.done()
    assert bench.nodes["a"].core.term == 1


def test_a_read_is_asked_again_when_its_leader_leads_in_another_term() -> None:
    """It has forgotten who asked before."""
    bench = RaftBench()
    bench.cluster()
    future = bench.nodes["b"].reads.submit()
    bench.turn("b")
    bench.sent.clear()
    bench.nodes["a"].lose_leadership("the test says so")
    bench.elect("a")
    bench.run(0.2)
    assert bench.nodes["a"].core.term == 2
    assert future.done()


def test_only_the_leader_says_what_a_read_needs() -> None:
    """Who led before may know less than what is committed."""
    bench = RaftBench()
    bench.cluster()
    read = bench.nodes["b"].reads.submit()
    bench.turn("b")
    [number] = [sent.frame[1] for sent in bench.sent if sent.frame[0] == "read"]
    bench.receive("b", "c", ["readok", number, 0])
    assert not read.done()
    bench.run(0.1)
    assert read.result(0) >= 2
