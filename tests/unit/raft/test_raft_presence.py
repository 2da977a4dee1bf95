"""What a node does about the nodes that it meets: each rule as rows of a table."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from heroctl_core.raft import presence
from heroctl_core.raft.handshake import Hello, Relation, judge
from heroctl_core.raft.membership import EMPTY, Configuration, MemberSpec
from heroctl_core.raft.presence import Do, Left, Met, Situation, Step, decide

CLUSTER = "c" * 32
G1 = ((1, "first"),)
G2 = (*G1, (2, "second"))
G2_TWIN = (*G1, (2, "twin"))
G3 = (*G2, (3, "third"))


def hello(member_id: str, lineage: tuple[tuple[int, str], ...] = (), **fields: object) -> Hello:
    """What a node of a cluster with `lineage` says, or of an empty folder."""
    said = Hello(
        cluster_name="prod",
        cluster_id=CLUSTER if lineage else "",
        lineage=lineage,
        member_id=member_id,
        boot_nonce=f"boot of {member_id}",
        name=f"node-{member_id}",
        address=f"{member_id}:7101",
        key_id="key",
        expect=3,
    )
    return replace(said, **fields)  # type: ignore[arg-type]


def situation(mine: Hello, *others: Hello, age_s: float = 0.0, **fields: object) -> Situation:
    """`mine` has met `others`; their relations are what the handshake says."""
    met = [Met(h, judge(mine, h).relation, age_s) for h in others]
    seen = Situation(
        mine=mine,
        met=tuple(each for each in met if each.relation is not Relation.REFUSED),
        open_questions=False,
        since_asked_s=60.0,
        voting=bool(mine.lineage),
        suspended=mine.suspended,
        since_quorum_s=math.inf,
        configuration=voters("a", "b", "c") if mine.lineage else EMPTY,
    )
    return replace(seen, **fields)  # type: ignore[arg-type]


def voters(*members: str) -> Configuration:
    return Configuration({m: MemberSpec(f"node-{m}", f"{m}:7101", voter=True) for m in members})


A, B, C = hello("a"), hello("b"), hello("c")

FOUNDING = {
    "all three are empty and ours is the lowest id": (situation(A, B, C), Do.FOUND),
    "another one has the lowest id": (situation(B, A, C), Do.WAIT),
    "one is missing": (situation(A, B), Do.WAIT),
    "a fourth is there": (situation(A, B, C, hello("d")), Do.WAIT),
    "one expects another number": (situation(A, B, hello("c", expect=5)), Do.WAIT),
    "one that was there is silent since": (situation(A, B, C, age_s=3.1), Do.WAIT),
    "what was said is just fresh enough": (situation(A, B, C, age_s=3.0), Do.FOUND),
    "we never found": (situation(hello("a", expect=0)), Do.WAIT),
    "alone, as expected": (situation(hello("a", expect=1)), Do.FOUND),
    "one has another key": (situation(A, B, hello("c", key_id="other")), Do.WAIT),
    "one has held data before": (situation(A, B, hello("c", left=(("x", "g2"),))), Do.WAIT),
    "we have held data before": (situation(hello("a", left=(("x", "g2"),)), B, C), Do.WAIT),
    "one belongs to another cluster": (situation(A, B, hello("c", cluster_name="dev")), Do.WAIT),
}


@pytest.mark.parametrize("name", FOUNDING)
def test_founding(name: str) -> None:
    """A cluster is made only when all N are empty at once, and by the lowest member id."""
    seen, expected = FOUNDING[name]
    assert decide(seen).do is expected


HOST, HOST_2, HOST_TWIN = hello("b", G1), hello("c", G2), hello("d", G2_TWIN)

JOINING = {
    "a cluster is there": (situation(A, HOST), Step(Do.ADOPT, HOST)),
    "a cluster is there beside enough empty ones": (
        situation(A, B, hello("c"), HOST_2),
        Step(Do.ADOPT, HOST_2),
    ),
    "two of which one continues the other": (situation(A, HOST, HOST_2), Step(Do.ADOPT, HOST_2)),
    "two that fork": (situation(A, HOST_2, HOST_TWIN), Step(Do.WAIT)),
    "two that fork, and the parent of both": (
        situation(A, HOST, HOST_2, HOST_TWIN),
        Step(Do.WAIT),
    ),
    "it stands aside itself": (situation(A, hello("b", G1, suspended=True)), Step(Do.WAIT)),
    "it said so too long ago": (situation(A, HOST, age_s=3.1), Step(Do.WAIT)),
    "it has another key": (situation(A, hello("b", G1, key_id="other")), Step(Do.WAIT)),
    "it has another name": (situation(A, hello("b", G1, cluster_name="dev")), Step(Do.WAIT)),
    "it is what we left": (situation(A, HOST, left=Left("first", "second")), Step(Do.WAIT)),
    "it is whom we followed": (
        situation(A, HOST, HOST_2, left=Left("first", "second")),
        Step(Do.ADOPT, HOST_2),
    ),
    "it continues whom we followed": (
        situation(A, hello("e", G3), left=Left("first", "second")),
        Step(Do.ADOPT, hello("e", G3)),
    ),
    "it forks from whom we followed": (
        situation(A, HOST_TWIN, left=Left("first", "second")),
        Step(Do.WAIT),
    ),
    "it is what an operator made us give up, beside what we gave it up for": (
        situation(A, HOST, HOST_2, left=Left("second", "first", yielded=True)),
        Step(Do.ADOPT, HOST),
    ),
    "an operator chose one of twins": (
        situation(A, HOST, HOST_2, HOST_TWIN, left=Left("second", "twin", yielded=True)),
        Step(Do.ADOPT, HOST_TWIN),
    ),
}


@pytest.mark.parametrize("name", JOINING)
def test_an_empty_folder_joins(name: str) -> None:
    """It takes over the newest cluster that it meets, and of two that fork neither."""
    seen, expected = JOINING[name]
    assert decide(seen) == expected


OLD = hello("a", G1)
OLD_SERVING = replace(OLD, has_quorum=True)
OLD_ASIDE = replace(OLD, suspended=True)
NEWER = hello("z", G2)

SUPERSEDED = {
    "we are in no quorum": (situation(OLD, NEWER), Step(Do.SUSPEND, NEWER)),
    "we are in a serving quorum": (
        situation(OLD_SERVING, NEWER, since_quorum_s=0.0),
        Step(Do.WAIT),
    ),
    "our leader was lost a moment ago": (
        situation(OLD, NEWER, since_quorum_s=4.9),
        Step(Do.WAIT),
    ),
    "our quorum was lost for longer than an election takes": (
        situation(OLD, NEWER, since_quorum_s=5.0),
        Step(Do.SUSPEND, NEWER),
    ),
    "we start, and one is silent": (
        situation(OLD, NEWER, voting=False, open_questions=True, since_asked_s=4.9),
        Step(Do.WAIT),
    ),
    "we start, and all answered": (
        situation(OLD, NEWER, voting=False, since_asked_s=0.1),
        Step(Do.SUSPEND, NEWER),
    ),
    "we start, and hear our leader": (
        situation(OLD, NEWER, voting=False, since_asked_s=0.1, since_quorum_s=0.0),
        Step(Do.VOTE),
    ),
    "the one that goes further counts": (
        situation(OLD, NEWER, hello("y", G3)),
        Step(Do.SUSPEND, hello("y", G3)),
    ),
    "the newer one stands aside itself": (
        situation(OLD, replace(NEWER, suspended=True)),
        Step(Do.WAIT),
    ),
    "a fork is no newer one": (
        situation(hello("a", G2), hello("z", G2_TWIN)),
        Step(Do.WAIT),
    ),
    "an unconfirmed one of ours is contested": (
        situation(hello("a", G2), hello("b", G2, contested=True, suspended=True), confirmed=False),
        Step(Do.SUSPEND, hello("b", G2, contested=True, suspended=True)),
    ),
    "ours is confirmed, whatever one of us met": (
        situation(hello("a", G2), hello("b", G2, contested=True, suspended=True)),
        Step(Do.WAIT),
    ),
}


@pytest.mark.parametrize("name", SUPERSEDED)
def test_a_node_that_meets_a_newer_generation_stands_aside(name: str) -> None:
    """Unless it is in a serving quorum: that one never yields by itself."""
    seen, expected = SUPERSEDED[name]
    assert decide(seen) == expected


def aside(member_id: str) -> Hello:
    return hello(member_id, G1, suspended=True)


def with_age(
    age_s: float, mine: Hello, silent: Hello, *others: Hello, **fields: object
) -> Situation:
    """The first of the others said its word `age_s` ago."""
    seen = situation(mine, silent, *others, **fields)
    return replace(seen, met=(replace(seen.met[0], age_s=age_s), *seen.met[1:]))


TWIN, NEWEST = hello("y", G2_TWIN), hello("x", G3)

LEAVING = {
    "a fresh process, alone": (situation(OLD_ASIDE, NEWER), Do.LEAVE),
    "every reachable voter stands aside too": (
        situation(OLD_ASIDE, NEWER, aside("b"), aside("c")),
        Do.LEAVE,
    ),
    "one voter does not": (situation(OLD_ASIDE, NEWER, aside("b"), hello("c", G1)), Do.WAIT),
    "one that does not is no voter": (situation(OLD_ASIDE, NEWER, hello("d", G1)), Do.LEAVE),
    "one voter did not, long ago": (with_age(3.1, OLD_ASIDE, hello("c", G1), NEWER), Do.LEAVE),
    "in a quorum 29.9 s ago": (situation(OLD_ASIDE, NEWER, since_quorum_s=29.9), Do.WAIT),
    "in a quorum 30 s ago": (situation(OLD_ASIDE, NEWER, since_quorum_s=30.0), Do.LEAVE),
    "the newer one is silent": (situation(OLD_ASIDE, NEWER, age_s=3.1), Do.WAIT),
    "we are contested ourselves, by an older one": (
        situation(replace(OLD_ASIDE, contested=True), NEWER),
        Do.LEAVE,
    ),
    "two newer ones that fork": (situation(OLD_ASIDE, NEWER, TWIN), Do.WAIT),
    "a newer one and its own parent": (situation(OLD_ASIDE, NEWER, NEWEST), Do.LEAVE),
    "not all were heard yet": (
        situation(OLD_ASIDE, NEWER, open_questions=True, since_asked_s=4.9),
        Do.WAIT,
    ),
    "not all can be heard": (
        situation(OLD_ASIDE, NEWER, open_questions=True, since_asked_s=5.0),
        Do.LEAVE,
    ),
}


@pytest.mark.parametrize("name", LEAVING)
def test_a_node_that_stands_aside_leaves(name: str) -> None:
    """Only when it was in no quorum for 30 s and no reachable voter of its generation serves."""
    seen, expected = LEAVING[name]
    assert decide(seen).do is expected


SERVES = hello("b", G1, has_quorum=True)
BACK = {
    "nobody newer is there": (situation(OLD_ASIDE), Do.TAKE_PART),
    "the newer one is silent for half a minute": (
        situation(OLD_ASIDE, NEWER, age_s=30.1),
        Do.TAKE_PART,
    ),
    "the newer one is silent for less": (situation(OLD_ASIDE, NEWER, age_s=30.0), Do.WAIT),
    "the newer one is contested": (
        situation(OLD_ASIDE, replace(NEWER, suspended=True, contested=True)),
        Do.TAKE_PART,
    ),
    "our generation serves without us": (situation(OLD_ASIDE, NEWER, SERVES), Do.TAKE_PART),
    "it said so too long ago": (with_age(3.1, OLD_ASIDE, SERVES, NEWER), Do.LEAVE),
    "it stands aside too": (
        situation(OLD_ASIDE, NEWER, replace(SERVES, suspended=True)),
        Do.LEAVE,
    ),
    "one of ours is contested": (
        situation(
            hello("a", G2, suspended=True),
            hello("b", G2, contested=True, suspended=True),
            confirmed=False,
        ),
        Do.WAIT,
    ),
    "one of ours was contested": (
        situation(hello("a", G2, suspended=True), hello("b", G2), confirmed=False),
        Do.TAKE_PART,
    ),
    "we are contested": (situation(replace(OLD_ASIDE, contested=True)), Do.WAIT),
}


@pytest.mark.parametrize("name", BACK)
def test_a_node_that_stands_aside_for_nothing_takes_part_again(name: str) -> None:
    """A restore that was abandoned, or that yields, must not cost a cluster its nodes."""
    seen, expected = BACK[name]
    assert decide(seen).do is expected


RESTORED = hello("r", G2)
PARENT = hello("b", G1, has_quorum=True)

CONTEST = {
    "a live quorum of the parent": (situation(RESTORED, PARENT, confirmed=False), Do.CONTEST),
    "before voting too": (
        situation(RESTORED, PARENT, confirmed=False, voting=False),
        Do.CONTEST,
    ),
    "the parent is confirmed gone": (situation(RESTORED, PARENT, confirmed=True), Do.WAIT),
    "the parent's node has no quorum": (
        situation(RESTORED, hello("b", G1), confirmed=False),
        Do.WAIT,
    ),
    "it stands aside": (
        situation(RESTORED, replace(PARENT, suspended=True), confirmed=False),
        Do.WAIT,
    ),
    "it is the parent's parent": (
        situation(hello("r", G3), PARENT, confirmed=False, parent_voters=frozenset({"x"})),
        Do.WAIT,
    ),
    "it is the parent's parent, and what has to be fenced": (
        situation(hello("r", G3), PARENT, confirmed=False, parent_voters=frozenset({"b"})),
        Do.CONTEST,
    ),
    "it is the parent's parent, and nobody knows what has to be fenced": (
        situation(hello("r", G3), PARENT, confirmed=False),
        Do.CONTEST,
    ),
    "a twin": (situation(RESTORED, hello("t", G2_TWIN), confirmed=False), Do.CONTEST),
    "a twin that is contested": (
        situation(RESTORED, hello("t", G2_TWIN, suspended=True, contested=True), confirmed=False),
        Do.CONTEST,
    ),
    "a twin that stands aside for another one": (
        situation(RESTORED, hello("t", G2_TWIN, suspended=True), confirmed=False),
        Do.WAIT,
    ),
    "a twin said so too long ago": (
        situation(RESTORED, hello("t", G2_TWIN), confirmed=False, age_s=3.1),
        Do.WAIT,
    ),
    "a twin of a confirmed one": (situation(RESTORED, hello("t", G2_TWIN)), Do.WAIT),
    "a twin's child": (situation(hello("r", G3), hello("t", G2_TWIN), confirmed=False), Do.CONTEST),
    "we are contested already": (
        situation(hello("r", G2, suspended=True, contested=True), PARENT, confirmed=False),
        Do.WAIT,
    ),
    "it said so too long ago": (
        situation(RESTORED, PARENT, confirmed=False, age_s=3.1),
        Do.WAIT,
    ),
    "we stand aside already": (
        situation(replace(RESTORED, suspended=True), PARENT, confirmed=False),
        Do.CONTEST,
    ),
    "a grandchild exists: it goes first": (
        situation(RESTORED, PARENT, hello("y", G3), confirmed=False),
        Do.SUSPEND,
    ),
}


@pytest.mark.parametrize("name", CONTEST)
def test_only_a_live_quorum_of_the_parent_or_a_fork_contests(name: str) -> None:
    """And only while the restored generation is unconfirmed."""
    seen, expected = CONTEST[name]
    assert decide(seen).do is expected


SPLIT = {
    "a parent that was declared destroyed serves": (
        situation(replace(RESTORED, has_quorum=True), PARENT),
        PARENT,
    ),
    "it contests us": (
        situation(replace(RESTORED, has_quorum=True), PARENT, confirmed=False),
        None,
    ),
    "it has no quorum": (situation(replace(RESTORED, has_quorum=True), hello("b", G1)), None),
    "we have none": (situation(RESTORED, PARENT), None),
    "a newer one serves beside us": (
        situation(OLD_SERVING, replace(NEWER, has_quorum=True)),
        replace(NEWER, has_quorum=True),
    ),
    "it yields": (
        situation(OLD_SERVING, replace(NEWER, has_quorum=True, suspended=True)),
        None,
    ),
    "two confirmed forks serve": (
        situation(replace(RESTORED, has_quorum=True), hello("t", G2_TWIN, has_quorum=True)),
        hello("t", G2_TWIN, has_quorum=True),
    ),
}


@pytest.mark.parametrize("name", SPLIT)
def test_two_generations_that_both_serve_are_told(name: str) -> None:
    """Where no rule makes one of them yield, at least nobody is left in the dark."""
    seen, other = SPLIT[name]
    assert presence.split_of(seen) == other


def starting(**fields: object) -> Situation:
    return situation(OLD, voting=False, **fields)


def restored(**fields: object) -> Situation:
    parent = frozenset({"a", "b", "c"})
    return situation(RESTORED, voting=False, parent_voters=parent, confirmed=False, **fields)


START = {
    "everybody answered or refused": (starting(since_asked_s=0.0), Do.VOTE),
    "one is silent": (starting(open_questions=True, since_asked_s=4.9), Do.WAIT),
    "one is silent for 5 s": (starting(open_questions=True, since_asked_s=5.0), Do.VOTE),
    "a voter of the parent is silent": (restored(open_questions=True, since_asked_s=1.9), Do.WAIT),
    "and for 2 s": (restored(open_questions=True, since_asked_s=2.0), Do.VOTE),
    "contested before, one is silent": (
        restored(open_questions=True, since_asked_s=900.0, was_contested=True),
        Do.WAIT,
    ),
    "contested before, all answered": (restored(since_asked_s=0.1, was_contested=True), Do.VOTE),
    "it votes already": (situation(OLD), Do.WAIT),
    "restored into an empty folder, one is silent for 2 s": (
        situation(RESTORED, voting=False, confirmed=False, open_questions=True, since_asked_s=2.0),
        Do.VOTE,
    ),
}


@pytest.mark.parametrize("name", START)
def test_a_starting_node_asks_first(name: str) -> None:
    """It votes when all it knows of answered or refused, or when time is up; a node that met a
    live parent before takes no silence for an answer."""
    seen, expected = START[name]
    assert decide(seen).do is expected


REMOVED = {
    "a member says so": (situation(OLD, hello("b", G1, removed=((OLD.member_id, 7),))), Do.REMOVED),
    "it said so too long ago": (
        situation(OLD, hello("b", G1, removed=((OLD.member_id, 7),)), age_s=3.1),
        Do.WAIT,
    ),
    "another one was removed": (situation(OLD, hello("b", G1, removed=(("z", 7),))), Do.WAIT),
    "it stands aside, and a newer generation is there": (
        situation(
            replace(OLD, suspended=True),
            hello("b", G1, removed=((OLD.member_id, 7),)),
            hello("d", G2),
        ),
        Do.REMOVED,
    ),
}


@pytest.mark.parametrize("name", REMOVED)
def test_a_removed_member_stops(name: str) -> None:
    """When a member of its own generation says so."""
    seen, expected = REMOVED[name]
    assert decide(seen).do is expected


def test_every_step_is_reached_by_a_row() -> None:
    """The tables above leave no decision out."""
    tables = (FOUNDING, JOINING, SUPERSEDED, LEAVING, BACK, CONTEST, START, REMOVED)
    reached = {decide(row[0]).do for table in tables for row in table.values()}
    assert reached == set(presence.Do)
