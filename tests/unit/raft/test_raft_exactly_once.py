"""A request id is applied once, whatever lies between the first try and the next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from heroctl_core import limits
from heroctl_core.state.commands import Envelope, PutJob, encode
from heroctl_core.state.outcome import Applied, Outcome, Rejected
from heroctl_core.testing.raft_bench import RaftBench


def leader(bench: RaftBench) -> str:
    return next(letter for letter, node in bench.nodes.items() if node.leading)


def again(bench: RaftBench, through: str = "") -> Outcome:
    """What a retry of the write with id 1 is told."""
    future = bench.write(through or leader(bench), 1)
    bench.run(0.3)
    return future.result(0)


def another_leads(bench: RaftBench) -> None:
    bench.elect("b")


def all_restart(bench: RaftBench) -> None:
    for letter in "abc":
        bench.restart(letter)
    bench.elect("b")


def all_restart_from_dumps(bench: RaftBench) -> None:
    """Nothing of the write is left in any log."""
    for letter in "abc":
        assert bench.write_dump(letter).index >= 3
        assert len(bench.indexes(letter)) == 1
    all_restart(bench)


def one_that_was_away_leads(bench: RaftBench) -> None:
    """It has the write from a snapshot only."""
    bench.write_dump("a")
    bench.run(3.0)
    assert bench.nodes["c"].log.dump is not None
    bench.elect("c")


BETWEEN: dict[str, Callable[[RaftBench], None]] = {
    "at once": lambda bench: None,
    "another leads": another_leads,
    "all were restarted": all_restart,
    "all were restarted from dumps": all_restart_from_dumps,
}


@pytest.mark.parametrize("through", ["a", "b", "c"])
@pytest.mark.parametrize("what", BETWEEN)
def test_a_retry_is_told_the_first_outcome(what: str, through: str) -> None:
    """Through every node, also when the first try went through another one."""
    bench = RaftBench()
    bench.cluster()
    first = bench.write("b", 1)
    bench.run(0.3)
    bench.write("a", 2)
    bench.run(0.3)
    assert first.result(0) == Applied(1)
    BETWEEN[what](bench)
    assert again(bench, through) == Applied(1)
    assert {node.machine.revision for node in bench.nodes.values()} == {2}


def test_a_node_that_got_a_snapshot_knows_the_requests_in_it() -> None:
    """It leads now, and has never seen the entry."""
    bench = RaftBench()
    bench.cluster()
    bench.run(0.1)
    first = bench.write("a", 1)
    bench.run(0.3, cut="c")
    assert first.result(0) == Applied(1)
    one_that_was_away_leads(bench)
    assert leader(bench) == "c"
    assert again(bench) == Applied(1)
    assert {node.machine.revision for node in bench.nodes.values()} == {1}


def test_what_both_leaders_appended_is_applied_once() -> None:
    """The first leader was cut off with the write in its log, and its caller asked the next."""
    bench = RaftBench()
    bench.cluster()
    bench.write("a", 1)
    bench.turn("a")
    bench.deliver(cut="a")
    bench.elect("b", cut="a")
    retry = bench.write("b", 1)
    bench.run(0.3, cut="a")
    assert retry.result(0) == Applied(1)
    bench.run(3.0)
    assert {node.machine.revision for node in bench.nodes.values()} == {1}


@pytest.mark.parametrize("restart", [False, True])
def test_too_old_a_retry_is_refused_by_all(restart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the table dropped it for its age or for the number of others; never applied anew."""
    monkeypatch.setattr(limits, "REQUEST_IDS", 20)
    bench = RaftBench()
    bench.cluster()
    assert again(bench) == Applied(1)
    for number in range(2, 30):
        stamped(bench, number)
    bench.run(0.3)
    if restart:
        all_restart_from_dumps(bench)
    refused = again(bench)
    assert isinstance(refused, Rejected) and refused.reason == "request_expired"
    assert {node.machine.revision for node in bench.nodes.values()} == {29}


def stamped(bench: RaftBench, number: int) -> None:
    """Another request, made a little later."""
    request_id = number.to_bytes(16)
    put = PutJob(f"job-{number}", b"\x80", {}, None)
    made_ms = 1_700_000_000_000 + number
    bench.nodes["a"].propose(encode(Envelope(request_id, made_ms, "x", "x", put)), request_id)
