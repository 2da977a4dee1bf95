"""What a node does about the nodes that it meets, outside of Raft itself. Pure.

Founding a cluster, joining one, asking before voting, standing aside for a newer generation,
leaving an old one, and the contest between a restored node and a live old majority: rules 1 to 5
and 8 of docs/recovery.md and "First start" of docs/contracts.md, as one function from what is known
to what is to be done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from .handshake import Hello, Relation, contains
from .membership import Configuration

QUESTIONS_S: Final = 5.0  # how long a starting node waits for peers that do not answer
PARENT_QUESTIONS_S: Final = 2.0  # the same for a restored node and the voters of its parent
OLD_QUORUM_S: Final = 30.0  # in no quorum for this long before a node leaves its generation
FRESH_S: Final = 3.0  # what a node said of itself counts for this long


@dataclass(frozen=True, slots=True)
class Met:
    """What another node last said, what it is to us, and how long ago (seconds)."""

    hello: Hello
    relation: Relation
    age_s: float


class Do(Enum):
    """The one thing to do now."""

    WAIT = "wait"
    FOUND = "found"  # make the cluster id and the first configuration
    ADOPT = "adopt"  # take over the header of `of`
    VOTE = "vote"  # the start-up questions are answered
    SUSPEND = "suspend"  # `of` continues our lineage
    LEAVE = "leave"  # put the old generation away and join `of`
    CONTEST = "contest"  # a live quorum of our parent is there: `of` belongs to it
    WRONG_KEY = "wrong_key"  # the cluster that we want to join has another key


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, and about whom."""

    do: Do
    of: Hello | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that the decision needs. Times in seconds."""

    mine: Hello
    met: Mapping[str, Met]  # by member id
    open_questions: bool  # some known address has neither answered nor refused yet
    since_start_s: float
    voting: bool
    suspended: bool
    since_quorum_s: float  # since this process was last in a quorum of its generation; inf = never
    configuration: Configuration
    parent_voters: frozenset[str] = frozenset()  # of a restored generation
    confirmed: bool = True  # a majority of the parent's voters has left it
    contested: bool = False  # a live parent was met before this start


WAIT: Final = Step(Do.WAIT)


def decide(situation: Situation) -> Step:
    """The next step of a node."""
    if not situation.mine.cluster_id:
        return _decide_empty(situation)
    if newer := _newer(situation):
        return _decide_superseded(situation, newer)
    if situation.suspended:
        return WAIT
    if not situation.confirmed and (rival := _live_parent(situation)):
        return Step(Do.CONTEST, rival)
    if not situation.voting and _questions_answered(situation):
        return Step(Do.VOTE)
    return WAIT


def _fresh(situation: Situation, *relations: Relation) -> list[Hello]:
    return [
        met.hello
        for _, met in sorted(situation.met.items())
        if met.relation in relations and met.age_s <= FRESH_S
    ]


def _decide_empty(situation: Situation) -> Step:
    mine = situation.mine
    hosts = [h for h in _fresh(situation, Relation.HOST) if not h.suspended]
    if hosts:
        newest = max(hosts, key=lambda h: len(h.lineage))
        # Of two that do not continue each other neither is joined: an operator decides (rule 7).
        if all(contains(newest.lineage, h.lineage) for h in hosts):
            wrong_key = newest.key_id != mine.key_id
            return Step(Do.WRONG_KEY if wrong_key else Do.ADOPT, newest)
        return WAIT
    empty = _fresh(situation, Relation.BOTH_EMPTY)
    ready = [h for h in empty if h.expect == mine.expect]
    if (
        mine.expect > 0
        and len(empty) == len(ready) == mine.expect - 1
        and all(mine.member_id < h.member_id for h in ready)
    ):
        return Step(Do.FOUND)
    return WAIT


def _newer(situation: Situation) -> Hello | None:
    """A node whose lineage continues ours; the one that goes furthest."""
    found = [h for h in _fresh(situation, Relation.NEWER) if not h.suspended]
    return max(found, key=lambda h: len(h.lineage), default=None)


def _decide_superseded(situation: Situation, newer: Hello) -> Step:
    if not situation.suspended:
        # A node in a serving quorum never leaves by itself (rule 5).
        if situation.mine.has_quorum and situation.voting and situation.since_quorum_s < 1.0:
            return WAIT
        return Step(Do.SUSPEND, newer)
    if situation.since_quorum_s < OLD_QUORUM_S:
        return WAIT
    if situation.open_questions and situation.since_start_s < QUESTIONS_S:
        return WAIT  # one that we have not heard yet may be the other of twins
    if any(not contains(newer.lineage, h.lineage) for h in _fresh(situation, Relation.NEWER)):
        return WAIT  # of twins nobody is followed (rule 7)
    voters = situation.configuration.voters
    ours = _fresh(situation, Relation.PEER, Relation.ASIDE)
    if any(h.member_id in voters and not h.suspended for h in ours):
        return WAIT
    return Step(Do.LEAVE, newer)


def _live_parent(situation: Situation) -> Hello | None:
    """A voter of our direct parent that serves with a quorum."""
    for hello in _fresh(situation, Relation.OLDER):
        direct = hello.lineage == situation.mine.lineage[:-1]
        if direct and hello.has_quorum and not hello.suspended:
            return hello
    return None


def _questions_answered(situation: Situation) -> bool:
    if not situation.open_questions:
        return True
    if situation.contested:  # silence proves nothing when a live majority was there before
        return False
    limit = PARENT_QUESTIONS_S if situation.parent_voters else QUESTIONS_S
    return situation.since_start_s >= limit
