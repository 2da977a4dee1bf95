"""What the routes of members do. Rights are checked by catalogue/members.py; which cluster an empty
node joins is for the operator of its own machine."""

from __future__ import annotations

from ..catalogue.access import Actor
from ..catalogue.members import shown
from ..errors import CommandRejected
from . import documents
from .port import Node
from .wire import Call, Reply


def members(node: Node, _: Actor, call: Call) -> Reply:
    """All members, as the leader sees them or, when stale, as this node does."""
    found = shown(node.members.list(consistency=call.consistency))
    return Reply({"kind": "member", "items": found}, stale=call.is_stale)


def remove(node: Node, actor: Actor, call: Call) -> Reply:
    """Removes one member, by name or id."""
    member = call.names["name"]
    node.members.remove(member, actor=actor)
    return Reply({"removed": member})


def transfer_leader(node: Node, actor: Actor, call: Call) -> Reply:
    """Lets another voter lead: the one in `to`, or the most caught-up one."""
    to = documents.fields(call, "transfer-leader", "to").get("to")
    if to is not None and not isinstance(to, str):
        raise documents.invalid("transfer-leader: to is no text")
    [leader] = shown([node.members.transfer_leader(to or "", actor=actor)])
    return Reply(leader)


def join(node: Node, actor: Actor, call: Call) -> Reply:
    """Names a member of the cluster that this node, with an empty folder, shall join."""
    if not actor.operator:
        raise CommandRejected(
            "denied",
            "a node joins a cluster only for the operator on its own machine",
            hint="run the command there, as root or as the server's user",
        )
    body = documents.fields(call, "join", "address")
    address = str(documents.required(body, "join", "address"))
    node.lifecycle.join(address)
    return Reply({"joining": address})
