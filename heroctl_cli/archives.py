"""How an archive is shown: what it says about itself without a key."""

from __future__ import annotations

from typing import Any

import click

from heroctl_core.snapshot.archive import Outline

from . import output


def shown(outline: Outline) -> dict[str, Any]:
    """The outline as JSON; keys are stable."""
    head = outline.manifest.header
    return {
        "cluster": head.cluster_name,
        "cluster_id": head.cluster_id,
        "generation": head.lineage[-1][0] if head.lineage else 0,
        "epoch": head.epoch,
        "revision": head.revision,
        "created_at": head.created_at,
        "node": head.node,
        "stale": head.stale,
        "heroctl_version": head.heroctl_version,
        "encrypted": outline.manifest.encryption is not None,
        "key_ids": list(outline.key_ids),
        "size_bytes": outline.size_bytes,
        "sha256": outline.sha256,
        "sections": {entry.name: entry.records for entry in outline.manifest.sections},
    }


def tell(found: dict[str, Any]) -> None:
    """Prints it for people."""
    lines = {
        "cluster": f"{found['cluster']} ({found['cluster_id']})",
        "created": f"{found['created_at']} on {found['node']}",
        "revision": f"{found['revision']} of generation {found['generation']}",
        "state": "without a quorum: later writes may be missing" if found["stale"] else "complete",
        "version": f"heroctl {found['heroctl_version']}",
        "key": ", ".join(found["key_ids"]) or "none: not encrypted",
        "size": output.size(found["size_bytes"]),
        "sha256": found["sha256"],
    }
    for name, value in lines.items():
        click.echo(f"{name:<9} {value}")
    click.echo()
    output.table(["SECTION", "RECORDS"], list(found["sections"].items()))
