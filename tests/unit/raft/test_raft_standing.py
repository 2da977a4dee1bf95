"""What a node says of itself, and what it takes from others: Standing on a real folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from heroctl_core.errors import WrongKey
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.greeting import Greeting
from heroctl_core.raft.handshake import judge
from heroctl_core.raft.header import Header
from heroctl_core.raft.membership import Configuration, MemberSpec
from heroctl_core.raft.neighbours import RaftSettings
from heroctl_core.raft.node import RaftNode
from heroctl_core.raft.port import Generation
from heroctl_core.raft.presence import Do, Situation, Step
from heroctl_core.raft.standing import Standing

PARENT = Configuration({f"{n}" * 32: MemberSpec(f"n{n}", f"n{n}:1", voter=True) for n in (1, 2, 3)})
HEADER = Header(
    "c" * 32,
    "prod",
    (Generation(1, "first"), Generation(2, "second")),
    Configuration({"1" * 32: MemberSpec("n1", "n1:1", voter=True)}),
    "restore",
    "2026-01-01T00:00:00Z",
    parent=PARENT,
)


class NoNode:
    """A host before its node is opened."""

    node: RaftNode | None = None

    def close_generation(self) -> None: ...
    def reopen(self) -> None: ...
    def hang_up(self) -> None: ...


@pytest.fixture
def standing(tmp_path: Path) -> Iterator[Standing]:
    """A node that joined the restored generation."""
    folder = DataFolder.open(tmp_path / "node", node_name="n4", cluster_name="prod")
    folder.adopt(HEADER.to_value())
    settings = RaftSettings("n4", "prod", "key", listen="n4:1")
    yield Standing(NoNode(), folder, settings, "n4:1")
    folder.close()


def meet(standing: Standing, **fields: object) -> None:
    """Another node of the same generation says hello."""
    mine = standing.hello()
    said = replace(mine, member_id="f" * 32, boot_nonce="other", name="n5", **fields)  # type: ignore[arg-type]
    standing.met(None, said, judge(mine, said), 0.0)


@pytest.mark.parametrize("suspended", [False, True])
def test_what_one_node_knows_to_be_confirmed_is_so_for_all(
    standing: Standing, suspended: bool
) -> None:
    """It is noted durably, and said to the next one; so an operator says it once. One that stands
    aside may be the only one that knows."""
    assert not standing.confirmed and not standing.hello().confirmed
    meet(standing, confirmed=False)
    assert not standing.confirmed
    meet(standing, confirmed=True, suspended=suspended)
    assert standing.confirmed and standing.hello().confirmed
    assert standing.folder.mark("confirmed") is not None


def test_a_node_of_another_generation_confirms_nothing(standing: Standing) -> None:
    """Its parent may well be confirmed itself."""
    meet(standing, confirmed=True, lineage=((1, "first"),))
    meet(standing, confirmed=True, lineage=((1, "first"), (2, "twin")))
    assert not standing.confirmed


def test_a_contested_node_says_so(standing: Standing) -> None:
    """Or the others of its generation would go on without it."""
    assert not standing.hello().contested
    standing.contested = "a rival"
    assert standing.hello().contested
    assert standing.warnings[0] == "CONTESTED: a rival"


def test_whoever_counts_the_left_is_told(standing: Standing) -> None:
    """A mark that another node shows counts for our parent's voters."""
    for number in ("2", "3"):
        meet(standing, left=((number * 32, "another restore"),))
    assert not standing.confirmed
    meet(standing, left=(("2" * 32, "second"),))
    assert standing.confirmed


def test_a_node_that_takes_part_again_has_a_moment_to_hear_its_leader(standing: Standing) -> None:
    """Else it would stand aside once more at the first sight of a newer generation."""

    class Opening(NoNode):
        def reopen(self) -> None:
            again.begin(7.0)

    def decide(_: Situation) -> Step:
        return Step(Do.TAKE_PART)

    again = Standing(Opening(), standing.folder, standing.settings, "n4:1", decide)
    again.look(7.0)
    assert again.situation(7.0).since_quorum_s == 0.0


def test_an_empty_node_with_another_key_stops(tmp_path: Path) -> None:
    """When a cluster that it asked says so, and none that it can join is there."""
    folder = DataFolder.open(tmp_path / "empty", node_name="n4", cluster_name="prod")
    settings = RaftSettings("n4", "prod", "key", listen="n4:1", peers={"n1": "n1:1"})
    empty = Standing(NoNode(), folder, settings, "n4:1")
    theirs = Greeting("prod", "n1", "other", bytes(32), has_cluster=True)
    empty.met_other_key(replace(theirs, has_cluster=False))
    with pytest.raises(WrongKey, match="uses the secrets key other, this node has key"):
        empty.met_other_key(theirs)
    meet(empty, cluster_id="c" * 32, lineage=((1, "first"),))
    empty.met_other_key(theirs)
    folder.close()


def test_a_member_with_another_key_goes_on(standing: Standing) -> None:
    """It has data, and others to talk to: the same greeting stops only an empty node."""
    before = standing.hello()
    standing.met_other_key(Greeting("prod", "n1", "other", bytes(32), has_cluster=True))
    assert standing.hello() == before
    assert standing.contested is None


def test_a_node_that_nobody_can_reach_is_fenced_from_nobody(standing: Standing) -> None:
    """An embedded one without a listener."""
    settings = replace(standing.settings, listen=None)
    assert Standing(NoNode(), standing.folder, settings, "").confirmed
