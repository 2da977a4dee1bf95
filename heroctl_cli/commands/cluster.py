"""`heroctl cluster`: the members of the cluster."""

from __future__ import annotations

import click

from heroctl_core.client import path_of

from .. import connection, output
from .status import members


@click.command("members", help="The members, as one node sees them.")
@connection.online
def _members(addr: str | None) -> None:
    with connection.connect(addr) as client:
        status = client.get(path_of("status")).body
    if not status["has_quorum"]:
        output.warn(f"no quorum: this is what {status['node']} last knew")
    output.emit(status["members"], text=lambda: members(status))


command = click.Group("cluster", help="The members of the cluster.", commands=[_members])
