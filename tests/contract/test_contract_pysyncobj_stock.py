"""What stock pysyncobj does wrong: the reasons for the guard, the log and the overrides.

Each test shows one defect as it is today; the numbers are those of docs/engine.md. When a
new version fails one of them, the cure beside it may be dropped: read the row, then decide. None
of this touches our own engine; tests/contract and tests/simulation show that it does better.
"""

from __future__ import annotations

from pathlib import Path

import pysyncobj.version
import pytest
from pysyncobj.config import FAIL_REASON
from pysyncobj.node import Node
from stock_pysyncobj import (
    FIRST,
    NOOP,
    Bench,
    Disk,
    Stock,
    append_entries,
    command,
    dump_at,
    entries,
    led_cluster,
    membership,
    patch,
    read_dump,
    snapshot_parts,
    write_dump,
)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with its clock at zero."""
    made = Bench()
    patch(monkeypatch, made)
    return made


def test_the_version_is_the_one_that_was_read() -> None:
    """These tests speak about 0.3.17; another version has to be read again before it is used."""
    assert pysyncobj.version.VERSION == "0.3.17"


def test_row_0_a_matching_message_truncates_acknowledged_entries(bench: Bench) -> None:
    """A delayed copy of an AppendEntries cuts off all that came after it."""
    follower = bench.start("B", "AC")
    follower.receive("A", append_entries(1, entries(2, 10), previous=(1, 0)))
    assert follower.answer()["next_node_idx"] == 11
    follower.receive("A", append_entries(1, entries(2, 2), previous=(1, 0)))
    assert follower.last[1] == 2


def test_row_0_a_committed_entry_is_lost(bench: Bench) -> None:
    """The same across a cluster: a client was told "done", and the next leader lacks the entry."""
    nodes = led_cluster(bench)
    nodes["A"].propose("paid")
    bench.run(nodes, cut="C")
    assert nodes["A"].outcomes == [FAIL_REASON.SUCCESS]
    nodes["B"].receive("A", append_entries(1, previous=(1, 0)))  # an old heartbeat comes late
    del nodes["A"]
    bench.campaign(nodes["C"])
    bench.run(nodes)
    assert nodes["C"].leads
    assert all(b"paid" not in content for content, _, _ in nodes["C"].log)


def test_row_1_two_majorities_after_two_changes_at_once(bench: Bench) -> None:
    """A cut-off leader adds two nodes at once and commits with them, while the rest elects."""
    nodes = led_cluster(bench)
    for name in "DE":
        nodes[name] = bench.start(name, "ABC")
        nodes[name].stay_follower()
        nodes["A"].core.addNodeToCluster(Node(name))
    nodes["A"].connect("D", "E")
    bench.run(nodes, cut="BC")
    nodes["A"].propose("on A")
    bench.run(nodes, cut="BC")
    bench.campaign(nodes["B"])
    bench.run(nodes, cut="BC")
    nodes["B"].propose("on B")
    bench.run(nodes, cut="BC")
    assert nodes["A"].outcomes == nodes["B"].outcomes == [FAIL_REASON.SUCCESS]
    assert (nodes["A"].applied, nodes["B"].applied) == ([b"on A"], [b"on B"])


def test_row_2_a_restart_forgets_the_configuration_in_the_log(bench: Bench) -> None:
    """After a restart the given peers count, not the newest configuration that is in the log."""
    log = [FIRST, (NOOP, 2, 1), (membership("add", "D"), 3, 1)]
    node = bench.start("B", "AC", Disk(log, term=1, commit=2))
    node.tick()
    assert node.others == {"A", "C"}


def test_row_2_catching_up_walks_back_through_old_configurations(bench: Bench) -> None:
    """Applying a change that was appended long ago makes it again, over the newer ones."""
    node = bench.start("B", "ACDE")
    changes = [("rem", "D"), ("rem", "E"), ("add", "D"), ("add", "E")]
    log = [(membership(*change), index, 1) for index, change in enumerate(changes, 2)]
    node.receive("A", append_entries(1, log, previous=(1, 0)))
    assert node.others == set("ACDE")
    node.receive("A", append_entries(1, previous=(5, 1), commit=3))
    node.tick()
    assert node.others == set("AC")


def test_row_2_a_dump_carries_a_configuration_from_above_its_index(
    bench: Bench, tmp_path: Path
) -> None:
    """The dump at index 2 names a member that only the uncommitted entry 3 adds."""
    dump = tmp_path / "dump"
    leader = bench.leader("A", "BC", dump=dump)
    leader.receive("B", {"type": "next_node_idx", "reset": False} | acknowledged(2))
    leader.tick()
    leader.core.addNodeToCluster(Node("D"))
    leader.core.forceLogCompaction()
    leader.tick()
    last, _, members = read_dump(str(dump))
    assert (leader.last[1], leader.commit, last[1]) == (3, 2, 2)
    assert {node.id for node in members} == set("ABCD")


def acknowledged(index: int) -> dict[str, object]:
    """The rest of a follower's answer that it has everything up to `index`."""
    return {"next_node_idx": index + 1, "success": True}


def test_row_3_a_message_without_previous_index_commits_an_unverified_tail(bench: Bench) -> None:
    """While a leader writes its dump, its heartbeat makes a follower apply a dead leader's tail."""
    follower = bench.start("B", "AC")
    follower.tick()
    follower.receive("C", append_entries(1, entries(2, 50), previous=(1, 0)))
    heartbeat = {"type": "append_entries", "term": 3, "commit_index": 20, "serialized": None}
    follower.receive("A", heartbeat)
    follower.tick()
    assert len(follower.applied) == 19
    assert all(content.endswith(b"of term 1") for content in follower.applied)


def dumped_follower(bench: Bench, dump: Path) -> Stock:
    """A follower that acknowledged 2 to 21, applied to 11, and has its dump at 11 on disk."""
    follower = bench.start("B", "AC", dump=dump)
    follower.receive("A", append_entries(1, entries(2, 21), previous=(1, 0), commit=11))
    assert follower.answer()["next_node_idx"] == 22
    follower.core.forceLogCompaction()
    follower.tick()
    assert read_dump(str(dump))[0][1] == 11
    return follower


def test_row_4_a_crash_before_the_log_is_trimmed_clears_it(bench: Bench, tmp_path: Path) -> None:
    """The dump is renamed, the log not yet trimmed: at the next start ten entries are gone."""
    follower = dumped_follower(bench, tmp_path / "dump")
    assert follower.last[1] == 21
    again = bench.start("B", "AC", follower.disk.copy(), dump=tmp_path / "dump")
    again.tick()
    assert [index for _, index, _ in again.log] == [10, 11]


def test_row_4_a_dump_that_is_read_as_lists_clears_the_log(bench: Bench, tmp_path: Path) -> None:
    """Entries are compared as tuples: a serializer without tuples loses the rest of the log."""
    follower = dumped_follower(bench, tmp_path / "dump")
    follower.tick()
    assert [index for _, index, _ in follower.log] == [*range(10, 22)]

    def read_lists(path: str) -> list[object]:
        last, before, members = read_dump(path)
        return (list(last), list(before), members)

    disk = follower.disk.copy()
    again = bench.start("B", "AC", disk, dump=tmp_path / "dump", deserializer=read_lists)
    again.tick()
    assert again.last[1] == 11


def test_row_5_an_older_snapshot_wipes_a_newer_log(bench: Bench, tmp_path: Path) -> None:
    """A late snapshot of index 10 replaces a log that is committed and applied up to 100."""
    follower = bench.start("B", "AC", dump=tmp_path / "dump")
    follower.receive("A", append_entries(1, entries(2, 100), previous=(1, 0), commit=100))
    follower.tick()
    assert len(follower.applied) == 99
    follower.receive("A", *snapshot_parts(1, dump_at(10, 1, "ABC"), commit=100))
    assert (follower.last[1], follower.core.raftLastApplied) == (10, 10)


def test_row_5_a_damaged_snapshot_is_answered_with_success(bench: Bench, tmp_path: Path) -> None:
    """The load fails, the answer says that everything is there, up to a dead leader's tail."""
    follower = bench.start("B", "AC", dump=tmp_path / "dump")
    follower.receive("C", append_entries(1, entries(2, 50), previous=(1, 0)))
    follower.take()
    follower.receive("A", *snapshot_parts(3, b"no dump at all", commit=20))
    answer = follower.answer()
    assert (answer["success"], answer["next_node_idx"]) == (True, 51)
    assert follower.commit == 20


def test_row_5_a_lost_chunk_replaces_the_good_dump(bench: Bench, tmp_path: Path) -> None:
    """Chunks have no offset: what is missing is not noticed before the good file is gone."""
    dump = tmp_path / "dump"
    follower = bench.start("B", "AC", dump=dump)
    dump.write_bytes(dump_at(5, 1, "ABC"))
    header = {"type": "append_entries", "term": 1, "commit_index": 1}
    for part in ((b"first", True, False), (b"third", False, False), (b"", False, True)):
        follower.receive("A", header | {"serialized": part})
    assert dump.read_bytes() == b"firstthird"


def test_row_5_an_own_dump_overwrites_a_newer_one(bench: Bench, tmp_path: Path) -> None:
    """A snapshot of 50 comes while the own dump of 11 is being written; the file ends as 11."""
    dump = tmp_path / "dump"
    parts = snapshot_parts(1, dump_at(50, 1, "ABC"), commit=50)

    def slow(path: str, content: object) -> None:
        follower.receive("A", *parts)
        write_dump(path, content)

    follower = bench.start("B", "AC", dump=dump, serializer=slow)
    follower.receive("A", append_entries(1, entries(2, 21), previous=(1, 0), commit=11))
    follower.core.forceLogCompaction()
    follower.tick()
    assert follower.core.raftLastApplied == 50
    assert read_dump(str(dump))[0][1] == 11


def test_row_6_a_dump_is_renamed_before_it_is_written(bench: Bench, tmp_path: Path) -> None:
    """A serializer that goes on in the background destroys the good dump when it returns."""
    dump = tmp_path / "dump"
    written = []

    def goes_on_later(path: str, content: object) -> None:
        written.append(Path(path).write_bytes(b"half of it"))

    follower = bench.start("B", "AC", dump=dump, serializer=goes_on_later)
    follower.receive("A", append_entries(1, entries(2, 21), previous=(1, 0), commit=11))
    follower.tick()
    dump.write_bytes(b"the good dump")
    follower.core.forceLogCompaction()
    follower.tick()
    assert written
    assert dump.read_bytes() == b"half of it"


def test_row_7_one_vote_counts_twice(bench: Bench) -> None:
    """Of five voters, one answer that arrives twice makes a leader of two votes."""
    candidate = bench.start("A", "BCDE")
    bench.campaign(candidate)
    vote = {"type": "response_vote", "term": candidate.term}
    candidate.receive("B", vote)
    assert not candidate.leads
    candidate.receive("B", vote)
    assert candidate.leads


def test_row_7_a_stranger_votes(bench: Bench) -> None:
    """The answer of a node that is no member elects."""
    candidate = bench.start("A", "BC")
    bench.campaign(candidate)
    candidate.receive("X", {"type": "response_vote", "term": candidate.term})
    assert candidate.leads


def test_row_8_a_lone_voter_commits_in_one_tick(bench: Bench) -> None:
    """Candidate, leader, no-op, commit: one tick, so no sync of term or entry lies between."""
    node = bench.start("A")
    node.tick()
    before = node.disk.copy()
    bench.campaign(node)
    assert (before.term, before.entries) == (0, [FIRST])
    assert (node.term, node.commit, node.last) == (1, 2, (NOOP, 2, 1))


def test_row_8_the_same_index_and_term_get_two_commands(bench: Bench) -> None:
    """Whoever saw what a lone voter sent in that tick keeps another command under its index."""
    synced = Disk([FIRST])

    def boot(text: str) -> Stock:
        node = bench.start("A", "", synced.copy())
        node.core._SyncObj__onReadonlyNodeConnected(Node("L"))
        node.propose(text)
        bench.campaign(node)
        return node

    before, after = boot("one"), boot("two")
    sent = [entry for m in before.take("L", "append_entries") for entry in m["entries"]]
    assert (command("one"), 3, 1) in sent
    assert after.log[2] == (command("two"), 3, 1)


def test_row_9_a_wiped_node_votes_again(bench: Bench) -> None:
    """A node that lost its disk comes back under its id, and a majority forgets a write."""
    nodes = led_cluster(bench)
    nodes["A"].propose("paid")
    bench.run(nodes, cut="C")
    assert nodes["A"].outcomes == [FAIL_REASON.SUCCESS]
    del nodes["A"]
    nodes["B"] = bench.start("B", "AC")  # an empty disk
    nodes["B"].stay_follower()
    bench.campaign(nodes["C"])
    bench.run(nodes)
    assert nodes["C"].leads
    assert all(b"paid" not in content for content, _, _ in nodes["C"].log)


def test_row_10_somebody_elses_entry_is_reported_as_success(bench: Bench) -> None:
    """Request numbers begin at 1 with each process: an answer to the one before is taken."""
    follower = bench.start("B", "AC")
    follower.receive("A", append_entries(1, previous=(1, 0)))
    follower.take()
    follower.propose("never arrives")
    follower.tick()
    assert follower.take(kind="apply_command")[0]["request_id"] == 1
    answer = {"type": "apply_command_response", "request_id": 1, "log_idx": 2, "log_term": 1}
    follower.receive("A", answer)
    foreign = [(command("foreign"), 2, 1)]
    follower.receive("A", append_entries(1, foreign, previous=(1, 0), commit=2))
    follower.tick()
    assert follower.applied == [b"foreign"]
    assert follower.outcomes == [FAIL_REASON.SUCCESS]


def test_row_11_a_commit_index_beyond_the_log_commits_new_entries_at_once(bench: Bench) -> None:
    """The stored commit index is believed: entries count as committed before anybody has them."""
    log = [FIRST, (command("a"), 2, 1)]
    leader = bench.leader("A", "BC", Disk(log, term=1, commit=10))
    leader.propose("nowhere else")
    leader.tick()
    leader.tick()
    assert leader.outcomes == [FAIL_REASON.SUCCESS]
    assert leader.commit == 10 > leader.last[1]


def test_row_11_after_a_dump_the_commit_index_is_below_the_applied_one(
    bench: Bench, tmp_path: Path
) -> None:
    """A dump at 50 and a commit index that was not written down: commit 1, applied 50."""
    dump = tmp_path / "dump"
    dump.write_bytes(dump_at(50, 2, "ABC"))
    before, last = (command("y"), 49, 2), (command("z"), 50, 2)
    node = bench.start("B", "AC", Disk([before, last], term=2), dump=dump)
    node.tick()
    assert (node.commit, node.core.raftLastApplied) == (1, 50)


def test_row_12_before_the_first_tick_the_dump_is_not_there(bench: Bench, tmp_path: Path) -> None:
    """A node with a dump at 1000 votes for an empty one when it is asked before its first tick."""
    dump = tmp_path / "dump"
    dump.write_bytes(dump_at(1000, 7, "ABC"))
    node = bench.start("A", "BC", dump=dump)
    request = {"type": "request_vote", "term": 8, "last_log_term": 0, "last_log_index": 1}
    node.receive("B", request)
    assert node.take("B", "response_vote") == [{"type": "response_vote", "term": 8}]


def test_row_13_an_answer_of_an_earlier_term_counts(bench: Bench) -> None:
    """Answers carry no term: one that was given in term 1 commits what only the leader has."""
    follower = bench.start("B", "AC")
    follower.receive("A", append_entries(1, entries(2, 6), previous=(1, 0)))
    late = follower.answer()
    assert "term" not in late
    log = [FIRST, (NOOP, 2, 1), *entries(3, 5, term=2)]
    leader = bench.leader("A", "BC", Disk(log, term=2))  # term 3; its own no-op stands at 6
    leader.receive("B", late)
    leader.tick()
    assert leader.term == 3
    assert leader.commit == 6


def test_row_13_a_stale_leader_gets_no_answer(bench: Bench) -> None:
    """A message of a lower term is dropped in silence, so its sender never learns of the new."""
    follower = bench.start("B", "AC")
    follower.receive("C", append_entries(4, previous=(1, 0)))
    follower.take()
    follower.receive("A", append_entries(2, previous=(1, 0)))
    assert follower.take() == []
