"""What an operator decides where generations meet, on a real folder and a node that serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from heroctl_core.errors import RecoveryError
from heroctl_core.raft import fence, orders
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.handshake import judge
from heroctl_core.raft.header import Header
from heroctl_core.raft.membership import Configuration, MemberSpec
from heroctl_core.raft.neighbours import RaftSettings
from heroctl_core.raft.node import RaftNode
from heroctl_core.raft.port import Generation
from heroctl_core.raft.standing import Standing
from heroctl_core.testing.raft_bench import RaftBench, members

FIRST = Generation(1, "first")
HEADER = Header(
    "c" * 32,
    "prod",
    (FIRST, Generation(2, "mine")),
    Configuration({"1" * 32: MemberSpec("n1", "n1:1", voter=True)}),
    "restore",
    "2026-01-01T00:00:00Z",
)
TWIN = replace(HEADER, lineage=(FIRST, Generation(2, "twin")), known_index=1_000)


class Serving:
    """The host of a node that leads; leaving closes and opens nothing."""

    def __init__(self, node: RaftNode) -> None:
        self.node: RaftNode | None = node

    def close_generation(self) -> None: ...
    def reopen(self) -> None: ...
    def hang_up(self) -> None: ...
    def drop(self, member_id: str) -> None: ...


@pytest.fixture
def bench() -> RaftBench:
    """Three nodes with one job."""
    found = RaftBench()
    found.cluster()
    found.write("a", 1)
    found.run(0.1)
    return found


@pytest.fixture
def standing(tmp_path: Path, bench: RaftBench) -> Iterator[Standing]:
    """A node of generation "mine" that serves with a quorum."""
    folder = DataFolder.open(tmp_path / "node", node_name="n1", cluster_name="prod")
    folder.adopt(HEADER.to_value())
    settings = RaftSettings("n1", "prod", "key", listen="n1:1")
    yield Standing(Serving(bench.nodes["a"]), folder, settings, "n1:1")
    folder.close()


def meet_twin(standing: Standing, *, confirmed: bool) -> None:
    """A node of generation "twin" says hello."""
    mine = standing.hello()
    said = replace(
        mine,
        member_id="f" * 32,
        boot_nonce="other",
        name="n9",
        lineage=tuple((g.number, g.restore_id) for g in TWIN.lineage),
        header=TWIN.to_value(),
        confirmed=confirmed,
    )
    standing.met(None, said, judge(mine, said), 0.0)


def test_a_confirmed_generation_that_serves_is_not_given_up(standing: Standing) -> None:
    """For one that may still have to yield itself."""
    fence.confirm(standing.folder, "nobody else is left")
    meet_twin(standing, confirmed=False)
    with pytest.raises(RecoveryError, match="gives up nothing"):
        orders.yield_to(standing, 0.0, "n9")


def test_of_two_confirmed_generations_one_can_be_given_up(standing: Standing) -> None:
    """Or they would stay apart for ever. All of its commands are told, for whatever the other one
    knows is of another history."""
    fence.confirm(standing.folder, "nobody else is left")
    meet_twin(standing, confirmed=True)
    assert "1 commands: PutJob job-1" in orders.yield_to(standing, 0.0, "n9")
    promised = fence.promise(standing.folder)
    assert promised is not None
    assert (promised.restore_id, promised.followed, promised.yielded) == ("mine", "twin", True)


def test_only_a_voter_says_that_it_is_in_a_quorum(standing: Standing, bench: RaftBench) -> None:
    """Who only asks to join hears a majority of an old configuration."""
    assert standing.hello().has_quorum
    joins = bench.start("d", members("abc"))
    bench.run(0.3)
    assert joins.has_quorum()
    standing.host.node = joins  # type: ignore[misc]
    assert not standing.hello().has_quorum


def test_a_node_that_stands_aside_is_in_no_quorum(standing: Standing, bench: RaftBench) -> None:
    """Although it hears a leader still: after 30 s of this it may leave."""
    node = standing.host.node = bench.nodes["b"]  # type: ignore[misc]
    standing.note(5.0)
    assert standing.situation(5.0).since_quorum_s == 0.0
    node.suspend("there is a newer generation")
    assert node.leader_id is not None
    standing.note(6.0)
    assert standing.situation(6.0).since_quorum_s == 1.0
