"""What a data folder knows of the generations that must not go on beside its own.

Counted from durable marks: who left the parent for us, who was declared destroyed, and what this
folder itself promised. Rules 4, 6 and 7 of docs/recovery.md.
"""

from __future__ import annotations

import logging

from .folder import DataFolder
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


def promise(folder: DataFolder) -> Left | None:
    """What an empty folder promised when it left its generation; None when it never had one."""
    mark = folder.mark("left")
    if folder.header is not None or mark is None:
        return None
    return Left(str(mark.get("of")), str(mark["restore_id"]), yielded=bool(mark.get("yielded")))
