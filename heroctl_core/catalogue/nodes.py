"""Catalogued nodes: machines that carry jobs. Raft's members are another thing (status)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..state.commands import DeleteNode, PutNode
from .access import OPERATOR, Actor
from .resource import Resource
from .values import check_expect, check_name, shown, text_map
from .writes import Written


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
        return shown("node", self)


class Nodes(Resource[Node]):
    """Puts, gets, lists and deletes catalogued nodes. Any thread."""

    noun = right = "node"
    table, deletion, value = "nodes", DeleteNode, Node
    collection = "nodes"

    @staticmethod
    def put_command(
        name: str,
        *,
        address: str,
        labels: Mapping[str, str] | None = None,
        resources: Mapping[str, int | float] | None = None,
        expect: int | None = None,
    ) -> PutNode:
        """The validated command, for submit and transactions."""
        check_name("node", name)
        check_expect(expect)
        labels = text_map(f"labels of node {name}", labels)
        return PutNode(name, address, labels, dict(resources or {}), expect)

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
        command = self.put_command(
            name, address=address, labels=labels, resources=resources, expect=expect
        )
        return self._write(command, actor, request_id)
