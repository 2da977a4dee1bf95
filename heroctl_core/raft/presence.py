"""What a node does about the nodes that it meets, outside of Raft itself. Pure.

Founding a cluster, joining one, asking before voting, standing aside for a newer generation and
coming back from there, leaving an old one, and the contest of a restored generation: the rules of
docs/recovery.md and "First start" of docs/contracts.md, as one function from what is known to what
is to be done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from .handshake import Hello, Relation, contains
from .membership import Configuration

QUESTIONS_S: Final = 5.0  # how long a starting node waits for peers that do not answer
PARENT_QUESTIONS_S: Final = 2.0  # the same for a restored node and the voters of its parent
OLD_QUORUM_S: Final = 30.0  # in no quorum for this long before a node leaves its generation
GONE_S: Final = 30.0  # silent for this long, a newer generation is gone again
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
    SUSPEND = "suspend"  # `of` continues our lineage, or is contested
    TAKE_PART = "take_part"  # there is nothing to stand aside for any more
    LEAVE = "leave"  # put the old generation away and join `of`
    CONTEST = "contest"  # `of` is of a live parent, or of a fork
    REMOVED = "removed"  # `of` says that this node is a member no more


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, and about whom."""

    do: Do
    of: Hello | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """The promise of a folder that is empty again: which restore id it left, and for which one.
    `yielded` when an operator said so: then nothing that continues the left one is followed."""

    restore_id: str
    followed: str
    yielded: bool = False

    def allows(self, hello: Hello) -> bool:
        """Whether the promise lets this node join the generation of `hello`."""
        links = {restore_id for _, restore_id in hello.lineage}
        return self.followed in links and not (self.yielded and self.restore_id in links)


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that the decision needs. Times in seconds."""

    mine: Hello
    met: tuple[Met, ...]
    open_questions: bool  # some known address has neither answered nor refused yet
    since_asked_s: float
    voting: bool
    suspended: bool
    since_quorum_s: float  # since this process was last in a quorum of its generation; inf = never
    configuration: Configuration
    momentary_s: float = 5.0  # a quorum that is away for less is only changing its leader
    parent_voters: frozenset[str] = frozenset()  # of a restored generation, where they are known
    confirmed: bool = True  # nothing older can commit any more
    was_contested: bool = False  # before this start
    left: Left | None = None  # of an empty folder


WAIT: Final = Step(Do.WAIT)


def decide(situation: Situation) -> Step:
    """The next step of a node."""
    if not situation.mine.cluster_id:
        return _decide_empty(situation)
    if removed := _fresh(situation, Relation.REMOVED):
        return Step(Do.REMOVED, removed[0])
    newer = _newer(situation)
    if newer and situation.suspended and not _own_quorum(situation):
        return _decide_leaving(situation, newer)
    if situation.mine.contested:
        return WAIT  # until an operator says something
    if newer and not situation.suspended and situation.since_quorum_s >= situation.momentary_s:
        # Who serves may be asked still, and a quorum that we belong to counts more (rule 5).
        may = situation.voting or _questions_answered(situation)
        return Step(Do.SUSPEND, newer) if may else WAIT
    if rival := rival_of(situation):
        return Step(Do.CONTEST, rival)
    contested = _contested_peer(situation)
    if situation.suspended:
        stays = contested or (_newer_was_there(situation) and not _own_quorum(situation))
        return WAIT if stays else Step(Do.TAKE_PART)
    if contested:
        return Step(Do.SUSPEND, contested)
    if not situation.voting and _questions_answered(situation):
        return Step(Do.VOTE)
    return WAIT


def rival_of(situation: Situation) -> Hello | None:
    """Whoever contests an unconfirmed generation: a live quorum of what has to be fenced, or a fork
    (rules 3, 6 and 7)."""
    if situation.confirmed:
        return None
    for hello in _fresh(situation, Relation.OLDER):
        if hello.has_quorum and not hello.suspended and _is_fenced(situation, hello):
            return hello
    forks = _fresh(situation, Relation.FORK)
    return next((h for h in forks if h.contested or not h.suspended), None)


def split_of(situation: Situation) -> Hello | None:
    """A node of another generation that serves with a quorum beside our own quorum, where no rule
    ends it: the declared destruction was none, or we do not yield and the newer one neither."""
    if not situation.mine.has_quorum:
        return None
    others = _fresh(situation, Relation.NEWER, Relation.FORK)
    if situation.confirmed:
        others += _fresh(situation, Relation.OLDER)
    return next((h for h in others if h.has_quorum and not h.suspended), None)


def _is_fenced(situation: Situation, older: Hello) -> bool:
    """Whether it is of the direct parent, or one of those that must not go on beside us. A restore
    into an empty folder does not know them, so it yields to every ancestor."""
    parents = situation.parent_voters
    direct = older.lineage == situation.mine.lineage[:-1]
    return direct or not parents or older.member_id in parents


def _fresh(situation: Situation, *relations: Relation, within_s: float = FRESH_S) -> list[Hello]:
    met = [m for m in situation.met if m.relation in relations and m.age_s <= within_s]
    return [m.hello for m in sorted(met, key=lambda m: (m.hello.member_id, m.hello.lineage))]


def _decide_empty(situation: Situation) -> Step:
    left = situation.left
    hosts = [h for h in _fresh(situation, Relation.HOST) if not h.suspended]
    if left is not None:
        hosts = [h for h in hosts if left.allows(h)]
    if hosts:
        newest = max(hosts, key=lambda h: len(h.lineage))
        # Of two that do not continue each other neither is joined: an operator decides (rule 7).
        if all(contains(newest.lineage, h.lineage) for h in hosts):
            return Step(Do.ADOPT, newest)
        return WAIT
    return Step(Do.FOUND) if _may_found(situation) else WAIT


def _may_found(situation: Situation) -> bool:
    """Only when all are there and none ever held data: who left a generation knows of some."""
    mine = situation.mine
    empty = _fresh(situation, Relation.BOTH_EMPTY)
    return (
        mine.expect > 0
        and len(empty) == mine.expect - 1
        and not any(h.left for h in [mine, *empty])
        and all(h.expect == mine.expect and mine.member_id < h.member_id for h in empty)
    )


def _newer(situation: Situation) -> Hello | None:
    """A node whose lineage continues ours and that takes part; the one that goes furthest."""
    found = [h for h in _fresh(situation, Relation.NEWER) if not h.suspended]
    return max(found, key=lambda h: len(h.lineage), default=None)


def _newer_was_there(situation: Situation) -> bool:
    """Whether a newer generation may come back: silent for a while is not gone."""
    recent = _fresh(situation, Relation.NEWER, within_s=GONE_S)
    return any(not h.suspended for h in recent)


def _own_quorum(situation: Situation) -> bool:
    """Whether our generation serves with a quorum without us."""
    return any(h.has_quorum and not h.suspended for h in _fresh(situation, *_OURS))


def _contested_peer(situation: Situation) -> Hello | None:
    """A node of our generation that was contested: what it met counts for all of us."""
    if situation.confirmed:
        return None
    return next((h for h in _fresh(situation, *_OURS) if h.contested), None)


_OURS: Final = (Relation.PEER, Relation.ASIDE)


def _decide_leaving(situation: Situation, newer: Hello) -> Step:
    """Rule 4, of a node that stands aside."""
    if situation.since_quorum_s < OLD_QUORUM_S:
        return WAIT
    if situation.open_questions and situation.since_asked_s < QUESTIONS_S:
        return WAIT  # one that we have not heard yet may be the other of twins
    if not _comparable(newer, _fresh(situation, Relation.NEWER)):
        return WAIT  # of twins nobody is followed (rule 7)
    voters = situation.configuration.voters
    ours = _fresh(situation, *_OURS)
    if any(h.member_id in voters and not h.suspended for h in ours):
        return WAIT
    return Step(Do.LEAVE, newer)


def _comparable(newest: Hello, others: Iterable[Hello]) -> bool:
    return all(contains(newest.lineage, h.lineage) for h in others)


def _questions_answered(situation: Situation) -> bool:
    if not situation.open_questions:
        return True
    if (
        situation.was_contested and not situation.confirmed
    ):  # silence proves nothing when a live majority was there before
        return False
    restored = situation.parent_voters or not situation.confirmed
    limit = PARENT_QUESTIONS_S if restored else QUESTIONS_S
    return situation.since_asked_s >= limit
