"""What every replicator promises (raft/port.py). An adapter joins with one line in FACTORIES.

A factory gives a replicator of one voter that leads, or will lead within DEADLINE_S.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from heroctl_core.clock import SystemClock
from heroctl_core.errors import HeroctlError
from heroctl_core.raft.credentials import Trust
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.port import Mode, Replicator
from heroctl_core.raft.runtime import RaftSettings, Runtime
from heroctl_core.state.commands import Command, DeleteJob, Envelope, PutJob, encode, new_request_id
from heroctl_core.state.outcome import Applied, Outcome, Rejected
from heroctl_core.testing.replicator import InMemoryReplicator

DEADLINE_S = 10.0


def in_memory(_folder: Path) -> Replicator:
    return InMemoryReplicator()


def engine(folder: Path) -> Replicator:
    """The real one: disk, thread and pysyncobj."""
    data = DataFolder.open(folder / "data", node_name="node-1", cluster_name="test")
    settings = RaftSettings("node-1", "test", "key", expect=1)
    runtime = Runtime(data, settings, SystemClock(), Trust(b"key"))
    runtime.start()
    return runtime


FACTORIES: list[Callable[[Path], Replicator]] = [in_memory, engine]


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def replicator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replicator]:
    made: Replicator = request.param(tmp_path)
    deadline_s = time.monotonic() + DEADLINE_S
    while made.status().role != "leader":
        assert time.monotonic() < deadline_s, made.status()
        made.call(lambda: None).result(DEADLINE_S)
    yield made
    made.close()


_sent = iter(range(1, 1_000_000))


def propose(
    replicator: Replicator, command: Command, request_id: bytes | None = None
) -> Future[Outcome]:
    now_ms = time.time_ns() // 1_000_000
    request_id = request_id or new_request_id(now_ms, next(_sent).to_bytes(10))
    envelope = Envelope(request_id, now_ms, "operator", "test", command)
    return replicator.propose(encode(envelope), request_id)


def put(name: str, expect: int | None = None) -> PutJob:
    return PutJob(name, b"\x80", {}, expect)


def test_a_write_is_visible_when_its_future_is_done(replicator: Replicator) -> None:
    """The outcome is the machine's, and a read of this node's machine shows the row."""
    outcome = propose(replicator, put("web")).result(DEADLINE_S)
    assert isinstance(outcome, Applied)
    assert replicator.machine.get("jobs", "web") is not None
    assert replicator.machine.revision == outcome.revision


def test_a_write_that_is_waited_for_is_the_same(replicator: Replicator) -> None:
    """Applied and refused, from many threads; repeated, also as a future, it is applied once."""

    def write(name: str) -> Outcome:
        now_ms = time.time_ns() // 1_000_000
        request_id = new_request_id(now_ms, next(_sent).to_bytes(10))
        envelope = encode(Envelope(request_id, now_ms, "operator", "test", put(name, 0)))
        outcome = replicator.write(envelope, request_id, DEADLINE_S)
        assert replicator.propose(envelope, request_id).result(DEADLINE_S) == outcome
        return outcome

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(write, ["web", "db", "web", "cache"] * 10))
    assert sum(isinstance(each, Applied) for each in outcomes) == 3
    assert {each.reason for each in outcomes if isinstance(each, Rejected)} == {"conflict"}
    assert replicator.machine.count("jobs") == 3


def test_a_refusal_is_a_value(replicator: Replicator) -> None:
    """What the machine refuses is a result, not an exception."""
    outcome = propose(replicator, DeleteJob("ghost")).result(DEADLINE_S)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "not_found"


def test_a_repeated_request_id_is_applied_once(replicator: Replicator) -> None:
    """Both futures have the first outcome, also when both are under way at once."""
    request_id = new_request_id(time.time_ns() // 1_000_000, b"same-retry")
    first = propose(replicator, put("web", 0), request_id)
    second = propose(replicator, put("web", 0), request_id)
    outcome = first.result(DEADLINE_S)
    assert isinstance(outcome, Applied)
    assert second.result(DEADLINE_S) == outcome
    assert propose(replicator, put("web", 0), request_id).result(DEADLINE_S) == outcome
    assert replicator.machine.count("jobs") == 1


def test_writes_of_one_thread_are_applied_in_order(replicator: Replicator) -> None:
    """Pipelined writes have rising revisions in the order of the calls."""
    futures = [propose(replicator, put(f"job-{i}")) for i in range(500)]
    outcomes = [future.result(DEADLINE_S) for future in futures]
    revisions = [each.revision for each in outcomes if isinstance(each, Applied)]
    assert len(revisions) == 500
    assert revisions == sorted(set(revisions))


def test_writes_of_many_threads_all_end(replicator: Replicator) -> None:
    """Each thread gets its own outcomes; with expect=0 exactly one of them wins a name."""

    def write(thread: int) -> list[Outcome]:
        own = [propose(replicator, put(f"own-{thread}-{i}")) for i in range(20)]
        raced = [propose(replicator, put(f"raced-{i}", 0)) for i in range(20)]
        return [future.result(DEADLINE_S) for future in own + raced]

    with ThreadPoolExecutor(8) as pool:
        outcomes = [each for found in pool.map(write, range(8)) for each in found]
    applied = [each for each in outcomes if isinstance(each, Applied)]
    assert len(applied) == 8 * 20 + 20
    assert len({each.revision for each in applied}) == len(applied)
    assert {each.reason for each in outcomes if isinstance(each, Rejected)} == {"conflict"}


def test_a_barrier_shows_what_was_acknowledged(replicator: Replicator) -> None:
    """Its result is the applied index, which never falls and rises with a write; the status, which
    is published a few times a second, follows."""
    before = replicator.read_barrier().result(DEADLINE_S)
    propose(replicator, put("web")).result(DEADLINE_S)
    after = replicator.read_barrier().result(DEADLINE_S)
    assert after > before
    assert replicator.machine.get("jobs", "web") is not None
    deadline_s = time.monotonic() + DEADLINE_S
    while replicator.status().applied_index < after:
        assert time.monotonic() < deadline_s
        replicator.call(lambda: None).result(DEADLINE_S)


def test_call_runs_between_entries(replicator: Replicator) -> None:
    """Views that are taken during writes are whole: count, revision and rows belong together."""
    views = []
    futures = []
    for i in range(200):
        futures.append(propose(replicator, put(f"job-{i}")))
        if i % 20 == 0:
            views.append(replicator.call(replicator.machine.view))
    for future in futures:
        future.result(DEADLINE_S)
    base = replicator.machine.revision - 200
    for waiting in views:
        view = waiting.result(DEADLINE_S)
        assert view.count("jobs") == view.revision - base == len(list(view.items("jobs")))


def test_call_gives_the_exception_to_its_caller(replicator: Replicator) -> None:
    """A function that fails does not stop the node."""

    def fail() -> None:
        raise LookupError("of the caller")

    with pytest.raises(LookupError, match="of the caller"):
        replicator.call(fail).result(DEADLINE_S)
    assert isinstance(propose(replicator, put("web")).result(DEADLINE_S), Applied)


def test_a_listener_is_told_of_changes(replicator: Replicator) -> None:
    """After they can be read; also when the machine's content is another one."""
    told = threading.Event()
    replicator.on_change(told.set)
    propose(replicator, put("web"))
    assert told.wait(DEADLINE_S)
    deadline_s = time.monotonic() + DEADLINE_S
    while not replicator.machine.history.after(0, 1):
        assert time.monotonic() < deadline_s
        assert told.wait(DEADLINE_S)
        told.clear()
    told.clear()
    machine = replicator.machine
    replicator.call(lambda: machine.load([], revision=90, epoch=1, time_ms=1)).result(DEADLINE_S)
    assert told.wait(DEADLINE_S)


def test_status_of_one_voter(replicator: Replicator) -> None:
    """One voter leads itself in NORMAL, and its indexes are in order."""
    propose(replicator, put("web")).result(DEADLINE_S)
    status = replicator.status()
    assert status.mode is Mode.NORMAL
    assert status.role == "leader"
    assert status.leader_id == status.member_id
    assert [member.voter for member in status.members] == [True]
    assert status.first_index <= status.applied_index <= status.commit_index <= status.last_index


def test_after_close_nothing_is_taken(replicator: Replicator) -> None:
    """close may be called twice; a write and a barrier then fail with one of our errors."""
    replicator.close()
    replicator.close()
    with pytest.raises(HeroctlError):
        propose(replicator, put("web")).result(DEADLINE_S)
    with pytest.raises(HeroctlError):
        replicator.read_barrier().result(DEADLINE_S)
