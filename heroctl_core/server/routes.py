"""The table of routes: what each does with the services. Knows no HTTP library.

Each route's function takes the node, the actor and the call, may block, and returns a Reply or
raises one of our errors. Rights are checked by the services.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..catalogue.access import Actor
from ..catalogue.resource import Resource
from ..errors import CommandRejected, NodeFault, NotApplied, ReadOnly
from . import documents, members, metrics, resources, transactions
from .port import Node, RestoreOptions, SavedSnapshot
from .resources import Function
from .wire import Call, Reply

_TICK_AGE_S: Final = 10.0  # an engine that is still for longer is not alive


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the API. `is_open`: anybody may call it, also without a token."""

    method: str
    path: str
    function: Function
    is_open: bool = False

    @property
    def takes_body(self) -> bool:
        """True for writes with a JSON document."""
        return self.method in ("PUT", "POST")


def status(node: Node, _: Actor, __: Call) -> Reply:
    """How the cluster is, seen from this node."""
    return Reply(node.status().to_json())


def livez(node: Node, _: Actor, __: Call) -> Reply:
    """Whether the engine's loop turns."""
    age_s = node.status().raft.tick_age_s
    if age_s > _TICK_AGE_S:
        raise NodeFault(f"the engine's loop is still since {age_s:.1f} s")
    return Reply({"status": "ok"})


def readyz(node: Node, _: Actor, __: Call) -> Reply:
    """Whether this node takes writes."""
    look = node.status()
    if not look.has_quorum:
        raise ReadOnly(f"mode is {look.mode}")
    if not look.is_ready:
        raise NotApplied(
            "no leader is known" if look.leader is None else "this node has not applied its log yet"
        )
    return Reply({"status": "ok", "mode": str(look.mode)})


def prometheus(node: Node, _: Actor, __: Call) -> Reply:
    """Metrics of the node itself, in Prometheus' text format."""
    text = metrics.exposition(node.status())
    return Reply(text.encode(), content_type=metrics.CONTENT_TYPE)


def save_snapshot(node: Node, actor: Actor, call: Call, folder: Path) -> tuple[Path, SavedSnapshot]:
    """A verified archive in `folder`, and what is in it."""
    path = folder / "snapshot"
    encrypted = not call.flag("unencrypted")
    return path, node.snapshot.save(path, encrypted=encrypted, actor=actor)


def may_restore(actor: Actor) -> None:
    """CommandRejected denied for everybody but the operator of this machine.

    It decides about one node and its disk, so it is not a matter of tokens.
    """
    if not actor.operator:
        raise CommandRejected(
            "denied",
            "a running node changes its generation only for the operator on its own machine",
            hint="run the command there, as root or as the server's user",
        )


def resume(node: Node, actor: Actor, call: Call) -> Reply:
    """Ends a contest, or declares the other nodes destroyed."""
    may_restore(actor)
    body = documents.fields(call, "resume", "others_destroyed")
    node.lifecycle.resume(others_destroyed=body.get("others_destroyed") is True)
    return Reply(node.status().to_json())


def yield_to(node: Node, actor: Actor, call: Call) -> Reply:
    """Gives the generation of this node up."""
    may_restore(actor)
    body = documents.fields(call, "yield", "to confirm_cluster")
    to, cluster = (str(documents.required(body, "yield", f)) for f in ("to", "confirm_cluster"))
    return Reply({"done": node.lifecycle.yield_to(to, confirm_cluster=cluster)})


def restore(node: Node, call: Call, archive: Path) -> Reply:
    """What a forced bootstrap from `archive` did, or with dry_run would do."""
    options = RestoreOptions(
        confirm_cluster=call.query.get("confirm_cluster"),
        expect_sha256=call.query.get("expect_sha256"),
        encrypted=not call.flag("unencrypted"),
        revoke_tokens=call.flag("revoke_tokens"),
        archive_name=call.query.get("archive_name"),
        dry_run=call.flag("dry_run"),
    )
    return Reply(node.lifecycle.force_bootstrap(archive, options).to_json())


def _resource(
    kind: str, path: str, of: Callable[[Node], Resource[Any]], put: Function
) -> tuple[Route, ...]:
    """The four routes that every kind has."""
    named = f"{path}/{{name:.+}}"
    return (
        Route("GET", path, resources.lists(kind, of)),
        Route("GET", named, resources.gets(of)),
        Route("PUT", named, put),
        Route("DELETE", named, resources.deletes(of)),
    )


_SERIES: Final = "/v1/metrics/{name:.+}"

ROUTES: Final[tuple[Route, ...]] = (
    *_resource("job", "/v1/jobs", lambda node: node.jobs, resources.put_job),
    *_resource("secret", "/v1/secrets", lambda node: node.secrets, resources.put_secret),
    *_resource("policy", "/v1/acl/policies", lambda node: node.acl.policies, resources.put_policy),
    *_resource("token", "/v1/acl/tokens", lambda node: node.acl.tokens, resources.put_token),
    *_resource("ingress", "/v1/ingress", lambda node: node.ingress, resources.put_ingress),
    *_resource("node", "/v1/nodes", lambda node: node.nodes, resources.put_node),
    Route("POST", "/v1/acl/bootstrap", resources.bootstrap),
    Route("GET", "/v1/acl/can", resources.can),
    Route("GET", "/v1/metrics", resources.list_metrics),
    Route("GET", _SERIES, resources.get_metrics),
    Route("POST", "/v1/metrics", resources.put_metrics),
    Route("DELETE", _SERIES, resources.delete_metrics),
    Route("POST", "/v1/transaction", transactions.transact),
    Route("GET", "/v1/status", status),
    Route("GET", "/v1/cluster/members", members.members),
    Route("DELETE", "/v1/cluster/members/{name}", members.remove),
    Route("POST", "/v1/cluster/transfer-leader", members.transfer_leader),
    Route("POST", "/v1/cluster/join", members.join),
    Route("POST", "/v1/cluster/resume", resume),
    Route("POST", "/v1/cluster/yield", yield_to),
    Route("GET", "/livez", livez, is_open=True),
    Route("GET", "/readyz", readyz, is_open=True),
    Route("GET", "/metrics", prometheus, is_open=True),
)
