"""Who talks to whom: what a hello says, and what follows from two of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from heroctl_core.raft.greeting import NONCE_BYTES, Greeting, greeting_from
from heroctl_core.raft.handshake import Hello, Relation, contains, hello_from, judge

ME = Hello(
    "shop", "c1", ((1, "r1"), (2, "r2")), "m1", "boot-1", "node-1", "10.0.0.1:7101", "key", 3
)
OTHER = replace(ME, member_id="m2", boot_nonce="boot-2", name="node-2")


@pytest.mark.parametrize(
    ("theirs", "relation"),
    [
        (OTHER, Relation.PEER),
        (replace(OTHER, cluster_id="", lineage=()), Relation.JOINER),
        (replace(OTHER, lineage=((1, "r1"), (2, "r2"), (3, "r3"))), Relation.NEWER),
        (replace(OTHER, lineage=((1, "r1"),)), Relation.OLDER),
        (replace(OTHER, lineage=((1, "r1"), (2, "x"))), Relation.FORK),
        (replace(OTHER, lineage=((1, "r1"), (2, "x"), (3, "y"))), Relation.FORK),
        (replace(OTHER, cluster_name="drill"), Relation.REFUSED),
        (replace(OTHER, cluster_id="c2"), Relation.REFUSED),
        (replace(OTHER, key_id="other"), Relation.REFUSED),
        (replace(OTHER, member_id="m1"), Relation.REFUSED),
        (ME, Relation.REFUSED),
        (replace(OTHER, removed=(("m1", 7),)), Relation.REMOVED),
        (replace(OTHER, removed=(("m3", 7),)), Relation.PEER),
        (replace(OTHER, lineage=((1, "r1"),), removed=(("m1", 7),)), Relation.OLDER),
    ],
)
def test_the_relation(theirs: Hello, relation: Relation) -> None:
    """Cluster, key and lineage decide; a longer lineage wins only when it contains the shorter."""
    assert judge(ME, theirs).relation is relation


def test_an_empty_node_meets_others() -> None:
    """Both empty: they may found a cluster; one is a cluster: it is the host."""
    empty = replace(ME, cluster_id="", lineage=())
    assert judge(empty, OTHER).relation is Relation.HOST
    both = judge(empty, replace(OTHER, cluster_id="", lineage=()))
    assert both.relation is Relation.BOTH_EMPTY


def test_a_removed_member_is_refused_and_told() -> None:
    """By every member that knows of it; an entry says at which index."""
    knows = replace(ME, removed=(("m2", 7),))
    assert judge(knows, OTHER).reason == "it was removed from the cluster at index 7"
    assert judge(OTHER, knows).relation is Relation.REMOVED


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (replace(OTHER, cluster_name="drill"), "belongs to cluster 'drill', this is 'shop'"),
        (replace(OTHER, key_id="k9"), "its secrets key is k9, ours key"),
        (replace(OTHER, lineage=((1, "r1"), (2, "x"))), "fork: node-2 has restore x"),
        (replace(OTHER, member_id="m1"), "a data folder was copied"),
    ],
)
def test_a_refusal_says_why(theirs: Hello, words: str) -> None:
    """An operator reads it in the status."""
    assert words in judge(ME, theirs).reason


def test_judging_is_the_same_from_both_sides() -> None:
    """Nobody thinks that it is a peer of one who refuses it."""
    mirror = {Relation.NEWER: Relation.OLDER, Relation.OLDER: Relation.NEWER}
    mirror |= {Relation.JOINER: Relation.HOST, Relation.HOST: Relation.JOINER}
    lineages = [(), ((1, "r1"),), ((1, "r1"), (2, "r2")), ((1, "r1"), (2, "x"))]
    for one in lineages:
        for two in lineages:
            a = replace(ME, lineage=one, cluster_id="c1" if one else "")
            b = replace(OTHER, lineage=two, cluster_id="c1" if two else "")
            there, back = judge(a, b).relation, judge(b, a).relation
            assert back is mirror.get(there, there)


@pytest.mark.parametrize(
    ("longer", "shorter", "contained"),
    [((1, 2, 3), (1, 2), True), ((1, 2), (1, 2), True), ((1, 2), (1, 3), False), ((1,), (), True)],
)
def test_containment(longer: Any, shorter: Any, contained: bool) -> None:
    """A lineage continues another when it begins with it."""
    assert contains(longer, shorter) is contained


NEWER = {"confirmed", "contested", "oldest_protocol", "removed", "schema", "release", "seals"}


def wire(hello: Hello) -> dict[str, Any]:
    """The hello as it arrives: lists for tuples."""
    value = hello.to_value()
    value["lineage"] = [list(pair) for pair in value["lineage"]]
    value["left"] = [list(pair) for pair in value["left"]]
    return value


def test_a_hello_arrives_as_it_was_sent() -> None:
    """Through lists, as msgpack makes them."""
    hello = replace(ME, left=(("m0", "r2"),), header={"format": 1}, suspended=True)
    assert hello_from(wire(hello)) == hello


def test_a_node_of_the_release_before_says_less() -> None:
    """It knows the oldest commands, and nothing of what came into the hello later."""
    said = wire(ME)
    for name in NEWER:
        del said[name]
    assert hello_from(said) == replace(ME, release="", seals=False, schema=1)


def test_a_node_of_the_release_after_says_more() -> None:
    """What we do not know of is passed over, as long as it still speaks our protocol."""
    said = wire(ME) | {"protocol": 7, "schema": 5, "release": "9.0", "mood": ["good"]}
    assert hello_from(said) == replace(ME, protocol=7, schema=5, release="9.0")
    with pytest.raises(ValueError, match="the peer speaks protocol 3 to 7, this node speaks 2"):
        hello_from(said | {"oldest_protocol": 3})
    with pytest.raises(ValueError, match="the peer speaks protocol 1, this node speaks 2"):
        hello_from(said | {"protocol": 1, "oldest_protocol": 1})


def test_a_greeting_of_another_release_is_understood() -> None:
    """By the same rule, before the hello: it says neither more nor less than it did."""
    greeting = Greeting("prod", "node-b", "key", bytes(NONCE_BYTES), True)
    value = cast("dict[str, Any]", greeting.to_frame()[1])
    assert greeting_from(value | {"protocol": 7, "mood": 1}) == greeting
    del value["oldest_protocol"]
    assert greeting_from(value) == greeting
    with pytest.raises(ValueError, match="protocol 3, this node speaks 2"):
        greeting_from(value | {"protocol": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol": 99, "oldest_protocol": 99},
        {"protocol": "2"},
        {"oldest_protocol": None},
        {"schema": "1"},
        {"release": 1},
        {"lineage": [[1]]},
        {"lineage": 5},
        {"left": [["m"]]},
        {"name": 7},
        {"name": "x" * 513},
        {"header": []},
        {"expect": True},
        {"expect": "3"},
        {"confirmed": 1},
        {"contested": None},
    ],
)
def test_a_malformed_hello_is_refused(wrong: dict[str, Any]) -> None:
    """With a ValueError, whatever is wrong."""
    with pytest.raises(ValueError, match=r"malformed hello|speaks protocol"):
        hello_from(wire(ME) | wrong)


@pytest.mark.parametrize("value", [None, [], "hello", {}])
def test_what_is_no_hello_is_refused(value: object) -> None:
    """The first frame of a stranger can be anything."""
    with pytest.raises(ValueError, match="protocol"):
        hello_from(value)


def test_a_missing_field_is_refused() -> None:
    """Each of those that every release says."""
    for name in set(Hello.__dataclass_fields__) - NEWER:
        value = wire(ME)
        del value[name]
        with pytest.raises(ValueError, match=r"hello|protocol"):
            hello_from(value)
