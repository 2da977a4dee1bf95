"""`heroctl status`: how the cluster is, seen from one node."""

from __future__ import annotations

from typing import Any

import click

from heroctl_core.client import path_of
from heroctl_core.errors import ReadOnly

from .. import connection, output

_FACTS = ("cluster", "node", "mode", "role", "leader", "term", "generation", "fencing", "revision")


@click.command("status", help="How the cluster is, seen from one node.")
@click.option("--exit-code", is_flag=True, help="Exit with 4 when writes are not taken.")
@connection.online
def command(addr: str | None, *, exit_code: bool) -> int:
    with connection.connect(addr) as client:
        status = client.get(path_of("status")).body
    if not status["has_quorum"]:
        age = "" if status["age_s"] is None else f", {status['age_s']:.1f} s old"
        output.warn(
            f"no quorum: mode is {status['mode']} since {status['mode_since']},"
            f" this is the copy of {status['node']}{age}"
        )
    for warning in status["warnings"]:
        output.warn(warning)
    output.emit(status, text=lambda: _text(status))
    return ReadOnly.exit_code if exit_code and not status["is_ready"] else 0


def _text(status: dict[str, Any]) -> None:
    width = max(len(fact) for fact in _FACTS)
    for fact in _FACTS:
        output.line(f"{fact:<{width}}  {output.cell(status[fact])}")
    output.line()
    members(status)


def members(status: dict[str, Any]) -> None:
    """The table of members."""
    output.table(
        ["MEMBER", "ADDRESS", "ROLE", "CONNECTED", "ID"],
        [
            [
                member["name"],
                member["address"],
                "leader" if member["is_leader"] else member["role"],
                member["is_connected"],
                member["member_id"],
            ]
            for member in status["members"]
        ],
    )
