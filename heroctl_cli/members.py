"""The members of the cluster, through whichever node is reached: `heroctl cluster ...`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from heroctl_core.client import path_of
from heroctl_core.errors import Unreachable

from . import connection, local, output


@click.command("members", help="The members, as the leader sees them.")
@connection.online
def members(addr: str | None) -> None:
    with connection.connect(addr) as client:
        found = connection.read(client, path_of("cluster", "members")).body["items"]
    output.emit(found, text=lambda: _table(found))


def _table(found: Sequence[dict[str, Any]]) -> None:
    output.table(
        ["MEMBER", "ADDRESS", "ROLE", "CONNECTED", "HEARD", "MATCH", "LAG", "VERSION", "ID"],
        [
            [
                member["name"],
                member["address"],
                "leader" if member["is_leader"] else member["role"],
                member["is_connected"],
                None if member["heard_s"] is None else f"{member['heard_s']:.1f} s ago",
                member["match_index"],
                member["lag"],
                member["version"],
                member["member_id"],
            ]
            for member in found
        ],
    )


@click.command("transfer-leader", help="Let NODE lead, or the most caught-up voter.")
@click.argument("node", required=False)
@connection.online
def transfer_leader(addr: str | None, node: str | None) -> None:
    with connection.connect(addr) as client:
        path = path_of("cluster", "transfer-leader")
        leader = client.write("POST", path, {"to": node}, retry=False).body
    output.emit(leader, text=lambda: output.line(f"leader: {leader['name']}"))


@click.command("remove", help="Remove a member, by name or id; its node stops itself.")
@click.argument("member", metavar="NODE|MEMBER-ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection.online
def remove(addr: str | None, member: str, *, yes: bool) -> None:
    output.confirm(f"remove member {member}?", yes=yes)
    with connection.connect(addr) as client:
        done = client.write("DELETE", path_of("cluster", "members", member), retry=False).body
    output.emit(done, text=lambda: output.line(f"member {member}: removed"))


@click.command("join", help="Let this machine's node, with an empty folder, join a cluster.")
@click.argument("address", metavar="HOST:PORT")
@output.output_option
def join(address: str) -> None:
    """ADDRESS is the Raft address of a member. A node that does not run joins at its next start."""
    try:
        with connection.connect(None) as client:
            client.write("POST", path_of("cluster", "join"), {"address": address}, retry=False)
        text = f"joining the cluster of {address}"
    except Unreachable:
        from heroctl_core import offline

        offline.join(local.resolve(None).stopped(), address)
        text = f"the node joins the cluster of {address} when it is started: heroctl server"
    output.emit({"joining": address}, text=lambda: output.line(text))
