"""What file system a path is on, from the text of /proc/mounts. Pure; files.py reads the text."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# Their locks and their fsync do not promise what ours rely on.
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)
_ESCAPES: Final = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that holds an absolute path; "unknown" without any mount."""
    deepest, kind = 0, "unknown"
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_unescaped(fields[1]))
        # A later mount on the same point covers the earlier one.
        if path.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), fields[2]
    return kind


def _unescaped(text: str) -> str:
    for code, char in _ESCAPES:
        text = text.replace(code, char)
    return text
