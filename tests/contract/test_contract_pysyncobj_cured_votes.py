"""What our engine does where stock pysyncobj counts votes, commits or answers that it should not.

Stories for the safety rows 7 to 13 of docs/engine.md; rows 0 to 6 are in
test_contract_pysyncobj_cured.py, the stock side is in test_contract_pysyncobj_stock.py.
"""

from __future__ import annotations

import pytest

from heroctl_core.codec import unpack
from heroctl_core.errors import NodeFault
from heroctl_core.raft.handshake import Hello, Relation, judge
from heroctl_core.raft.records import Base
from heroctl_core.state.outcome import Applied
from heroctl_core.testing.memory_log import MemoryLog
from heroctl_core.testing.raft_bench import RaftBench, append_entries, entries, members


def follower(bench: RaftBench, letters: str = "abc") -> None:
    """Node b alone, which the test feeds as if it were the leader a."""
    bench.start("b", members(letters))


def candidate(bench: RaftBench, letters: str = "abcde") -> int:
    """Node a asks all others for their votes; the term of it."""
    bench.start("a", members(letters))
    for other in letters[1:]:
        bench.nodes["a"].set_connected(other, connected=True)
    bench.nodes["a"].core.campaign()
    return bench.turn("a").core.term


def test_row_7_a_vote_counts_once() -> None:
    """Three copies of one voter's answer do not make a majority of five."""
    bench = RaftBench()
    term = candidate(bench)
    for _ in range(3):
        bench.receive("a", "b", ["vote", term])
    assert not bench.nodes["a"].leading
    bench.receive("a", "c", ["vote", term])
    assert bench.nodes["a"].leading


def test_row_7_a_stranger_has_no_vote() -> None:
    """Nor has a learner."""
    bench = RaftBench()
    term = candidate(bench, "abc")
    for stranger in "def":
        bench.receive("a", stranger, ["vote", term])
    assert not bench.nodes["a"].leading


def test_row_8_a_lone_voter_commits_only_what_is_durable() -> None:
    """At the moment in which a client is told, a power cut would lose neither term nor entry."""
    bench = RaftBench()
    node = bench.start("a", members("a"))
    kept: list[MemoryLog] = []
    told = bench.write("a", 1)
    told.add_done_callback(lambda _: kept.append(bench.logs["a"].crash()))
    bench.run(0.1)
    assert told.result(0) == Applied(1)
    assert kept[0].entries == node.log.entries
    assert (kept[0].term, kept[0].vote) == (1, "a")


class WatchedLog(MemoryLog):
    """A log that refuses a commit index above what is durable."""

    def set_commit(self, index: int) -> None:
        assert index <= self.synced_index
        super().set_commit(index)


def test_row_8_a_lone_voter_commits_nothing_before_its_sync() -> None:
    """Not even the no-op, in the one tick in which it becomes leader."""
    bench = RaftBench()
    node = bench.start("a", members("a"), WatchedLog.create())
    for number in range(3):
        bench.write("a", number)
        bench.run(0.05)
    assert node.machine.revision == 3


def test_row_8_no_index_and_term_get_two_commands() -> None:
    """The no-op of a term that was lost in a crash is never another entry of the same term."""
    bench = RaftBench()
    bench.start("a", members("a"))
    seen: dict[tuple[int, int], bytes] = {}
    for number in range(5):
        bench.elect("a")
        bench.write("a", number)
        for _ in range(2):
            bench.clock.advance(0.01)
            bench.turn("a")
        for data, index, term in bench.nodes["a"].log.entries:
            assert seen.setdefault((index, term), data) == data
        bench.restart("a")
    assert bench.nodes["a"].core.term == 5


def hello(member_id: str, boot_nonce: str) -> Hello:
    """What a node of the test says of itself."""
    return Hello("shop", "c1", ((1, "r1"),), member_id, boot_nonce, "n", "n:1", "k", 0)


def test_row_9_a_wiped_node_is_somebody_else() -> None:
    """It comes back with a new member id, and the candidate does not count its vote."""
    bench = RaftBench()
    bench.cluster()
    bench.write("a", 1)
    bench.run(0.1, cut="c")
    bench.stop("a")
    bench.stop("b")
    bench.start("d", members(""))  # b's machine after the wipe
    assert not bench.elect("c").leading


def test_row_9_two_processes_with_one_member_id_are_refused() -> None:
    """A copied data folder would vote twice."""
    verdict = judge(hello("m1", "boot-1"), hello("m1", "boot-2"))
    assert verdict.relation is Relation.REFUSED
    assert "data folder was copied" in verdict.reason


def test_row_9_a_node_that_lost_what_it_acknowledged_does_not_vote_until_it_has_it_again() -> None:
    """An older state of its disk comes back: the former leader tells it, and fills it again."""
    bench = RaftBench()
    leader = bench.cluster()
    older = bench.logs["b"].crash()
    told = bench.write("a", 1)
    bench.run(0.3, cut="c")
    assert told.result(0) == Applied(1)
    node = bench.restart("b", older)
    bench.deliver(cut="c")
    assert not node.takes_part
    last = leader.log.entries[-1][1]
    assert bench.receive("b", "c", ["pv", 9, 1, 2, 1]) == [["pva", node.core.term, 1, False]]
    assert bench.receive("b", "c", ["rv", 9, 1, 2]) == []
    bench.run(0.5, cut="c")
    assert node.log.entries[-1][1] >= last
    assert node.takes_part


def test_row_10_somebody_elses_entry_is_no_answer() -> None:
    """A forwarded write is lost with its leader; the entry that takes its index does not count, and
    the write is told its own revision when the next leader has it."""
    bench = RaftBench()
    bench.cluster()
    mine = bench.write("b", 1)
    bench.turn("b")
    bench.deliver(cut="a")  # the forwarded write never arrives
    bench.stop("a")
    bench.elect("c")
    other = bench.write("c", 2)
    bench.run(0.2)
    assert {mine.result(0), other.result(0)} == {Applied(1), Applied(2)}
    for number, future in ((1, mine), (2, other)):
        row = unpack(bench.nodes["b"].machine.get("jobs", f"job-{number}") or b"")
        assert Applied(row["revision"]) == future.result(0)


def test_row_10_a_repeated_write_is_applied_once() -> None:
    """The same request id through another node gives the first outcome."""
    bench = RaftBench()
    bench.cluster()
    first = bench.write("b", 1)
    bench.run(0.2)
    again = bench.write("c", 1)
    bench.run(0.2)
    assert first.result(0) == again.result(0) == Applied(1)
    assert bench.nodes["a"].machine.revision == 1


def test_row_11_a_commit_index_beyond_the_log_commits_nothing_new() -> None:
    """It is clamped to what the log has."""
    bench = RaftBench()
    base = Base(1, 0, 3, 1, 1, None, 100, None)
    node = bench.start("b", members("abc"), MemoryLog(base, [(b"\x01", 1, 0), *entries(2, 3)]))
    assert node.core.commit_index == 3
    bench.receive("b", "a", append_entries(2, entries(4, 9, 2), previous=(3, 1), commit=3))
    assert node.core.applied_index == 3


def test_row_11_with_a_dump_the_commit_index_is_not_below_what_is_applied() -> None:
    """After a start the applied index is the dump's, and so is the least commit index."""
    bench = RaftBench()
    bench.start("a", members("a"))
    bench.elect("a")
    bench.write("a", 1)
    bench.run(0.05)
    dump = bench.write_dump("a")
    node = bench.restart("a")
    assert node.core.applied_index == dump.index
    assert node.core.commit_index >= dump.index


def test_row_12_the_first_message_meets_the_dump() -> None:
    """Before any turn: entries below the dump are taken as committed, not as missing."""
    bench = RaftBench()
    follower(bench)
    bench.receive("b", "a", append_entries(1, entries(2, 20), previous=(1, 0), commit=20))
    bench.write_dump("b")
    bench.restart("b")
    late = append_entries(1, entries(2, 5), previous=(1, 0), commit=5, seq=3)
    assert bench.receive("b", "a", late) == [["next", 1, 3, 21, True]]
    assert bench.nodes["b"].log.entries[-1][1] == 20


def test_row_13_an_answer_of_an_earlier_term_does_not_count() -> None:
    """Figure 8 of the paper: an old acknowledgement must not commit an entry of the new term."""
    bench = RaftBench()
    leader = bench.cluster()
    bench.elect("b")
    bench.elect("a")
    assert leader.leading
    assert leader.core.term == 3
    told = bench.write("a", 1)
    bench.turn("a")
    bench.sent.clear()
    last = leader.log.entries[-1][1]
    for sender in "bc":
        bench.receive("a", sender, ["next", 2, 1, last + 1, True])
    assert not told.done()
    bench.receive("a", "b", ["next", 3, leader.replication.seq, last + 1, True])
    assert told.result(0) == Applied(1)


def test_row_13_a_stale_leader_is_told_and_steps_down() -> None:
    """It gets the newer term as answer, and forwards what its clients wrote."""
    bench = RaftBench()
    stale = bench.cluster()
    bench.elect("b", cut="a")
    assert bench.nodes["b"].leading
    told = bench.write("a", 1)
    bench.sent.clear()
    bench.run(0.3)
    assert not stale.leading
    assert told.result(0) == Applied(1)
    assert bench.nodes["b"].leading


def test_two_leaders_of_one_term_stop_the_node() -> None:
    """It cannot happen; if it does, going on would harm the data."""
    bench = RaftBench()
    follower(bench)
    bench.receive("b", "a", append_entries(4))
    with pytest.raises(NodeFault, match="two leaders in term 4"):
        bench.receive("b", "c", append_entries(4))
