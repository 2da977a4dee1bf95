"""header.json: what a generation of the data folder is, and where it came from. Pure.

Written once, before CURRENT names the generation, and never changed. A node that joins takes over
the header of the cluster that it joins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from . import membership
from .handshake import Hello, is_restore_id
from .membership import EMPTY, Configuration
from .port import Generation, Lineage

FORMAT: Final = 1
ORIGINS: Final = ("bootstrap", "restore", "join")


@dataclass(frozen=True, slots=True)
class Header:
    """One generation. `members` is the configuration that its log begins with; `parent` the voters
    of the generation before a restore, `known_index` the last log index of that generation which
    the restored node knew."""

    cluster_id: str
    cluster_name: str
    lineage: Lineage
    members: Configuration
    origin: str
    created_at: str  # RFC 3339, UTC
    parent: Configuration = field(default=EMPTY)
    known_term: int = 0
    known_index: int = 0

    @property
    def generation(self) -> int:
        return self.lineage[-1].number

    @property
    def restore_id(self) -> str:
        return self.lineage[-1].restore_id

    @property
    def folder_name(self) -> str:
        """The name of the generation's folder."""
        return f"{self.generation}-{self.restore_id}"

    @property
    def parent_voters(self) -> frozenset[str]:
        return self.parent.voters

    @property
    def parent_addresses(self) -> set[str]:
        """Where the voters of the parent were reached."""
        return {s.address for m, s in self.parent.members.items() if m not in self.members.members}

    def to_value(self) -> dict[str, Any]:
        """The JSON object of header.json."""
        return {
            "format": FORMAT,
            "cluster_id": self.cluster_id,
            "cluster_name": self.cluster_name,
            "lineage": [[g.number, g.restore_id] for g in self.lineage],
            "members": self.members.to_value(),
            "origin": self.origin,
            "created_at": self.created_at,
            "parent": {
                "voters": self.parent.to_value(),
                "last_term": self.known_term,
                "last_index": self.known_index,
            },
        }


def header_from(value: Mapping[str, Any]) -> Header:
    """The header in a JSON object; ValueError when it is none or of a newer format."""
    try:
        if value["format"] != FORMAT:
            raise ValueError(f"header of format {value['format']}, this release reads {FORMAT}")
        parent = value["parent"]
        header = Header(
            cluster_id=str(value["cluster_id"]),
            cluster_name=str(value["cluster_name"]),
            lineage=tuple(Generation(int(n), str(r)) for n, r in value["lineage"]),
            members=membership.from_value(value["members"]),
            origin=str(value["origin"]),
            created_at=str(value["created_at"]),
            parent=membership.from_value(parent["voters"]),
            known_term=int(parent["last_term"]),
            known_index=int(parent["last_index"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no header: {error!r}") from error
    if not header.lineage or header.origin not in ORIGINS:
        raise ValueError("no header: lineage or origin")
    if not all(is_restore_id(generation.restore_id) for generation in header.lineage):
        raise ValueError("no header: a restore id")
    return header


def check_hello(hello: Hello) -> None:
    """ValueError unless the header in a hello is that of the cluster and lineage that it names: a
    node that joins relies on it."""
    if not hello.cluster_id:
        return
    header = header_from(hello.header)
    lineage = tuple((g.number, g.restore_id) for g in header.lineage)
    if (header.cluster_id, lineage) != (hello.cluster_id, hello.lineage):
        raise ValueError("malformed hello: its header is that of another cluster or lineage")
