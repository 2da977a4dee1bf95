"""What the routes of resources do: documents to calls of the catalogue, and answers back.

Each function takes the node, the actor and the call, may block, and returns a Reply or raises one
of our errors. Rights are checked by the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..catalogue.access import Actor
from ..catalogue.resource import Resource
from . import documents
from .port import Node
from .wire import Call, Reply

Function = Callable[[Node, Actor, Call], Reply]

PAGE: Final = 1000  # items of one answer to a list
_SAMPLES: Final = 4000  # of one write of metrics, well within an entry of the log


def _written(written: documents.Shown) -> Reply:
    return Reply(written.to_json())


def lists(kind: str, of: Callable[[Node], Resource[Any]]) -> Function:
    def run(node: Node, actor: Actor, call: Call) -> Reply:
        limit = call.number("limit", most=PAGE) or PAGE
        items = of(node).list(
            call.query.get("prefix", ""),
            limit=limit,
            after=call.query.get("after"),
            consistency=call.consistency,
            actor=actor,
        )
        following = items[-1].name if len(items) == limit else None
        shown = [documents.document(item) for item in items]
        return Reply({"kind": kind, "items": shown, "next": following}, stale=call.is_stale)

    return run


def gets(of: Callable[[Node], Resource[Any]]) -> Function:
    def run(node: Node, actor: Actor, call: Call) -> Reply:
        found = of(node).get(call.names["name"], consistency=call.consistency, actor=actor)
        return Reply(documents.document(found), stale=call.is_stale)

    return run


def deletes(of: Callable[[Node], Resource[Any]]) -> Function:
    def run(node: Node, actor: Actor, call: Call) -> Reply:
        return _written(of(node).delete(call.names["name"], **_stamp(actor, call)))

    return run


def _stamp(actor: Actor, call: Call) -> dict[str, Any]:
    """What every write of one row takes."""
    return {"expect": call.expect, "request_id": call.request_id, "actor": actor}


def put_job(node: Node, actor: Actor, call: Call) -> Reply:
    """Writes a job."""
    body = documents.fields(call, "job", "labels spec")
    spec = documents.required(body, "job", "spec")
    return _written(
        node.jobs.put(call.names["name"], spec, labels=body.get("labels"), **_stamp(actor, call))
    )


def put_secret(node: Node, actor: Actor, call: Call) -> Reply:
    """Seals and writes a secret."""
    body = documents.fields(call, "secret", "value value_base64 metadata")
    return _written(
        node.secrets.put(
            call.names["name"],
            documents.secret_value(body),
            metadata=body.get("metadata"),
            **_stamp(actor, call),
        )
    )


def put_policy(node: Node, actor: Actor, call: Call) -> Reply:
    """Writes a policy."""
    body = documents.fields(call, "policy", "rules")
    rules = documents.required(body, "policy", "rules")
    return _written(node.acl.put_policy(call.names["name"], rules, **_stamp(actor, call)))


def put_token(node: Node, actor: Actor, call: Call) -> Reply:
    """Makes a token, whose text is in this answer only, or changes the one of that name."""
    body = documents.fields(call, "token", "policies expires accessor")
    policies = documents.required(body, "token", "policies")
    expires = body.get("expires")
    expires_ms = None if expires is None else documents.time_ms("token: expires", expires)
    return _written(
        node.acl.put_token(
            call.names["name"], policies, expires_ms=expires_ms, **_stamp(actor, call)
        )
    )


def bootstrap(node: Node, actor: Actor, _: Call) -> Reply:
    """Makes the first token."""
    return _written(node.acl.bootstrap(actor=actor))


def can(node: Node, actor: Actor, call: Call) -> Reply:
    """What is decided when a token asks for something, and why."""
    asked = {field: call.query.get(field, "") for field in ("token", "action", "resource", "name")}
    decision = node.acl.can(**asked, consistency=call.consistency, actor=actor)
    return Reply(decision.to_json(), stale=call.is_stale)


def put_ingress(node: Node, actor: Actor, call: Call) -> Reply:
    """Writes an ingress route."""
    spec = documents.ingress_spec(call)
    return _written(node.ingress.put(call.names["name"], **spec, **_stamp(actor, call)))


def put_node(node: Node, actor: Actor, call: Call) -> Reply:
    """Writes a catalogued node."""
    spec = documents.node_spec(call)
    return _written(node.nodes.put(call.names["name"], **spec, **_stamp(actor, call)))


def list_metrics(node: Node, actor: Actor, call: Call) -> Reply:
    """All series; there are few enough for one answer."""
    found = node.metrics.list(
        call.query.get("prefix", ""), consistency=call.consistency, actor=actor
    )
    shown = [documents.series(each, with_samples=False) for each in found]
    return Reply({"kind": "metrics", "items": shown, "next": None}, stale=call.is_stale)


def get_metrics(node: Node, actor: Actor, call: Call) -> Reply:
    """The samples of a series, by labels; `label.KEY=VALUE` and `since` narrow them."""
    since = call.query.get("since")
    found = node.metrics.get(
        call.names["name"],
        labels=_labels(call),
        start_ms=0 if since is None else documents.time_ms("since", since),
        consistency=call.consistency,
        actor=actor,
    )
    shown = [documents.series(each, with_samples=True) for each in found]
    return Reply({"kind": "metrics", "items": shown, "next": None}, stale=call.is_stale)


def delete_metrics(node: Node, actor: Actor, call: Call) -> Reply:
    """Drops the series of that name; `label.KEY=VALUE` narrows them."""
    return _written(
        node.metrics.delete(
            call.names["name"], labels=_labels(call), request_id=call.request_id, actor=actor
        )
    )


def _labels(call: Call) -> dict[str, str]:
    """The labels that a query asks for."""
    return {
        key.removeprefix("label."): value
        for key, value in call.query.items()
        if key.startswith("label.")
    }


def put_metrics(node: Node, actor: Actor, call: Call) -> Reply:
    """Adds samples. May be repeated: a sample of the same time takes the new value."""
    body = documents.fields(call, "metrics", "labels start step_s values samples", key="series")
    name = documents.required(body, "metrics", "series")
    samples = documents.samples(body)
    revision = None
    for first in range(0, max(len(samples), 1), _SAMPLES):
        part = samples[first : first + _SAMPLES]
        revision = node.metrics.append(name, part, labels=body.get("labels"), actor=actor).revision
    return Reply({"revision": revision, "samples": len(samples)})
