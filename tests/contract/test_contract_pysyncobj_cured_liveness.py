"""What our engine does where stock pysyncobj stalls, forgets callers or trusts the wire.

Stories for rows 21 to 30 of docs/engine.md; the stock side is in
test_contract_pysyncobj_stock_liveness.py.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from heroctl_core import codec
from heroctl_core.errors import OutcomeUnknown
from heroctl_core.raft.membership import Candidate
from heroctl_core.state.outcome import Applied, Outcome, Stamp
from heroctl_core.testing.raft_bench import RaftBench, append_entries, entries, job, members


def test_row_21_a_learner_becomes_a_voter_and_keeps_its_progress() -> None:
    """Its connection may end and come back at any time: it gets every entry, and counts."""
    bench = RaftBench()
    leader = bench.cluster("ab")
    bench.start("d", members(""))
    leader.candidates = {"d": Candidate("node-d", "d:1")}
    bench.run(0.3)
    leader.set_connected("d", connected=False)
    bench.run(0.3)
    leader.set_connected("d", connected=True)
    bench.run(2.0)
    assert leader.configuration == members("abd")
    written = bench.write("a", 1)
    bench.run(0.2, cut="b")
    assert written.result(0) == Applied(1)  # with the vote of d


def test_row_22_a_removed_node_deposes_nobody() -> None:
    """It does not know that it is removed and goes on asking; nobody who hears a leader grants."""
    bench = RaftBench()
    leader = bench.cluster()
    leader.core.append(b"\x02" + members("ab").encode())
    bench.run(3.0, cut="c")
    bench.run(5.0)
    assert leader.configuration == members("ab")
    assert (leader.leading, leader.core.term) == (True, 1)


def test_row_23_a_candidate_need_not_be_known_to_be_voted_for() -> None:
    """Who is a voter is for the candidate's majority to say (thesis, 4.1)."""
    bench = RaftBench()
    bench.start("b", members("abc"))
    bench.receive("b", "a", append_entries(1, entries(2, 5), previous=(1, 0)))
    assert bench.receive("b", "d", ["rv", 2, 1, 4]) == []
    assert bench.receive("b", "d", ["rv", 2, 1, 6]) == [["vote", 2]]


def test_row_25_what_waits_ends_when_a_snapshot_jumps_over_it() -> None:
    """Its caller is told that the outcome is not known here, and the same request id gives it."""
    bench = RaftBench()
    bench.cluster()
    waiting = bench.write("a", 1)
    bench.turn("a")
    bench.sent.clear()
    bench.elect("b", cut="a")
    bench.write("b", 2)
    bench.run(0.2, cut="a")
    bench.write_dump("b")
    bench.run(3.0)
    assert bench.nodes["a"].log.dump is not None
    assert all(bench.nodes["a"].machine.get("jobs", f"job-{n}") for n in (1, 2))
    assert isinstance(waiting.exception(0), OutcomeUnknown)
    again = bench.write("a", 1)
    bench.run(0.2)
    assert again.result(0) == Applied(2)


def test_row_26_a_backlog_is_applied_in_slices() -> None:
    """A turn applies for five milliseconds at most, so heartbeats and votes go on."""
    bench = RaftBench()
    node = bench.start("b", members("abc"))
    commands = [[b"\x00" + _entry(n), n, 1] for n in range(2, 1002)]
    bench.receive("b", "a", append_entries(1, commands, previous=(1, 0)))
    apply, longest_s = node.machine.apply, 0.0

    def slow(command: bytes, stamp: Stamp) -> Outcome:
        bench.clock.advance(0.001)
        return apply(command, stamp)

    node.machine.apply = slow  # type: ignore[method-assign]
    bench.receive("b", "a", append_entries(1, previous=(1001, 1), commit=1001))
    while node.core.applied_index < 1001:
        before_s = bench.clock.monotonic_s()
        node.turn()
        longest_s = max(longest_s, bench.clock.monotonic_s() - before_s)
    assert 0.005 <= longest_s <= 0.007


def _entry(number: int) -> bytes:
    return codec.pack([1_700_000_000_000, [job(number)[0]]])


def test_row_28_answers_of_an_earlier_term_keep_no_leader_in_place() -> None:
    """Only what followers say in its own term counts as hearing them."""
    bench = RaftBench()
    leader = bench.cluster()
    leader = bench.elect("b")
    assert (leader.leading, leader.core.term) == (True, 2)
    for _ in range(12):
        leader.receive("a", ["next", 1, 1, 2, True])
        leader.receive("c", ["next", 1, 1, 2, True])
        bench.run(0.1, cut="ac")
    assert not leader.leading


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_row_30_nothing_from_the_wire_is_unpickled(kind: int, tmp_path: Path) -> None:
    """A pickle in an entry of any kind that pysyncobj knows is data, or cuts its sender off; also
    when the log is read again."""
    bench = RaftBench()
    node = bench.start("b", members("abc"))
    made = tmp_path / "made by the sender"
    content = bytes([kind]) + pickle.dumps(["add", "d", Touch(made)])
    frame = append_entries(1, [(content, 2, 1)], previous=(1, 0), commit=2)
    if kind == 1:
        bench.receive("b", "a", frame)
        bench.restart("b")
    else:
        with pytest.raises(ConnectionError, match="entry 2"):
            bench.receive("b", "a", frame)
        assert node.log.entries[-1][1] == 1
    assert not made.exists()
