"""Whether every voter knows a command: one that cannot apply what is in the log stops. Pure.

A release that brings a command kind, or another body of one, raises `commands.SCHEMA`; each node
says its own in its hello. So a cluster can run two releases side by side, and the newer one's
commands are refused until its last voter runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import NotApplied
from ..state import commands
from .membership import Configuration

OLDEST_SCHEMA: Final = 1  # what a node is taken to know that was not met yet


def refusal_of(
    command: bytes, configuration: Configuration, schemas: Mapping[str, int]
) -> NotApplied | None:
    """Why an encoded command must wait; None when all voters know it. `schemas` has the newest
    schema of each member that was met, this node included."""
    needed = commands.schema_of(command)
    if needed <= OLDEST_SCHEMA:
        return None
    for member_id, spec in sorted(configuration.members.items()):
        known = schemas.get(member_id, OLDEST_SCHEMA)
        if spec.voter and known < needed:
            met = "knows" if member_id in schemas else "was not met yet and may know only"
            return NotApplied(
                f"this write needs command schema {needed}, node {spec.name} {met} schema {known}",
                hint=f"upgrade node {spec.name}, or remove it from the cluster; then try again",
            )
    return None
