"""Who talks to whom: the hello of both sides and what follows from it. Pure.

Two nodes exchange Raft messages only when cluster and lineage are equal. Lineages are compared by
containment, never by number: after a restore the longer one continues the shorter; when neither
contains the other the data forked, and nothing is exchanged (docs/recovery.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Final

from ..config.model import split_address
from ..state.commands import SCHEMA
from ..version import __version__

PROTOCOL: Final = 2  # 2: both ends prove that they have the secrets key
OLDEST_PROTOCOL: Final = 2  # what a node of an older release may speak at least
# What a node of an older release does not say, and what is taken instead.
_NEWER: Final = {
    "confirmed": False,
    "contested": False,
    "oldest_protocol": PROTOCOL,
    "removed": (),
    "schema": 1,
    "release": "",
    "seals": False,
}
_RESTORE_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")

Lineage = tuple[tuple[int, str], ...]  # (generation, restore id) from the first to the newest


@dataclass(frozen=True, slots=True)
class Hello:
    """What a node says of itself when a connection opens."""

    cluster_name: str
    cluster_id: str  # "" while the folder is empty
    lineage: Lineage
    member_id: str
    boot_nonce: str
    name: str
    address: str
    key_id: str
    expect: int  # bootstrap_expect; 0 = never founds
    has_quorum: bool = False  # serves with a quorum of its own generation
    suspended: bool = False  # takes no part: met a newer generation, or is contested
    left: tuple[tuple[str, str], ...] = ()  # (old member id, restore id that it left)
    header: Mapping[str, Any] = field(default_factory=dict)  # for those who join
    protocol: int = PROTOCOL
    confirmed: bool = False  # knows that nothing older can commit any more
    contested: bool = False  # has met a live parent or a fork of its generation itself
    removed: tuple[tuple[str, int], ...] = ()  # (member id, index): members that are no more
    oldest_protocol: int = OLDEST_PROTOCOL
    schema: int = SCHEMA  # the newest commands that it knows
    release: str = __version__
    seals: bool = True  # seals its frames where there is no TLS

    def to_value(self) -> dict[str, Any]:
        return asdict(self)


def hello_from(value: object) -> Hello:
    """The hello in a frame; ValueError when it is none. No value of it can surprise later. What
    only a newer release says is passed over."""
    value = spoken(value)
    try:
        known = {name: value[name] for name in Hello.__dataclass_fields__ if name not in _NEWER}
        known |= {name: value.get(name, default) for name, default in _NEWER.items()}
        known["lineage"] = tuple((int(n), str(r)) for n, r in known["lineage"])
        known["left"] = tuple((str(m), str(r)) for m, r in known["left"])
        known["removed"] = tuple((str(m), int(index)) for m, index in known["removed"])
        hello = Hello(**known)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"malformed hello: {error!r}") from error
    if fault := _fault(hello):
        raise ValueError(f"malformed hello: {fault}")
    return hello


def spoken(value: object) -> dict[str, Any]:
    """A greeting or hello of a node that we have a protocol in common with; else ValueError."""
    newest = value.get("protocol") if isinstance(value, dict) else None
    oldest = value.get("oldest_protocol", newest) if isinstance(value, dict) else None
    if (
        not isinstance(value, dict)
        or type(newest) is not int
        or type(oldest) is not int
        or newest < OLDEST_PROTOCOL
        or oldest > PROTOCOL
    ):
        theirs = newest if newest == oldest else f"{oldest} to {newest}"
        ours = PROTOCOL if PROTOCOL == OLDEST_PROTOCOL else f"{OLDEST_PROTOCOL} to {PROTOCOL}"
        raise ValueError(f"the peer speaks protocol {theirs!s:.20}, this node speaks {ours}")
    return value


def _fault(hello: Hello) -> str:
    texts = (hello.cluster_name, hello.cluster_id, hello.member_id, hello.boot_nonce,
             hello.name, hello.address, hello.key_id, hello.release)  # fmt: skip
    if not all(isinstance(text, str) and len(text) <= 512 for text in texts):
        return "a field is no text"
    if not isinstance(hello.header, dict) or type(hello.expect) is not int:
        return "header or expect"
    if type(hello.schema) is not int:
        return "schema"
    flags = (hello.has_quorum, hello.suspended, hello.confirmed, hello.contested, hello.seals)
    if not all(type(flag) is bool for flag in flags):
        return "a flag"
    if bool(hello.cluster_id) != bool(hello.lineage):
        return "cluster id and lineage do not go together"
    if not all(is_restore_id(restore_id) for _, restore_id in hello.lineage):
        return "a restore id"
    if hello.address:  # whoever cannot be reached has none
        split_address(hello.address)
    return ""


def is_restore_id(text: str) -> bool:
    """Whether `text` can be a restore id: part of a folder's name, so nothing but letters, digits
    and hyphens."""
    return bool(_RESTORE_ID.fullmatch(text))


class Relation(Enum):
    """What the other node is to this one."""

    PEER = "peer"  # same cluster, same lineage: Raft messages flow
    ASIDE = "aside"  # the same, but one of the two takes no part any more
    BOTH_EMPTY = "both_empty"  # may found a cluster together
    JOINER = "joiner"  # it is empty, we are a cluster
    HOST = "host"  # we are empty, it is a cluster
    NEWER = "newer"  # it continues our lineage: we are superseded
    OLDER = "older"  # we continue its lineage
    FORK = "fork"  # neither continues the other
    REMOVED = "removed"  # we are a member of its cluster no more
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The relation, and for a refusal or a fork the reason as an operator should read it."""

    relation: Relation
    reason: str = ""


def judge(mine: Hello, theirs: Hello) -> Judgement:
    """What `theirs` is to the node that says `mine`."""
    if reason := _refusal(mine, theirs):
        return Judgement(Relation.REFUSED, reason)
    if not mine.cluster_id or not theirs.cluster_id:
        relations = {
            (False, False): Relation.BOTH_EMPTY,
            (True, False): Relation.JOINER,
            (False, True): Relation.HOST,
        }
        return Judgement(relations[bool(mine.cluster_id), bool(theirs.cluster_id)])
    if mine.lineage == theirs.lineage:
        if (index := dict(mine.removed).get(theirs.member_id)) is not None:
            return Judgement(Relation.REFUSED, f"it was removed from the cluster at index {index}")
        if mine.member_id in dict(theirs.removed):
            return Judgement(Relation.REMOVED)
        aside = mine.suspended or theirs.suspended
        return Judgement(Relation.ASIDE if aside else Relation.PEER)
    if contains(theirs.lineage, mine.lineage):
        return Judgement(Relation.NEWER)
    if contains(mine.lineage, theirs.lineage):
        return Judgement(Relation.OLDER)
    return Judgement(
        Relation.FORK,
        f"fork: {theirs.name} has restore {theirs.lineage[-1][1][:8]} of generation "
        f"{theirs.lineage[-1][0]}, this node has {mine.lineage[-1][1][:8]} of generation "
        f"{mine.lineage[-1][0]}, and neither continues the other",
    )


def contains(longer: Lineage, shorter: Lineage) -> bool:
    """Whether `longer` continues `shorter`."""
    return longer[: len(shorter)] == shorter


def _refusal(mine: Hello, theirs: Hello) -> str:
    if theirs.cluster_name != mine.cluster_name:
        return f"it belongs to cluster {theirs.cluster_name!r}, this is {mine.cluster_name!r}"
    if theirs.member_id == mine.member_id:
        if theirs.boot_nonce == mine.boot_nonce:
            return "itself"
        return "two live processes have one member id: a data folder was copied"
    if mine.cluster_id and theirs.cluster_id and mine.cluster_id != theirs.cluster_id:
        return f"its cluster id is {theirs.cluster_id[:8]}, ours {mine.cluster_id[:8]}"
    if theirs.key_id != mine.key_id:
        return f"its secrets key is {theirs.key_id}, ours {mine.key_id}"
    return ""


def frame_tag(cluster_id: str, lineage: Lineage) -> bytes:
    """Eight bytes that stand for a cluster and the head of its lineage."""
    number, restore_id = lineage[-1]
    return hashlib.sha256(f"{cluster_id} {number} {restore_id}".encode()).digest()[:8]
