"""Catalogued nodes: machines that carry jobs. Raft's members are another thing (status)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..state.commands import DeleteNode, PutNode
from .access import OPERATOR, Actor
from .reads import Consistency, Fields, Reader, may_list
from .values import check_expect, check_name, row_times, text_map
from .writes import Writer, Written


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it was at `revision`."""

    name: str
    address: str
    labels: dict[str, str]
    resources: dict[str, int | float]
    revision: int
    created_ms: int
    modified_ms: int

    def to_json(self) -> dict[str, Any]:
        """The node as the API and the command line show it."""
        return {
            "kind": "node",
            "name": self.name,
            "address": self.address,
            "labels": self.labels,
            "resources": self.resources,
            "revision": self.revision,
            "created_ms": self.created_ms,
            "modified_ms": self.modified_ms,
        }


class Nodes:
    """Puts, gets, lists and deletes catalogued nodes. Any thread."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    def put(
        self,
        name: str,
        *,
        address: str,
        labels: Mapping[str, str] | None = None,
        resources: Mapping[str, int | float] | None = None,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Writes a node."""
        actor.check("write", "node", str(name))
        check_name("node", name)
        check_expect(expect)
        labels = text_map(f"labels of node {name}", labels)
        command = PutNode(name, address, labels, dict(resources or {}), expect)
        return self._writer.write(command, actor, request_id)

    def get(
        self, name: str, *, consistency: Consistency = "linearizable", actor: Actor = OPERATOR
    ) -> Node:
        """The node; CommandRejected not_found."""
        actor.check("read", "node", name)
        return _node(name, self._reader.get("nodes", name, consistency))

    def list(
        self,
        prefix: str = "",
        *,
        limit: int | None = None,
        after: str | None = None,
        consistency: Consistency = "linearizable",
        actor: Actor = OPERATOR,
    ) -> list[Node]:
        """The nodes that the actor may see, by name, behind the name `after`."""
        may_list(actor, "node")

        def make(name: str, fields: Fields) -> Node | None:
            return _node(name, fields) if actor.may_see("node", name) else None

        return self._reader.page("nodes", prefix, after, limit, consistency, make)

    def delete(
        self,
        name: str,
        *,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Drops a node."""
        actor.check("delete", "node", str(name))
        check_name("node", name)
        check_expect(expect)
        return self._writer.write(DeleteNode(name, expect), actor, request_id)


def _node(name: str, fields: Fields) -> Node:
    return Node(
        name=name,
        address=fields["address"],
        labels=fields["labels"],
        resources=fields["resources"],
        **row_times(fields),
    )
