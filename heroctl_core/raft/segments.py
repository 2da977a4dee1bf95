"""The log's segment files: their bytes, and making one.

    segment  = preamble | frame | frame | ... | zeros
    preamble = b"heroctl log\\n" 12 | format u32 | log id 16 | segment number u64 | size u64
               | CRC u32

The first frame holds one record, the Base: what is needed so that older segments may go. A segment
is made under NAME.new, filled with zeros, synced and then renamed, so one with its final name is
always whole; only the last frame of the last segment can be torn.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import codec
from ..errors import Damaged, NotAnArchive, UnsupportedVersion
from . import frames, records
from .disk import Disk
from .records import Base

FORMAT: Final = 1
_MAGIC: Final = b"heroctl log\n"
_PREAMBLE: Final = struct.Struct(">12sI16sQQ")
_CRC: Final = struct.Struct(">I")
PREAMBLE_BYTES: Final = _PREAMBLE.size + _CRC.size
BASE_ROOM: Final = 4096  # more than a preamble and a base ever take

WAYS_OUT: Final = (
    "let this node rejoin as a new member (move its data folder away, start it with an empty one), "
    "or restore a snapshot: heroctl snapshot restore FILE"
)


@dataclass(slots=True)
class Segment:
    """One file. `last_index` bounds the entries in it that still count, from above."""

    number: int
    path: Path
    last_index: int = 0


def segment_name(number: int) -> str:
    return f"{number:016d}.segment"


def salt_of(log_id: bytes) -> int:
    return codec.crc32(log_id)


def encode_preamble(log_id: bytes, number: int, size_bytes: int) -> bytes:
    head = _PREAMBLE.pack(_MAGIC, FORMAT, log_id, number, size_bytes)
    return head + _CRC.pack(codec.crc32(head))


def decode_preamble(path: Path, data: bytes) -> tuple[bytes, int]:
    """(log id, segment number) of a segment's bytes; raises the error that says what is wrong."""
    if data[: len(_MAGIC)] != _MAGIC:
        raise NotAnArchive(f"{path} is no segment of a log", hint=WAYS_OUT)
    if len(data) < PREAMBLE_BYTES:
        raise damaged(path, len(data), "the file is cut inside its preamble")
    if codec.crc32(data[: _PREAMBLE.size]) != _CRC.unpack_from(data, _PREAMBLE.size)[0]:
        raise damaged(path, 0, "the preamble's checksum does not match")
    _, version, log_id, number, size_bytes = _PREAMBLE.unpack_from(data)
    if version > FORMAT:
        raise UnsupportedVersion(
            f"{path} has log format {version}, this HeroCtl reads up to {FORMAT}",
            hint="start this node with the newer HeroCtl that wrote it",
        )
    if len(data) != size_bytes:
        raise damaged(path, len(data), f"the file has {len(data)} of {size_bytes} bytes")
    return log_id, number


def damaged(path: Path, offset: int, what: str) -> Damaged:
    """The error for a log that cannot be trusted: names file, offset and the ways out."""
    return Damaged(f"{path} at byte {offset}: {what}", hint=WAYS_OUT)


def make_segment(
    disk: Disk,
    folder: Path,
    log_id: bytes,
    number: int,
    size_bytes: int,
    frame: tuple[int, int],
    base: Base,
) -> tuple[Path, int, int]:
    """(path, where the next frame goes, CRC of its first frame) of a new, durable segment.

    `frame` is (number of its first frame, CRC of the frame before). On OSError with "no space"
    there is no new segment.
    """
    path = folder / segment_name(number)
    new = folder / (path.name + ".new")
    first, crc = frames.encode_frame(*frame, [records.base_record(base)], salt_of(log_id))
    data = encode_preamble(log_id, number, size_bytes) + first
    try:
        fd = disk.create(new, size_bytes)
        try:
            disk.write(fd, data, 0)
            disk.sync(fd)
        finally:
            disk.close(fd)
        disk.rename(new, path)
    except OSError:
        try:
            disk.unlink(new)
        except OSError:
            pass  # `open` removes it; the first error is the one that counts
        raise
    try:
        disk.sync_folder(folder)
    except OSError as error:
        # Never "no space": the segment is there, so it cannot be as if never asked.
        raise OSError(errno.EIO, f"sync of {folder} failed: {error.strerror}") from error
    return path, len(data), crc
