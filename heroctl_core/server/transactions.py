"""`POST /v1/transaction`: documents to the parts of one write. Pure but for the call itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..catalogue.access import Actor
from ..catalogue.resource import Resource
from ..state.commands import Command, Expectation
from . import documents
from .port import Node
from .wire import Call, Reply

_PLACES: Final[dict[str, Callable[[Node], Resource[Any]]]] = {
    "job": lambda node: node.jobs,
    "secret": lambda node: node.secrets,
    "ingress": lambda node: node.ingress,
    "node": lambda node: node.nodes,
}


def transact(node: Node, actor: Actor, call: Call) -> Reply:
    """Writes all operations of the body, with one revision, or none of them."""
    body = documents.fields(call, "transaction", "operations")
    operations = documents.required(body, "transaction", "operations")
    if not isinstance(operations, list):
        raise documents.invalid(f"operations is a {type(operations).__name__}, not a list")
    parts = [_part(node, number, each) for number, each in enumerate(operations, 1)]
    return Reply(node.transaction(parts, request_id=call.request_id, actor=actor).to_json())


def _part(node: Node, number: int, operation: Any) -> Command | Expectation:
    place = f"operation {number}"
    if not isinstance(operation, dict):
        raise documents.invalid(f"{place} is a {type(operation).__name__}, not a map")
    action, kind, name = (
        documents.required(operation, place, field) for field in ("action", "kind", "name")
    )
    resource = _PLACES.get(kind) if isinstance(kind, str) else None
    if resource is None:
        raise documents.invalid(f"{place}: kind is {kind!r}; allowed: {', '.join(_PLACES)}")
    rest = {k: v for k, v in operation.items() if k not in ("action", "expect")}
    expect = operation.get("expect")
    call = Call({"name": name}, {}, rest, None, expect)
    if action == "put":
        return _PUTS[kind](node, call)
    if action == "delete":
        documents.fields(call, kind, "")
        return resource(node).delete_command(name, expect=expect)
    if action == "expect":
        documents.fields(call, kind, "")
        return resource(node).expectation(name, documents.required(operation, place, "expect"))
    raise documents.invalid(f"{place}: action is {action!r}; allowed: put, delete, expect")


def _put_job(node: Node, call: Call) -> Command:
    body = documents.fields(call, "job", "labels spec")
    spec = documents.required(body, "job", "spec")
    return node.jobs.put_command(
        call.names["name"], spec, labels=body.get("labels"), expect=call.expect
    )


def _put_secret(node: Node, call: Call) -> Command:
    body = documents.fields(call, "secret", "value value_base64 metadata")
    value, metadata = documents.secret_value(body), body.get("metadata")
    return node.secrets.put_command(
        call.names["name"], value, metadata=metadata, expect=call.expect
    )


def _put_ingress(node: Node, call: Call) -> Command:
    spec = documents.ingress_spec(call)
    return node.ingress.put_command(call.names["name"], **spec, expect=call.expect)


def _put_node(node: Node, call: Call) -> Command:
    return node.nodes.put_command(
        call.names["name"], **documents.node_spec(call), expect=call.expect
    )


_PUTS: Final[dict[str, Callable[[Node, Call], Command]]] = {
    "job": _put_job,
    "secret": _put_secret,
    "ingress": _put_ingress,
    "node": _put_node,
}
