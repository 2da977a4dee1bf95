"""Waiting writes: every future ends, with what is true."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from heroctl_core import limits
from heroctl_core.errors import NodeFault, NoLeader, OutcomeUnknown, Overloaded, ReadOnly
from heroctl_core.raft.grouping import UNDER_WAY_S
from heroctl_core.raft.guard import REGULAR
from heroctl_core.raft.leadership import UNCOMMITTED_ENTRIES
from heroctl_core.raft.proposals import DEADLINE_S, ENTRY_COMMANDS, Proposals
from heroctl_core.state.outcome import Applied, Outcome
from heroctl_core.testing.clock import ManualClock
from heroctl_core.testing.raft_bench import RaftBench, job


def queue() -> tuple[Proposals, ManualClock]:
    """An empty queue and its clock."""
    clock = ManualClock()
    return Proposals(clock, lambda: None), clock


def submitted(proposals: Proposals, *names: str) -> list[Future[Outcome]]:
    """Writes with their names as commands and ids, taken in."""
    futures = [proposals.submit(name.encode(), name.encode(), Future()) for name in names]
    proposals.drain()
    return futures


def test_writes_leave_in_order_up_to_the_size() -> None:
    """Each command counts with a little more than its bytes; one always goes."""
    proposals, _ = queue()
    submitted(proposals, "a" * 100, "b" * 100, "c" * 100)
    assert proposals.take(216) == [b"a" * 100, b"b" * 100]
    assert proposals.take(1) == [b"c" * 100]
    assert proposals.take(1000) == []


def test_entries_in_flight_are_bounded() -> None:
    """Nobody acknowledges: what is written more waits, and goes when the others are back."""
    bench = RaftBench()
    leader = bench.cluster()
    committed = leader.core.commit_index
    written = []
    for number in range(UNCOMMITTED_ENTRIES + 10):
        written.append(bench.write("a", number + 1))
        bench.turn("a")
        bench.clock.advance(UNDER_WAY_S)
        bench.turn("a")
    assert leader.log.entries[-1][1] == committed + UNCOMMITTED_ENTRIES
    bench.run(0.5)
    assert all(isinstance(future.result(0), Applied) for future in written)


def test_an_entry_has_a_bounded_number_of_commands() -> None:
    """An entry is applied in one go."""
    proposals, _ = queue()
    submitted(proposals, *(str(n) for n in range(ENTRY_COMMANDS + 1)))
    assert len(proposals.take(10**6)) == ENTRY_COMMANDS
    assert len(proposals.take(10**6)) == 1


def test_a_write_ends_when_its_command_is_applied() -> None:
    """Found by its id; all that wait for the same id end, and nobody before `tell`."""
    proposals, _ = queue()
    one, two, again = submitted(proposals, "one", "two", "one")
    proposals.resolve(b"one", Applied(7))
    assert not one.done()
    assert proposals.untold == 2
    proposals.tell()
    assert proposals.untold == 0
    assert one.result(0) == again.result(0) == Applied(7)
    assert not two.done()


def test_what_was_applied_is_told_when_the_node_stops() -> None:
    """Between `resolve` and `tell`: the outcome is known, so nobody hears that it is not."""
    proposals, _ = queue()
    [one] = submitted(proposals, "one")
    proposals.resolve(b"one", Applied(7))
    proposals.end(lambda: NodeFault("stopped"))
    assert one.result(0) == Applied(7)


def test_what_was_applied_and_not_told_is_neither_sent_again_nor_failed() -> None:
    """Its caller gets the outcome, whatever becomes of the others meanwhile."""
    proposals, _ = queue()
    one, two = submitted(proposals, "one", "two")
    proposals.take(1000)
    proposals.resend()
    proposals.resolve(b"one", Applied(7))
    assert proposals.take(1000) == [b"two"]
    proposals.resend()
    proposals.resolve(b"two", Applied(8))
    proposals.fail_unsent(lambda: ReadOnly("no quorum"))
    proposals.tell()
    assert (one.result(0), two.result(0)) == (Applied(7), Applied(8))


def test_a_new_leader_does_not_append_again_what_it_just_applied() -> None:
    """It forwarded forty writes, took over with them in its log, and applies them all at once."""
    bench = RaftBench()
    bench.cluster()
    futures = [bench.write("b", number) for number in range(1, 41)]
    bench.turn("b")
    bench.deliver(cut="c")
    bench.sent.clear()
    last = bench.nodes["b"].log.entries[-1][1]
    bench.stop("a")
    bench.elect("b")
    assert all(isinstance(future.result(0), Applied) for future in futures)
    entries = bench.nodes["b"].log.entries
    later = [data for data, index, _ in entries if index > last and data[0] == REGULAR]
    assert later == []


def test_submissions_wake_the_engine_when_they_are_enough() -> None:
    """While writes gather; before and after each one does."""
    woken: list[int] = []
    proposals = Proposals(ManualClock(), lambda: woken.append(proposals.unsent))
    proposals.submit(b"1", b"1", Future())
    assert woken == [1]
    proposals.drain()
    proposals.accept_forwarded([b"2"])
    assert proposals.let_gather(5)
    for name in (b"3", b"4", b"5"):
        proposals.submit(name, name, Future())
    assert woken == [1, 5]
    assert not proposals.let_gather(5), "they are there already"
    proposals.drain()
    proposals.submit(b"6", b"6", Future())
    assert woken == [1, 5, 6]


def test_what_fills_an_entry_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes, goes, is sent again, dropped or failed meanwhile."""
    monkeypatch.setattr(limits, "ENTRY_BYTES", 64 + 100)
    proposals, _ = queue()
    submitted(proposals, "a" * 60)
    assert not proposals.fill_entry()
    proposals.accept_forwarded([b"b" * 40])
    assert proposals.fill_entry()
    proposals.take(1000)
    assert not proposals.fill_entry()
    submitted(proposals, "c" * 50)
    proposals.accept_forwarded([b"d" * 90])
    proposals.resend()
    assert proposals.fill_entry(), "60 and 50 are there again"
    proposals.take(60 + 8)
    assert not proposals.fill_entry()
    proposals.accept_forwarded([b"e" * 90])
    proposals.fail_sent("gone")
    proposals.fail_unsent(lambda: ReadOnly("no quorum"))
    assert proposals._queued_bytes == 0


@pytest.mark.parametrize("sent", [True, False])
def test_a_late_write_says_whether_it_may_be_somewhere(sent: bool) -> None:
    """Sent: nobody knows. Not sent: certainly not applied, and it never leaves afterwards."""
    proposals, clock = queue()
    [future] = submitted(proposals, "one")
    if sent:
        proposals.take(1000)
    clock.advance(DEADLINE_S - 0.001)
    proposals.expire()
    assert not future.done()
    clock.advance(0.001)
    proposals.expire()
    assert isinstance(future.exception(0), OutcomeUnknown if sent else NoLeader)
    assert proposals.take(1000) == []


def test_when_leadership_is_lost_only_sent_writes_are_unknown() -> None:
    """The others wait for the next leader; what followers had forwarded is theirs to end."""
    proposals, _ = queue()
    [sent] = submitted(proposals, "sent")
    proposals.take(1000)
    [waits] = submitted(proposals, "waits")
    proposals.accept_forwarded([b"other"])
    proposals.fail_sent("gone")
    assert isinstance(sent.exception(0), OutcomeUnknown)
    assert not waits.done()
    assert proposals.take(1000) == [b"waits"]


def test_read_only_refuses_what_was_not_sent() -> None:
    """What was sent may still come through."""
    proposals, _ = queue()
    [sent] = submitted(proposals, "sent")
    proposals.take(1000)
    fresh = proposals.submit(b"fresh", b"fresh", Future())
    proposals.fail_unsent(lambda: ReadOnly("no quorum"))
    assert isinstance(fresh.exception(0), ReadOnly)
    assert not sent.done()


def test_a_full_queue_refuses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a node's own clients, and of what others forward."""
    monkeypatch.setattr(limits, "PROPOSAL_QUEUE", 3)
    proposals, _ = queue()
    for name in "abc":
        proposals.submit(name.encode(), name.encode(), Future())
    with pytest.raises(Overloaded, match="3 writes are waiting"):
        proposals.submit(b"d", b"d", Future())
    assert proposals.accept_forwarded([b"1", b"2", b"3", b"4"]) == 3


def test_when_the_node_stops_every_write_ends() -> None:
    """Sent, waiting, not even taken in, and one that comes too late."""
    proposals, _ = queue()
    [sent] = submitted(proposals, "sent")
    proposals.take(1000)
    [waits] = submitted(proposals, "waits")
    fresh = proposals.submit(b"fresh", b"fresh", Future())
    proposals.end(lambda: NodeFault("stopped"))
    late = proposals.submit(b"late", b"late", Future())
    assert isinstance(sent.exception(0), OutcomeUnknown)
    for future in (waits, fresh, late):
        assert isinstance(future.exception(0), NodeFault)


def test_no_write_hangs_that_comes_while_the_node_stops() -> None:
    """Whichever thread is first."""
    for _ in range(50):
        proposals, _ = queue()
        futures: list[Future[Outcome]] = []
        go = threading.Barrier(2)

        def submit(
            proposals: Proposals = proposals,
            futures: list[Future[Outcome]] = futures,
            go: threading.Barrier = go,
        ) -> None:
            go.wait()
            for number in range(100):
                futures.append(proposals.submit(b"x", bytes([number]), Future()))

        thread = threading.Thread(target=submit)
        thread.start()
        go.wait()
        proposals.end(lambda: NodeFault("stopped"))
        thread.join()
        assert all(isinstance(future.exception(1), NodeFault) for future in futures)


def test_a_write_that_was_refused_goes_to_the_next_leader() -> None:
    """Its caller sees nothing but the time of an election, and it is applied once."""
    bench = RaftBench()
    bench.cluster()
    future = bench.write("b", 1)
    bench.turn("b")
    bench.nodes["a"].lose_leadership("the test says so")
    bench.deliver()
    assert not future.done()
    bench.run(3.0)
    assert future.result(0) == Applied(1)
    assert {node.machine.revision for node in bench.nodes.values()} == {1}


def test_what_is_sent_again_leaves_in_its_order_and_once() -> None:
    """What waits already is not queued a second time; what was never sent stays behind it."""
    proposals, _ = queue()
    submitted(proposals, "one", "two")
    proposals.take(1000)
    submitted(proposals, "three")
    proposals.resend()
    proposals.resend()
    assert proposals.take(1000) == [b"one", b"two", b"three"]
    assert proposals.take(1000) == []


def test_what_was_sent_once_is_never_called_not_applied() -> None:
    """It waits to be sent again, and then there is no quorum: it may be in some log."""
    proposals, _ = queue()
    [sent] = submitted(proposals, "one")
    proposals.take(1000)
    proposals.resend()
    [fresh] = submitted(proposals, "two")
    proposals.fail_unsent(lambda: ReadOnly("no quorum"))
    assert isinstance(sent.exception(0), OutcomeUnknown)
    assert isinstance(fresh.exception(0), ReadOnly)


def test_a_leader_without_room_is_not_pestered() -> None:
    """What it refused is forwarded to it again after a moment only."""
    proposals, clock = queue()
    submitted(proposals, "one")
    assert proposals.take_to_forward(1000) == [b"one"]
    proposals.resend(after_s=0.1)
    assert proposals.take_to_forward(1000) == []
    clock.advance(0.1)
    assert proposals.take_to_forward(1000) == [b"one"]


def test_one_entry_holds_all_that_waits() -> None:
    """One turn, one entry; every node applies the same."""
    bench = RaftBench()
    leader = bench.cluster()
    last = leader.log.entries[-1][1]
    futures = [bench.write("a", number) for number in range(20)]
    bench.run(0.1)
    assert leader.log.entries[-1][1] == last + 1
    assert [future.result(0) for future in futures] == [Applied(n) for n in range(1, 21)]


def test_a_forwarded_command_above_the_limit_cuts_the_peer_off() -> None:
    """No honest node lets one through."""
    bench = RaftBench()
    bench.cluster()
    with pytest.raises(ConnectionError, match="above the limit"):
        bench.receive("a", "b", ["prop", [job(1)[0], bytes(limits.ENTRY_BYTES)]])
