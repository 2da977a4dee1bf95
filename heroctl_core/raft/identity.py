"""node.json: which member a data folder is."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import Damaged, UnsupportedVersion
from .json_file import read_json, write_json

FORMAT: Final = 1
FILE: Final = "node.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """`member_id` is random, 128 bits in hex, and changes when a generation was left. `cluster_id`
    is None until the folder has its first generation and after it was left."""

    node_name: str
    member_id: str
    cluster_name: str
    cluster_id: str | None = None


def new_member_id() -> str:
    return secrets.token_hex(16)


def read_identity(path: Path) -> Identity | None:
    """The identity in a data folder, None where there is none yet; Damaged, UnsupportedVersion."""
    file = path / FILE
    if not file.exists():
        return None
    value = read_json(file)
    number = value.get("format")
    if type(number) is not int:
        raise Damaged(f"{file} has no format number")
    if number > FORMAT:
        raise UnsupportedVersion(
            f"{file} has format {number}, this release reads up to {FORMAT}",
            hint="install the release that wrote it, or a newer one",
        )
    for name in ("node_name", "member_id", "cluster_name"):
        if not isinstance(value.get(name), str):
            raise Damaged(f"{file} has no {name}")
    return Identity(
        value["node_name"],
        value["member_id"],
        value["cluster_name"],
        str(value["cluster_id"]) if value.get("cluster_id") else None,
    )


def write_identity(path: Path, identity: Identity) -> None:
    """Durable when it returns."""
    value = {
        "format": FORMAT,
        "node_name": identity.node_name,
        "member_id": identity.member_id,
        "cluster_name": identity.cluster_name,
        "cluster_id": identity.cluster_id,
    }
    write_json(path / FILE, value)
