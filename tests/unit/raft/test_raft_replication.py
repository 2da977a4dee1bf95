"""What a leader sends to whom, what an answer means, and what a frame may look like."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl_core.raft import replication
from heroctl_core.raft.grouping import UNDER_WAY_S
from heroctl_core.testing.raft_bench import RaftBench, append_entries, entries, members


def appended(bench: RaftBench, target: str) -> list[list[Any]]:
    """The AppendEntries that wait for a node, taken away."""
    frames = [sent.frame for sent in bench.sent if sent.target == target and sent.frame[0] == "ae"]
    bench.sent.clear()
    return frames


def test_an_entry_leaves_before_the_leader_has_synced_it() -> None:
    """But the leader's own copy counts only afterwards (docs/engine.md, "One turn")."""
    bench = RaftBench()
    leader = bench.cluster()
    synced: list[int] = []
    send = leader.send

    def watched(target: str, frame: list[object]) -> None:
        synced.append(leader.log.synced_index)
        send(target, frame)

    leader.replication._send = watched
    bench.write("a", 1)
    bench.turn("a")
    last = leader.log.entries[-1][1]
    assert synced[0] == last - 1
    assert leader.log.synced_index == last


def test_a_follower_that_lags_gets_one_probe_at_a_time() -> None:
    """Until it says where its log and ours meet; then everything at once."""
    bench = RaftBench()
    bench.cluster()
    for number in range(5):
        bench.write("a", number)
        bench.run(0.03, cut="c")
    bench.nodes["a"].set_connected("c", connected=False)
    bench.nodes["a"].set_connected("c", connected=True)
    bench.sent.clear()
    bench.clock.advance(0.2)
    bench.turn("a")
    assert all(frame[5] == [] for frame in appended(bench, "c"))
    bench.run(0.3)
    assert bench.indexes("c") == bench.indexes("a")


def test_the_window_of_a_follower_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer is sent a bounded number of messages with entries."""
    monkeypatch.setattr(replication, "WINDOW_MESSAGES", 3)
    bench = RaftBench()
    bench.cluster()
    bench.sent.clear()
    with_entries = 0
    for number in range(10):
        bench.write("a", number)
        bench.clock.advance(UNDER_WAY_S)
        bench.turn("a")
        with_entries += sum(bool(frame[5]) for frame in appended(bench, "b"))
    assert with_entries == 3


def answer(bench: RaftBench, next_index: int, *, seq: int | None = None, success: bool) -> None:
    """An answer of b to the leader a."""
    node = bench.nodes["a"]
    seq = node.replication.seq if seq is None else seq
    bench.receive("a", "b", ["next", node.core.term, seq, next_index, success])


def test_an_acknowledgement_beyond_the_log_cuts_the_peer_off() -> None:
    """The last index itself is good."""
    bench = RaftBench()
    leader = bench.cluster()
    last = leader.log.entries[-1][1]
    answer(bench, last + 1, success=True)
    with pytest.raises(ConnectionError, match="beyond our log"):
        answer(bench, last + 2, success=True)


def test_an_answer_to_a_message_that_was_never_sent_cuts_the_peer_off() -> None:
    """It would confirm reads that nobody asked about."""
    bench = RaftBench()
    leader = bench.cluster()
    with pytest.raises(ConnectionError, match="it answers message"):
        answer(bench, 3, seq=leader.replication.seq + 1, success=True)


def test_a_late_refusal_takes_nothing_back() -> None:
    """What a follower acknowledged on this connection it has."""
    bench = RaftBench()
    leader = bench.cluster()
    matched = leader.core.match_index("b")
    assert matched == 2
    made = leader.replication
    assert made.answered("b", 2, made.seq, 0.0, success=False) is None
    assert leader.core.match_index("b") == matched
    assert leader.core.next_index("b") == matched + 1


def test_a_new_connection_has_to_show_what_it_holds() -> None:
    """A disk may have lost what was acknowledged before (row 9); the commit index stays."""
    bench = RaftBench()
    leader = bench.cluster()
    commit = leader.core.commit_index
    bench.restart("b")
    assert leader.core.match_index("b") == 0
    assert leader.core.commit_index == commit
    bench.run(0.3)
    assert leader.core.match_index("b") == leader.log.entries[-1][1]


def test_a_majority_has_answered_what_the_middle_one_answered() -> None:
    """Reads wait for it; learners do not count, the leader always does."""
    bench = RaftBench()
    made = bench.cluster().replication
    made.begin("bcd", 0.0)
    made.seq = 50
    for member_id, seq in (("b", 10), ("c", 20), ("d", 30)):
        made.followers[member_id].answered(seq, 0.0)
    assert made.quorum_seq(members("a"), "a") == 51
    assert made.quorum_seq(members("ab"), "a") == 10
    assert made.quorum_seq(members("abc"), "a") == 20
    assert made.quorum_seq(members("abcd"), "a") == 20
    assert made.quorum_seq(members("abc", learners="d"), "a") == 20


def test_a_batch_is_bounded_but_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry above the batch size travels alone."""
    monkeypatch.setattr(replication.limits, "APPEND_BATCH_BYTES", 10)
    log = [(bytes(size), index, 1) for index, size in enumerate((1, 6, 4, 5, 99, 1))]
    taken = []
    start = 0
    while start < len(log):
        batch, _ = replication._batch(log, start)
        taken.append([index for _, index, _ in batch])
        start += len(batch)
    assert taken == [[0, 1], [2, 3], [4], [5]]


RUBBISH: list[list[Any]] = [
    [],
    [7],
    ["what"],
    ["ae"],
    ["ae", 1, 1, 1, 0, [], 1, 1],
    ["ae", -1, 1, 1, 0, [], 1],
    ["ae", True, 1, 1, 0, [], 1],
    ["ae", 2**63, 1, 1, 0, [], 1],
    ["ae", 1, 1, "1", 0, [], 1],
    ["ae", 1, 1, 1, 0, [[b"", 2]], 1],
    ["ae", 1, 1, 1, 0, [["text", 2, 1]], 1],
    ["ae", 1, 1, 1, 0, [[b"\x01", 3, 1]], 1],
    ["next", 1, 1, 1, 1],
    ["vote", None],
    ["prop", [1]],
    ["inst", 1, [1, 1, "00", "name"], 0, b""],
    ["held", "5"],
    ["ping", 1],
]


@pytest.mark.parametrize("frame", RUBBISH)
def test_rubbish_cuts_the_peer_off_and_nothing_else(frame: list[Any]) -> None:
    """Whatever a peer sends, the node goes on as before."""
    bench = RaftBench()
    node = bench.start("b", members("abc"))
    assert node.receive("a", frame)
    bench.turn("b")
    assert (node.core.term, bench.indexes("b"), bench.sent) == (0, [(1, 0)], [])


def test_what_is_promised_leaves_only_after_the_sync() -> None:
    """An acknowledgement waits for the turn; a power cut before it says nothing to anybody."""
    bench = RaftBench()
    node = bench.start("b", members("abc"))
    bench.sent.clear()
    node.receive("a", [*append_entries(1, entries(2, 5), previous=(1, 0))])
    assert node.log.synced_index == 1
    assert bench.sent == []
    bench.turn("b")
    assert node.log.synced_index == 5
    assert [sent.frame for sent in bench.sent] == [["next", 1, 1, 6, True]]


def test_a_vote_leaves_only_when_it_is_durable() -> None:
    """Otherwise the node could vote twice in one term."""
    bench = RaftBench()
    bench.start("b", members("abc"))
    assert bench.receive("b", "a", ["rv", 3, 0, 1]) == [["vote", 3]]
    node = bench.restart("b")
    assert (node.core.term, node.log.vote) == (3, "a")
    assert bench.receive("b", "c", ["rv", 3, 9, 9]) == []
