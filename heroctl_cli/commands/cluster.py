"""`heroctl cluster`: the members of the cluster."""

from __future__ import annotations

from typing import Any

import click

from heroctl_core.client import path_of
from heroctl_core.errors import RecoveryError

from .. import connection, output
from ..members import join, members, remove, transfer_leader
from ..restores import typed_name


@click.command("resume", help="Let a restored node go on: look again whether it is contested.")
@click.option(
    "--others-destroyed",
    is_flag=True,
    help="The nodes of the generation before the restore will never come back.",
)
@connection.online
def _resume(addr: str | None, *, others_destroyed: bool) -> None:
    with connection.connect(addr) as client:
        body = {"others_destroyed": others_destroyed}
        status = client.write("POST", path_of("cluster", "resume"), body, retry=False).body
    text = f"node {status['node']}, generation {status['generation']}: {status['fencing']}"
    output.emit(status, text=lambda: output.line(text))


@click.command("yield", help="Give this node's restore up: it joins NODE (or a restore id).")
@click.argument("node")
@click.option("--yes", is_flag=True, help="Do not ask; needs --confirm-cluster.")
@click.option("--confirm-cluster", metavar="NAME", help="The cluster's name, as typed by you.")
@connection.online
def _yield(addr: str | None, node: str, confirm_cluster: str | None, *, yes: bool) -> None:
    with connection.connect(addr) as client:
        status = client.get(path_of("status")).body
        _refuse_own(status, node)
        cluster, number = status["cluster"], status["generation"]
        question = (
            f"this puts generation {number} of node {status['node']} into quarantine: type the "
            f"cluster's name ({cluster}) to yield"
        )
        typed = typed_name(question, cluster, yes=yes, given=confirm_cluster)
        body = {"to": node, "confirm_cluster": typed}
        done = client.write("POST", path_of("cluster", "yield"), body, retry=False).body
    output.emit(done, text=lambda: output.line(done["done"]))


def _refuse_own(status: dict[str, Any], node: str) -> None:
    """RecoveryError, before anything is asked, for a member that this node is connected to."""
    for member in status["members"]:
        if member["is_connected"] and node in (member["name"], member["member_id"]):
            raise RecoveryError(
                f"{node} is in this generation: nothing to give up",
                hint="a node of another generation is named by the warnings of: heroctl status",
            )


command = click.Group(
    "cluster",
    help="The members of the cluster.",
    commands=[join, members, remove, transfer_leader, _resume, _yield],
)
