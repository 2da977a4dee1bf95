"""What our engine does where stock pysyncobj loses entries, members or dumps.

Stories for the safety rows 0 to 6 of docs/engine.md; rows 7 to 13 are in
test_contract_pysyncobj_cured_votes.py, the stock side is in test_contract_pysyncobj_stock.py.
"""

from __future__ import annotations

import pytest

from heroctl_core.raft.membership import Candidate
from heroctl_core.raft.records import DumpRef
from heroctl_core.state.outcome import Applied
from heroctl_core.testing.crash_disk import PowerCut
from heroctl_core.testing.memory_log import MemoryLog
from heroctl_core.testing.raft_bench import RaftBench, append_entries, entries, members


def follower(bench: RaftBench, letters: str = "abc") -> None:
    """Node b alone, which the test feeds as if it were the leader a."""
    bench.start("b", members(letters))


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
    assert not lost.done()
    assert all(bench.nodes[m].machine.revision == 0 for m in "ade")
    bench.run(2.0)
    assert lost.result(0) == Applied(2)  # the next leader was asked
    assert all(bench.nodes[m].machine.get("jobs", "job-2") for m in "abc")


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
    dump = bench.write_dump("b")
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
    bench.write_dump("a")
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
    bench.write_dump("a")
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
        patch.setattr(node.compaction.dumps._rng, "random", lambda: 0.0)  # type: ignore[attr-defined]
        bench.run(0.4)
    assert node.compaction.failed_installs == 1
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
    node.compaction.dumps._writing = (10**6, *node.compaction.dumps._writing[1:])  # type: ignore[attr-defined, index]
    bench.run(3.0)
    installed = node.log.dump
    assert installed == bench.nodes["a"].log.dump
    node.compaction.dumps._writing = (0, *node.compaction.dumps._writing[1:])  # type: ignore[attr-defined, index]
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
    assert node.compaction.dumps.busy
    assert node.log.dump is None
    assert node.log.entries[0][1] == 1
    dump = bench.write_dump("a")
    assert node.log.entries[0][1] == dump.index
