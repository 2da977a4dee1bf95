"""The bytes of the log's frames. Pure; knows no file, no record and no rule of Raft.

    frame = magic 4 | payload length u32 | number u64 | CRC of the frame before u32 | head CRC u32
            | payload | frame CRC u32

All integers are big endian. The head CRC starts from the log's salt, so bytes that a user put into
an entry cannot look like a frame; the frame CRC continues the head CRC over the payload.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from .. import codec

MAGIC: Final = b"\xf1HCf"
_HEAD: Final = struct.Struct(">4sIQI")
_U32: Final = struct.Struct(">I")
_HEAD_BYTES: Final = _HEAD.size + _U32.size


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame: its payload is data[start:stop], the next frame begins at `end`."""

    number: int
    previous: int
    crc: int
    start: int
    stop: int
    end: int


def encode_frame(number: int, previous: int, records: list[bytes], salt: int) -> tuple[bytes, int]:
    """The frame's bytes and its CRC. `records` may be in pieces."""
    payload = b"".join(records)
    head = _HEAD.pack(MAGIC, len(payload), number, previous)
    head_crc = codec.crc32(head, salt)
    crc = codec.crc32(payload, head_crc)
    return b"".join((head, _U32.pack(head_crc), payload, _U32.pack(crc))), crc


def _read_head(data: bytes, offset: int, salt: int) -> tuple[int, int, int, int] | None:
    """(payload length, number, previous, head CRC), or None where no frame begins."""
    if offset + _HEAD_BYTES > len(data):
        return None
    magic, length, number, previous = _HEAD.unpack_from(data, offset)
    (head_crc,) = _U32.unpack_from(data, offset + _HEAD.size)
    if magic != MAGIC or codec.crc32(data[offset : offset + _HEAD.size], salt) != head_crc:
        return None
    return length, number, previous, head_crc


def read_frame(data: bytes, offset: int, salt: int) -> Frame | None:
    """The frame at `offset`, or None when there is no whole one."""
    head = _read_head(data, offset, salt)
    if head is None:
        return None
    length, number, previous, head_crc = head
    start = offset + _HEAD_BYTES
    stop = start + length
    if stop + _U32.size > len(data):
        return None
    crc = codec.crc32(memoryview(data)[start:stop], head_crc)
    if _U32.unpack_from(data, stop)[0] != crc:
        return None
    return Frame(number, previous, crc, start, stop, stop + _U32.size)


def find_successor(data: bytes, offset: int, number: int, salt: int) -> int | None:
    """Where a frame with a number above `number` begins at or behind `offset`, or None.

    A head is proof enough: it is written only after frame `number` was durable.
    """
    at = data.find(MAGIC, offset)
    while at >= 0:
        head = _read_head(data, at, salt)
        if head is not None and head[1] > number:
            return at
        at = data.find(MAGIC, at + 1)
    return None
