"""What an operator reads where generations meet: who stands against whom, what to type. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .handshake import Hello, contains
from .header import Header
from .presence import Left

_DESTROYED: Final = "destroyed for good: heroctl cluster resume --others-destroyed"


def why_contested(header: Header, name: str, rival: Hello) -> str:
    """Who stands against the generation of node `name`."""
    theirs = rival.lineage[-1][1]
    mine = tuple((g.number, g.restore_id) for g in header.lineage)
    if contains(mine, rival.lineage):
        return (
            f"node {rival.name} still serves the generation before the restore, with a quorum. "
            f"To keep the restore: stop {rival.name} and the nodes with it, then on {name}: heroctl"
            f" cluster resume; then start them. To give it up, on {name}: heroctl cluster yield "
            f"{theirs}"
        )
    return (
        f"node {rival.name} has restore {theirs}, {name} has {header.restore_id}, and neither "
        f"continues the other. To keep that of {rival.name}, on {name}: heroctl cluster yield "
        f"{theirs}; to keep this one, on {rival.name}: heroctl cluster yield {header.restore_id}. "
        "Then on the one that is kept: heroctl cluster resume"
    )


def was_contested(silent: Iterable[str]) -> str:
    """Why a node that was contested before its start does not serve yet."""
    return (
        "CONTESTED before this start: this node serves when each of these has answered or refused "
        f"the connection: {', '.join(silent)}. When they are {_DESTROYED}"
    )


def unconfirmed(header: Header, gone: frozenset[str]) -> str:
    """Who of the voters that have to be fenced is missing; `gone` have left."""
    if not header.parent_voters:
        return (
            "UNCONFIRMED: it is not known who voted in the generation before the restore. When the "
            f"other nodes of before are {_DESTROYED}"
        )
    before = header.lineage[:-1]
    # A restore over an unconfirmed generation still fences that one's parent.
    whose = (
        f"generation {before[0].number}"
        if len(before) == 1
        else f"the last confirmed generation before {header.generation}"
    )
    missing = sorted(s.name for m, s in header.parent.members.items() if m not in gone)
    return (
        f"UNCONFIRMED: of the {len(header.parent_voters)} voters of {whose} these did not leave it "
        f"yet: {', '.join(missing)}. Start them with the disks that they had then; when those are "
        f"{_DESTROYED}"
    )


def split(other: Hello) -> str:
    """Two generations that both serve, and neither of which may yield."""
    return (
        f"SPLIT: node {other.name} serves generation {other.lineage[-1][0]} with a quorum beside "
        "this one; their writes never come together. Stop the nodes of one of them"
    )


def waits(left: Left) -> str:
    """Why an empty folder does not join whom it meets."""
    return (
        f"this node has left its generation for restore {left.followed} and waits for a node that "
        "serves it; to join another one: heroctl cluster yield NODE"
    )
