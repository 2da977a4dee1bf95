"""What a data folder knows of the generations that must not go on beside its own.

Counted from durable marks: who left the parent for us, who was declared destroyed, and what this
folder itself promised. Rules 4, 6 and 7 of docs/recovery.md.
"""

from __future__ import annotations

import logging

from .folder import DataFolder
from .handshake import Hello
from .presence import Left

log = logging.getLogger("heroctl.raft")


def is_confirmed(folder: DataFolder) -> bool:
    """Whether nothing older than this generation can ever commit again: by counting who left it, or
    by word of an operator. A restore into an empty folder has nobody to count."""
    header = folder.header
    if header is None or len(header.lineage) == 1 or folder.mark("confirmed") is not None:
        return True
    voters = header.parent_voters
    gone = folder.parent_voters_left() & voters
    return bool(voters) and len(gone) > len(voters) // 2


def confirm(folder: DataFolder, why: str) -> None:
    """Notes durably that the generation is confirmed."""
    header = folder.header
    assert header is not None
    folder.set_mark("confirmed", {"why": why})
    log.warning("generation %s is confirmed: %s", header.folder_name, why)


def unconfirmed_because(folder: DataFolder) -> str:
    """Who is missing, as an operator should read it."""
    header = folder.header
    assert header is not None
    if not header.parent_voters:
        return "it is not known who voted in the generation before the restore"
    gone = folder.parent_voters_left()
    missing = sorted(s.name for m, s in header.parent.members.items() if m not in gone)
    return (
        f"of the {len(header.parent_voters)} voters before the restore these did not leave yet: "
        f"{', '.join(missing)}"
    )


def promise(folder: DataFolder) -> Left | None:
    """What an empty folder promised when it left its generation; None when it never had one."""
    mark = folder.mark("left")
    if folder.header is not None or mark is None:
        return None
    return Left(str(mark.get("of")), str(mark["restore_id"]), yielded=bool(mark.get("yielded")))


def why_contested(folder: DataFolder, name: str, rival: Hello) -> str:
    """Who stands against the generation of node `name`, and what an operator can do."""
    header = folder.header
    assert header is not None
    theirs = rival.lineage[-1][1]
    if len(rival.lineage) < len(header.lineage):
        return (
            f"node {rival.name} still serves the generation before the restore, with a quorum. "
            f"To keep the restore: stop {rival.name} and the nodes with it, then on {name}: heroctl"
            f" cluster resume; then start them. To give it up, on {name}: heroctl cluster yield "
            f"{theirs}"
        )
    return (
        f"node {rival.name} has restore {theirs}, {name} has {header.restore_id}, and neither "
        f"continues the other. To keep that of {rival.name}, on {name}: heroctl cluster yield "
        f"{theirs}; to keep this one, on {rival.name}: heroctl cluster yield {header.restore_id}. "
        "Then on the one that is kept: heroctl cluster resume"
    )
