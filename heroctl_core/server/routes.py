"""The table of routes: what each does with the services. Knows no HTTP library.

Each route's function takes the node, the actor and the call, may block, and returns a Reply or
raises one of our errors. Rights are checked by the services.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..catalogue.access import Actor
from ..errors import CommandRejected, NodeFault, NotApplied, ReadOnly
from . import documents, metrics, resources
from .port import Node, RestoreOptions, SavedSnapshot
from .resources import Function
from .wire import Call, Reply

_TICK_AGE_S: Final = 10.0  # an engine that is still for longer is not alive


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the API. `action` is the right that it needs, as in `job:read`."""

    method: str
    path: str
    action: str | None  # None: anybody, also without a token
    function: Function
    summary: str

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
        raise NotApplied("no leader is known")
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

    A forced bootstrap decides about one node and its disk, so it is not a matter of tokens.
    """
    if not actor.operator:
        raise CommandRejected(
            "denied",
            "a running node restores only for the operator on its own machine",
            hint="run the command there, as root or as the server's user",
        )


def restore(node: Node, call: Call, archive: Path) -> Reply:
    """What a forced bootstrap from `archive` did, or with dry_run would do."""
    options = RestoreOptions(
        confirm_cluster=call.query.get("confirm_cluster"),
        expect_sha256=call.query.get("expect_sha256"),
        encrypted=not call.flag("unencrypted"),
        revoke_tokens=call.flag("revoke_tokens"),
        dry_run=call.flag("dry_run"),
    )
    return Reply(node.lifecycle.force_bootstrap(archive, options).to_json())


def _resource(
    kind: str,
    right: str,
    path: str,
    *,
    page: Callable[[Node], Callable[..., Sequence[Any]]],
    one: Callable[[Node], Callable[..., documents.Shown]],
    put: Function,
    delete: Callable[[Node], Callable[..., documents.Shown]],
) -> tuple[Route, ...]:
    """The four routes that every kind has."""
    named = f"{path}/{{name:.+}}"
    return (
        Route(
            "GET",
            path,
            f"{right}:list",
            resources.lists(kind, page),
            f"A page of {kind} documents.",
        ),
        Route("GET", named, f"{right}:read", resources.gets(one), f"One {kind}."),
        Route("PUT", named, f"{right}:write", put, f"Write one {kind}."),
        Route("DELETE", named, f"{right}:delete", resources.deletes(delete), f"Delete one {kind}."),
    )


ROUTES: Final[tuple[Route, ...]] = (
    *_resource(
        "job",
        "job",
        "/v1/jobs",
        page=lambda node: node.jobs.list,
        one=lambda node: node.jobs.get,
        put=resources.put_job,
        delete=lambda node: node.jobs.delete,
    ),
    *_resource(
        "secret",
        "secret",
        "/v1/secrets",
        page=lambda node: node.secrets.list,
        one=lambda node: node.secrets.get,
        put=resources.put_secret,
        delete=lambda node: node.secrets.delete,
    ),
    *_resource(
        "policy",
        "acl",
        "/v1/acl/policies",
        page=lambda node: node.acl.list_policies,
        one=lambda node: node.acl.get_policy,
        put=resources.put_policy,
        delete=lambda node: node.acl.delete_policy,
    ),
    *_resource(
        "token",
        "acl",
        "/v1/acl/tokens",
        page=lambda node: node.acl.list_tokens,
        one=lambda node: node.acl.get_token,
        put=resources.put_token,
        delete=lambda node: node.acl.delete_token,
    ),
    *_resource(
        "ingress",
        "ingress",
        "/v1/ingress",
        page=lambda node: node.ingress.list,
        one=lambda node: node.ingress.get,
        put=resources.put_ingress,
        delete=lambda node: node.ingress.delete,
    ),
    *_resource(
        "node",
        "node",
        "/v1/nodes",
        page=lambda node: node.nodes.list,
        one=lambda node: node.nodes.get,
        put=resources.put_node,
        delete=lambda node: node.nodes.delete,
    ),
    Route("POST", "/v1/acl/bootstrap", "operator:write", resources.bootstrap, "The first token."),
    Route("GET", "/v1/metrics", "metrics:list", resources.list_metrics, "All metric series."),
    Route(
        "GET", "/v1/metrics/{name:.+}", "metrics:read", resources.get_metrics, "One metric series."
    ),
    Route(
        "POST", "/v1/metrics", "metrics:write", resources.put_metrics, "Add samples to a series."
    ),
    Route(
        "DELETE",
        "/v1/metrics/{name:.+}",
        "metrics:delete",
        resources.delete_metrics,
        "Delete metric series.",
    ),
    Route("GET", "/v1/status", "any", status, "How the cluster is."),
    Route("GET", "/livez", None, livez, "Whether the node is alive."),
    Route("GET", "/readyz", None, readyz, "Whether the node takes writes."),
    Route("GET", "/metrics", None, prometheus, "Metrics of the node itself."),
)
