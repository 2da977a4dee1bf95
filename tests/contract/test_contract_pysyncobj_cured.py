"""What our engine does where stock pysyncobj loses data or gets two leaders.

One story or two for each safety row (0 to 13) of docs/engine-defects.md; the stock side of the same
stories is test_contract_pysyncobj_stock.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from heroctl_core.errors import NodeFault, OutcomeUnknown
from heroctl_core.raft.handshake import Hello, Relation, judge
from heroctl_core.raft.membership import Candidate
from heroctl_core.raft.records import Base, DumpRef
from heroctl_core.state.outcome import Applied
from heroctl_core.testing.crash_disk import PowerCut
from heroctl_core.testing.memory_log import MemoryLog
from heroctl_core.testing.raft_bench import RaftBench, append_entries, entries, members


def follower(bench: RaftBench, letters: str = "abc") -> None:
    """Node b alone, which the test feeds as if it were the leader a."""
    bench.start("b", members(letters))


def wait_for(bench: RaftBench, letter: str, happened: Callable[[], object]) -> None:
    """Turns of one node until something has happened."""
    for _ in range(30):
        if happened():
            return
        bench.turn(letter)
    raise AssertionError("it never happened")


def write_and_dump(bench: RaftBench, letter: str) -> DumpRef:
    """Makes a node write a dump of what it has applied, and cut its log there."""
    node = bench.nodes[letter]
    node.begin_dump()
    wait_for(
        bench, letter, lambda: node.log.dump and node.log.dump.index == node.core.applied_index
    )
    assert node.log.dump is not None
    return node.log.dump


def test_row_0_a_matching_message_truncates_nothing() -> None:
    """A delayed copy of an AppendEntries is acknowledged for what it covers; the rest stays."""
    bench = RaftBench()
    follower(bench)
    answers = bench.receive("b", "a", append_entries(1, entries(2, 10), previous=(1, 0), seq=1))
    assert answers == [["next", 1, 1, 11, True]]
    answers = bench.receive("b", "a", append_entries(1, entries(2, 2), previous=(1, 0), seq=2))
    assert answers == [["next", 1, 2, 3, True]]
    assert bench.nodes["b"].log.entries[-1][1] == 10


def test_row_0_an_acknowledged_write_survives_a_late_heartbeat() -> None:
    """The leader dies after a write; the follower that has it got an old heartbeat meanwhile."""
    bench = RaftBench()
    bench.cluster()
    paid = bench.write("a", 1)
    bench.run(0.1, cut="c")
    assert paid.result(0) == Applied(1)
    bench.receive("b", "a", append_entries(1, previous=(1, 0)))
    bench.stop("a")
    assert not bench.elect("c").leading
    bench.elect("b")
    bench.run(0.2)
    assert all(node.machine.get("jobs", "job-1") for node in bench.nodes.values())


def test_row_1_one_membership_change_at_a_time() -> None:
    """A leader that is cut off with two candidates appends one change and waits for its commit."""
    bench = RaftBench()
    leader = bench.cluster()
    for letter in "de":
        bench.start(letter, members(""))
    leader.candidates = {m: Candidate(f"node-{m}", f"{m}:1") for m in "de"}
    last = leader.log.entries[-1][1]
    bench.run(0.5, cut="bc")
    assert leader.log.entries[-1][1] == last + 1
    assert leader.configuration == members("abc", learners="d")
    assert leader.configuration.voters == {"a", "b", "c"}


def test_row_1_no_two_majorities_after_changes_at_once() -> None:
    """The cut-off leader commits nothing with its candidates, while the rest elects and commits."""
    bench = RaftBench()
    leader = bench.cluster()
    for letter in "de":
        bench.start(letter, members(""))
    leader.candidates = {m: Candidate(f"node-{m}", f"{m}:1") for m in "de"}
    lost = bench.write("a", 1)
    bench.run(0.1, cut="bc")
    bench.sent.clear()
    bench.elect("b", cut="ade")
    kept = bench.write("b", 2)
    bench.run(0.2, cut="ade")
    assert kept.result(0) == Applied(1)
    bench.run(2.0)
    assert isinstance(lost.exception(0), OutcomeUnknown)
    assert all(bench.nodes[m].machine.get("jobs", "job-2") for m in "abc")
    assert not any(bench.nodes[m].machine.get("jobs", "job-1") for m in "abc")


def change(letters: str, index: int, term: int = 1) -> tuple[bytes, int, int]:
    """A membership entry."""
    return (b"\x02" + members(letters).encode(), index, term)


def test_row_2_the_configuration_in_the_log_counts_after_a_restart() -> None:
    """Also when it is not committed, and not the one that the node was first started with."""
    bench = RaftBench()
    follower(bench)
    bench.receive("b", "a", append_entries(1, [change("abcd", 2)], previous=(1, 0)))
    assert bench.restart("b").configuration == members("abcd")


def test_row_2_applying_an_old_change_does_not_bring_it_back() -> None:
    """A follower that catches up goes by the newest configuration in its log all the time."""
    bench = RaftBench()
    follower(bench, "abcde")
    log = [change("abce", 2), change("abc", 3), change("abcd", 4), change("abcde", 5)]
    bench.receive("b", "a", append_entries(1, log, previous=(1, 0)))
    bench.receive("b", "a", append_entries(1, previous=(5, 1), commit=3))
    node = bench.nodes["b"]
    assert (node.core.applied_index, node.configuration) == (3, members("abcde"))


def test_row_2_a_truncated_change_is_undone() -> None:
    """A new leader replaces the tail with the change in it: the configuration before counts."""
    bench = RaftBench()
    follower(bench)
    bench.receive("b", "a", append_entries(1, [change("abcd", 2)], previous=(1, 0)))
    bench.receive("b", "c", append_entries(2, entries(2, 2, 2), previous=(1, 0)))
    assert bench.nodes["b"].configuration == members("abc")


def test_row_2_a_dump_carries_the_configuration_of_its_own_index() -> None:
    """Not the newer one that is only appended."""
    bench = RaftBench()
    follower(bench)
    log = [*entries(2, 2), change("abcd", 3)]
    bench.receive("b", "a", append_entries(1, log, previous=(1, 0), commit=2))
    dump = write_and_dump(bench, "b")
    assert dump.index == 2
    assert bench.disks["b"].stored[dump.name].configuration == members("abc")
    assert bench.restart("b").configuration == members("abcd")


def test_row_3_a_message_without_previous_index_commits_nothing_unverified() -> None:
    """The commit index of a new leader does not count for the tail of a dead one."""
    bench = RaftBench()
    follower(bench)
    bench.receive("b", "c", append_entries(1, entries(2, 50), previous=(1, 0)))
    answers = bench.receive("b", "a", append_entries(2, commit=50, seq=7))
    assert answers == [["next", 2, 7, 2, False]]
    assert bench.nodes["b"].core.commit_index == 1


class CutAtCompaction(MemoryLog):
    """A log whose power goes between "the dump is durable" and "the log names it"."""

    def compact(self, dump: DumpRef, keep_from: int) -> None:
        raise PowerCut


def test_row_4_a_crash_between_dump_and_log_keeps_every_entry() -> None:
    """The dump is there, the log does not name it: the node starts with what it had."""
    bench = RaftBench()
    bench.start("a", members("a"), CutAtCompaction.create())
    bench.elect("a")
    for number in range(5):
        bench.write("a", number)
        bench.run(0.05)
    before = bench.nodes["a"].machine.fingerprint("jobs")
    bench.nodes["a"].begin_dump()
    with pytest.raises(PowerCut):
        bench.run(1.0)
    assert bench.disks["a"].stored
    bench.stop("a")
    node = bench.start("a", members("a"), bench.logs["a"])
    bench.elect("a")
    assert node.log.dump is None
    assert (node.machine.revision, node.machine.fingerprint("jobs")) == (5, before)


def test_row_4_a_restart_from_a_dump_goes_on_where_it_was() -> None:
    """State from the dump, the entries behind it from the log, nothing twice."""
    bench = RaftBench()
    bench.start("a", members("a"))
    bench.elect("a")
    bench.write("a", 1)
    bench.run(0.05)
    write_and_dump(bench, "a")
    bench.write("a", 2)
    bench.run(0.05)
    before = bench.nodes["a"].machine.fingerprint("jobs")
    node = bench.restart("a")
    bench.elect("a")
    assert (node.machine.revision, node.machine.fingerprint("jobs")) == (2, before)


def behind_a_dump(bench: RaftBench) -> None:
    """Node c misses what the leader a has in its dump only."""
    bench.cluster()
    for number in range(3):
        bench.write("a", number)
        bench.run(0.05, cut="c")
    write_and_dump(bench, "a")
    bench.sent.clear()


def test_row_5_a_snapshot_brings_a_follower_up_to_date() -> None:
    """The follower takes the state over and says so only afterwards."""
    bench = RaftBench()
    behind_a_dump(bench)
    bench.run(3.0)
    node = bench.nodes["c"]
    assert node.log.dump == bench.nodes["a"].log.dump
    assert node.machine.fingerprint("jobs") == bench.nodes["a"].machine.fingerprint("jobs")


def test_row_5_an_older_snapshot_changes_nothing() -> None:
    """What the node has committed is newer: it says so, and keeps its log."""
    bench = RaftBench()
    follower(bench)
    bench.receive("b", "a", append_entries(1, entries(2, 20), previous=(1, 0), commit=20))
    answers = bench.receive("b", "a", ["inst", 1, [7, 1, "00", "7-1.dump", 100], 0, bytes(100)])
    assert ["next", 1, 0, 21, True] in answers
    assert (bench.nodes["b"].log.entries[0][1], bench.nodes["b"].log.entries[-1][1]) == (1, 20)
    assert bench.nodes["b"].log.dump is None


def test_row_5_a_snapshot_that_cannot_be_used_is_not_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log stays, no success is sent, and the leader's next attempt is taken."""
    bench = RaftBench()
    behind_a_dump(bench)
    node = bench.nodes["c"]
    with monkeypatch.context() as patch:
        patch.setattr(node._dumps._rng, "random", lambda: 0.0)  # type: ignore[attr-defined]
        bench.run(0.4)
    assert node.failed_installs == 1
    assert node.log.dump is None
    dump = bench.nodes["a"].log.dump
    assert dump is not None
    assert bench.nodes["a"].core.match_index("c") < dump.index
    bench.run(5.0)
    assert node.log.dump == dump


def test_row_5_a_longer_dump_than_announced_cuts_the_peer_off() -> None:
    """And the node goes on."""
    bench = RaftBench()
    follower(bench)
    bench.receive("b", "a", append_entries(1))
    with pytest.raises(ConnectionError, match="longer than it said"):
        bench.receive("b", "a", ["inst", 1, [9, 1, "00", "9-1.dump", 10], 0, bytes(11)])


def test_row_5_an_own_older_dump_does_not_replace_an_installed_one() -> None:
    """A dump that was being written when a newer one came is dropped."""
    bench = RaftBench()
    behind_a_dump(bench)
    node = bench.nodes["c"]
    node.begin_dump()
    node._dumps._writing = (10**6, *node._dumps._writing[1:])  # type: ignore[attr-defined, index]
    bench.run(3.0)
    installed = node.log.dump
    assert installed == bench.nodes["a"].log.dump
    node._dumps._writing = (0, *node._dumps._writing[1:])  # type: ignore[attr-defined, index]
    bench.run(0.1)
    assert node.log.dump == installed


def test_row_6_a_dump_counts_only_when_it_is_durable() -> None:
    """While it is being written the log neither names it nor is cut."""
    bench = RaftBench()
    bench.start("a", members("a"))
    bench.elect("a")
    bench.write("a", 1)
    bench.run(0.05)
    node = bench.nodes["a"]
    node.begin_dump()
    assert node._dumps.busy
    assert node.log.dump is None
    assert node.log.entries[0][1] == 1
    wait_for(bench, "a", lambda: node.log.dump)
    assert node.log.entries[0][1] == node.log.dump.index  # type: ignore[union-attr]


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
    """A forwarded write is lost with its leader; the entry that takes its index does not count."""
    bench = RaftBench()
    bench.cluster()
    mine = bench.write("b", 1)
    bench.turn("b")
    bench.deliver(cut="a")  # the forwarded write never arrives
    bench.stop("a")
    bench.elect("c")
    other = bench.write("c", 2)
    bench.run(0.2)
    assert other.result(0) == Applied(1)
    assert isinstance(mine.exception(0), OutcomeUnknown)
    assert bench.nodes["b"].machine.get("jobs", "job-1") is None


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
    dump = write_and_dump(bench, "a")
    node = bench.restart("a")
    assert node.core.applied_index == dump.index
    assert node.core.commit_index >= dump.index


def test_row_12_the_first_message_meets_the_dump() -> None:
    """Before any turn: entries below the dump are taken as committed, not as missing."""
    bench = RaftBench()
    follower(bench)
    bench.receive("b", "a", append_entries(1, entries(2, 20), previous=(1, 0), commit=20))
    write_and_dump(bench, "b")
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
    """It gets the newer term as answer, and its clients the truth."""
    bench = RaftBench()
    stale = bench.cluster()
    bench.elect("b", cut="a")
    assert bench.nodes["b"].leading
    told = bench.write("a", 1)
    bench.sent.clear()
    bench.run(0.3)
    assert not stale.leading
    assert isinstance(told.exception(0), OutcomeUnknown)


def test_two_leaders_of_one_term_stop_the_node() -> None:
    """It cannot happen; if it does, going on would harm the data."""
    bench = RaftBench()
    follower(bench)
    bench.receive("b", "a", append_entries(4))
    with pytest.raises(NodeFault, match="two leaders in term 4"):
        bench.receive("b", "c", append_entries(4))
