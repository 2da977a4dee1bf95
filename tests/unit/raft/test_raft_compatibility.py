"""A command that not every voter knows never enters the log."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl_core.errors import NotApplied, OutcomeUnknown
from heroctl_core.raft.compatibility import refusal_of
from heroctl_core.state import commands
from heroctl_core.state.commands import DeleteMetrics, Envelope, encode
from heroctl_core.state.outcome import Applied
from heroctl_core.testing.raft_bench import RaftBench, job, members

REQUEST_ID = bytes(range(16))
NEW = encode(Envelope(REQUEST_ID, 1_700_000_000_000, "a", "b", DeleteMetrics("cpu", {})))
OLD = job(1)[0]
NEEDS = "this write needs command schema 2"
ABC = members("abc", learners="d")


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that brought the command in NEW with schema 2."""
    monkeypatch.setitem(commands._SINCE, (NEW[1], NEW[2]), 2)


def test_kind_and_version_stand_at_their_place() -> None:
    """`schema_of` reads them without decoding."""
    assert (NEW[1], NEW[2]) == (16, commands.VERSION)
    assert commands.schema_of(NEW) == commands.schema_of(OLD) == 1


def test_the_newest_command_is_of_the_newest_schema() -> None:
    """Whoever adds a kind has to raise the schema, and may not raise it for nothing."""
    assert max(commands._SINCE.values()) == commands.SCHEMA
    assert {kind for kind, _ in commands._SINCE} == set(commands.KINDS) - set(range(1, 17))


@pytest.mark.parametrize(
    ("schemas", "words"),
    [
        ({"a": 2, "b": 2, "c": 2}, None),
        ({"a": 2, "b": 3, "c": 2, "d": 1}, None),  # a learner has no say
        ({"a": 2, "b": 1, "c": 2}, f"{NEEDS}, node node-b knows schema 1"),
        ({"a": 2, "b": 2}, f"{NEEDS}, node node-c was not met yet and may know only schema 1"),
    ],
)
def test_every_voter_must_know_a_command(
    newer: None, schemas: dict[str, int], words: str | None
) -> None:
    """The refusal names the node, both schemas, and what to do."""
    assert refusal_of(OLD, ABC, {}) is None
    refusal = refusal_of(NEW, ABC, schemas)
    assert (refusal and refusal.message) == words
    assert refusal is None or "upgrade node" in str(refusal.hint)


def submit(bench: RaftBench, letter: str) -> Any:
    return bench.nodes[letter].propose(NEW, REQUEST_ID)


@pytest.mark.parametrize("through", ["a", "b"], ids=["the leader", "a follower"])
def test_a_command_waits_for_the_last_upgrade(newer: None, through: str) -> None:
    """It certainly has no effect before; other commands go on; with the last voter it is taken."""
    bench = RaftBench()
    bench.cluster()
    for node in bench.nodes.values():
        node.schemas.update(a=2, b=2, c=1)
    last = bench.nodes["a"].log.entries[-1][1]
    with pytest.raises(NotApplied, match="node-c knows schema 1"):
        submit(bench, through)
    written = bench.write(through, 1)
    bench.run(0.2)
    assert written.result(0) == Applied(1)
    assert bench.nodes["a"].log.entries[-1][1] == last + 1
    for node in bench.nodes.values():
        node.schemas.update(c=2)
    done = submit(bench, through)
    bench.run(0.2)
    assert done.done() and done.exception() is None


def test_the_leader_refuses_what_a_follower_let_through(newer: None) -> None:
    """It has met a voter of an older release that the follower has not."""
    bench = RaftBench()
    leader = bench.cluster()
    leader.schemas.update(a=2, b=2, c=1)
    bench.nodes["b"].schemas.update(a=2, b=2, c=2)
    last = leader.log.entries[-1][1]
    future = submit(bench, "b")
    bench.run(6.0)
    assert isinstance(future.exception(0), OutcomeUnknown)  # its node cannot know why
    assert leader.log.entries[-1][1] == last
