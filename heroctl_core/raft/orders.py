"""What an operator decides where nodes cannot: to go on, or to give a generation up.

On the engine's thread, like the Standing that it changes. docs/recovery.md, rules 6 and 7.
"""

from __future__ import annotations

from typing import Final

from ..errors import RecoveryError
from . import fence, presence
from .handshake import Hello, Relation, contains
from .standing import Standing

_OTHERS: Final = (Relation.OLDER, Relation.NEWER, Relation.FORK, Relation.HOST)


def ask_rivals(standing: Standing, now_s: float) -> bool:
    """Whether a rival was heard of: then what it said is dropped, and everybody is asked again."""
    if presence.rival_of(standing.situation(now_s)) is None:
        return False
    standing.neighbours.ask_rivals(standing.addresses())
    standing.host.hang_up()  # every address is tried at once
    return True


def rivals_answered(standing: Standing, now_s: float) -> bool:
    """Whether one of those said again that it is there, or each has answered or refused."""
    again = presence.rival_of(standing.situation(now_s)) is not None
    return again or not standing.neighbours.questions_open


def resume(standing: Standing, now_s: float, *, others_destroyed: bool) -> None:
    """Looks again whether a contest goes on; with `others_destroyed` the generation counts as
    confirmed from now on. RecoveryError while a rival answers, and where nothing is to resume."""
    situation = standing.situation(now_s)
    if standing.folder.header is None:
        raise RecoveryError(
            "this node has not joined a cluster yet",
            hint="heroctl status shows who answers; an empty node joins by itself",
        )
    if rival := presence.rival_of(situation):
        number, restore_id = rival.lineage[-1]
        raise RecoveryError(
            f"node {rival.name} ({rival.address}) still runs: generation {number}, restore "
            f"{restore_id}",
            hint=f"stop it first, or join it: heroctl cluster yield {restore_id}",
        )
    contested = standing.contested is not None or standing.was_contested
    if others_destroyed and not standing.confirmed:
        fence.confirm(standing.folder, "an operator declared the other nodes destroyed")
        standing.folder.clear_mark("contested")
    elif not contested:
        raise RecoveryError(
            "this node is not contested: there is nothing to resume",
            hint="heroctl status shows how it stands",
        )
    if contested:
        standing.host.reopen()
    else:
        standing.host.hang_up()  # the others hear of it with the next hello


def yield_to(standing: Standing, now_s: float, name: str) -> str:
    """Gives the generation up for that of the node or restore id `name`: it goes into quarantine,
    and the node joins. What was done; RecoveryError for a confirmed generation that serves, unless
    the other one is confirmed as well."""
    of, node = _named(standing, now_s, name), standing.host.node
    number, restore_id = of.lineage[-1]
    if node is None:
        # Whoever counted this node's old member id for one restore must not count it for another.
        promise = {"generation": number, "restore_id": restore_id, "member_id": ""}
        standing.folder.set_mark("left", promise)
        return f"this node is empty: it joins generation {number} of node {of.name}"
    if standing.confirmed and not of.confirmed and node.may_vote and node.has_quorum():
        raise RecoveryError(
            "this node serves a confirmed generation with a quorum: it gives up nothing",
            hint=f"if it is node {of.name} that has to go, stop that one",
        )
    mine = standing.hello().lineage
    return standing.leave(node, of, yielded=not contains(of.lineage, mine))


def _named(standing: Standing, now_s: float, name: str) -> Hello:
    """The one other generation that is known by a node's name, its address or a restore id."""
    seen = standing.neighbours.seen(now_s)
    others = [m.hello for m in seen if m.relation in _OTHERS and m.age_s <= presence.FRESH_S]
    found = [h for h in others if name in (h.name, h.address, h.lineage[-1][1])]
    if len({h.lineage for h in found}) == 1:
        return found[0]
    known = sorted({f"{h.lineage[-1][1]} (node {h.name})" for h in others})
    raise RecoveryError(
        f"{len(found) or 'no'} reachable nodes of another generation are known as {name!r}",
        hint=f"the restore ids are {', '.join(known)}" if known else "start that node first",
    )
