"""The outer layer of an archive: one gzip member (RFC 1952) of stored blocks (RFC 1951, 3.2.4).

Every block but the last holds exactly 65 535 bytes, so the place of each byte is known and the
layer can be read at any offset; nothing is ever inflated, so there is nothing to blow up.
Our own few lines instead of zlib: its block sizes differ between releases.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from ..errors import Damaged, NotAnArchive, Truncated

HEADER: Final = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255))  # deflate, no options, no time
BLOCK_BYTES: Final = 65_535
_BLOCK_HEAD: Final = struct.Struct("<BHH")
_TRAILER: Final = struct.Struct("<II")
_STEP: Final = BLOCK_BYTES + _BLOCK_HEAD.size
_BLOCKS_AT_ONCE: Final = 16


class GzipWriter:
    """Hands the gzip form of what it is fed to `write`."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._waiting = bytearray()
        self._crc = 0
        self._size = 0
        write(HEADER)

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._waiting += data
        start = 0
        # The last block is marked, so a full one waits until more is there.
        while len(self._waiting) - start > BLOCK_BYTES:
            self._block(bytes(self._waiting[start : start + BLOCK_BYTES]), last=False)
            start += BLOCK_BYTES
        del self._waiting[:start]

    def finish(self) -> None:
        """Writes the last block and the trailer."""
        self._block(bytes(self._waiting), last=True)
        self._write(_TRAILER.pack(self._crc, self._size & 0xFFFFFFFF))

    def _block(self, data: bytes, *, last: bool) -> None:
        self._write(_BLOCK_HEAD.pack(last, len(data), len(data) ^ 0xFFFF) + data)


class GzipReader:
    """The content of an open file, after every byte of the layer was checked.

    `size` is that of the content, `sha256` that of the whole file in hex. Reads by offset, from
    one descriptor that it does not close and whose position it does not move.
    """

    def __init__(self, fd: int, place: str) -> None:
        self._fd = fd
        self._place = place
        self.file_size = os.fstat(fd).st_size
        self.size = 0
        self.sha256 = ""
        self._check()

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes of the content; Damaged when the file has become shorter."""
        if offset + length > self.size:
            raise Damaged(f"{self._place}: content ends at {self.size}")
        pieces: list[bytes] = []
        while length:
            block, skip = divmod(offset, BLOCK_BYTES)
            count = min(length, BLOCK_BYTES * _BLOCKS_AT_ONCE, self.size - offset)
            spanned = (skip + count - 1) // BLOCK_BYTES
            raw = self._pread(_at(block, skip), count + spanned * _BLOCK_HEAD.size)
            pieces += _without_heads(raw, BLOCK_BYTES - skip)
            offset, length = offset + count, length - count
        return b"".join(pieces)

    def _pread(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        if len(data) != length:
            raise Damaged(f"{self._place}: changed while it was read")
        return data

    def _check(self) -> None:
        digest = hashlib.sha256()
        crc = 0
        for raw, block in self._blocks():
            digest.update(raw)
            crc = zlib.crc32(block, crc)
            self.size += len(block)
        trailer = os.pread(self._fd, _TRAILER.size + 1, self.file_size - _TRAILER.size)
        digest.update(trailer)
        if trailer != _TRAILER.pack(crc, self.size & 0xFFFFFFFF):
            raise Damaged(f"{self._place}: checksum of gzip mismatch")
        self.sha256 = digest.hexdigest()

    def _blocks(self) -> Iterator[tuple[bytes, memoryview]]:
        """Each stretch of the file up to the trailer, with the content that is in it."""
        head = os.pread(self._fd, len(HEADER), 0)
        if head != HEADER[: len(head)]:
            raise NotAnArchive(f"{self._place} is no heroctl snapshot")
        if len(head) < len(HEADER):
            raise self._truncated(len(head))
        yield head, memoryview(b"")
        offset = len(HEADER)
        last = False
        while not last:
            raw = os.pread(self._fd, _STEP, offset)
            length, last = self._block_head(raw, offset)
            stretch = raw[: _BLOCK_HEAD.size + length]
            yield stretch, memoryview(stretch)[_BLOCK_HEAD.size :]
            offset += len(stretch)
        if self.file_size - offset < _TRAILER.size:
            raise self._truncated(self.file_size)
        if self.file_size - offset > _TRAILER.size:
            extra = self.file_size - offset - _TRAILER.size
            raise Damaged(f"{self._place}: {extra} bytes behind the end of the archive")

    def _block_head(self, raw: bytes, offset: int) -> tuple[int, bool]:
        """The length of the block that `raw` begins with, and whether it is the last."""
        if len(raw) < _BLOCK_HEAD.size:
            raise self._truncated(self.file_size)
        kind, length, complement = _BLOCK_HEAD.unpack_from(raw)
        is_last = kind == 1
        fits = length == BLOCK_BYTES or (is_last and length)
        if kind > 1 or complement != length ^ 0xFFFF or not fits:
            if offset == len(HEADER) and kind > 1:
                raise NotAnArchive(f"{self._place} is no heroctl snapshot")
            raise Damaged(f"{self._place}: no stored block of gzip at byte {offset}")
        if len(raw) < _BLOCK_HEAD.size + length:
            raise self._truncated(self.file_size)
        return length, is_last

    def _truncated(self, at: int) -> Truncated:
        return Truncated(f"{self._place} ends too early, after {at} bytes")


def _at(block: int, skip: int) -> int:
    return len(HEADER) + block * _STEP + _BLOCK_HEAD.size + skip


def _without_heads(raw: bytes, first: int) -> Iterator[bytes]:
    """The content in a stretch whose first block goes on for `first` bytes."""
    yield raw[:first]
    start = first + _BLOCK_HEAD.size
    while start < len(raw):
        yield raw[start : start + BLOCK_BYTES]
        start += _STEP
