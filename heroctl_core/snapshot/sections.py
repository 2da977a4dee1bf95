"""A section's inside: records as msgpack, compressed into one zstd frame. The door of zstandard.

The frame's blocks are walked by us and inflated one by one: each gives at most 128 KiB, so a
small file cannot ask for much memory, and the end of the frame is known to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

import zstandard

from .. import limits
from ..codec import RecordPacker, RecordUnpacker, shard_of
from ..errors import Damaged

Record = tuple[str, bytes]
Pause = Callable[[], None]

_BATCH: Final = 32  # records packed in one go: 6 MiB of the longest rows, little of the usual ones
# A millisecond or two: short for a waiting thread, which else waits 5; rarely enough not to slow
# the save down.
_PAUSE_RECORDS: Final = 32 * _BATCH
_FEED_BYTES: Final = limits.MIB
_FRAME_HEAD_MAX: Final = 18
_BLOCK_HEAD_BYTES: Final = 3
_BLOCK_BYTES: Final = 128 * limits.KIB
_RAW, _RLE, _COMPRESSED = range(3)


def no_pause() -> None:
    """Nothing: nobody waits for this thread."""


class RecordEncoder:
    """Packs and compresses the records of one section; counts them."""

    def __init__(self, level: int) -> None:
        compressor = zstandard.ZstdCompressor(
            level=level, write_checksum=False, write_content_size=False, write_dict_id=False
        )
        self._frame = compressor.compressobj()
        self._packer = RecordPacker()
        self.count = 0

    def encode(self, records: Iterable[Record], pause: Pause = no_pause) -> Iterator[bytes]:
        """The frame piece by piece; holds about 1 MiB of plain bytes at a time. `pause` is called
        between short steps."""
        waiting: list[bytes] = []
        size = 0
        source = iter(records)
        while batch := list(islice(source, _BATCH)):
            packed = self._packer.pack(batch)
            self.count += len(batch)
            waiting.append(packed)
            size += len(packed)
            if self.count % _PAUSE_RECORDS == 0:
                pause()
            if size >= _FEED_BYTES:
                yield self._frame.compress(b"".join(waiting))
                waiting, size = [], 0
        yield self._frame.compress(b"".join(waiting))
        yield self._frame.flush()


def decode_records(pieces: Iterable[bytes], count: int, place: str) -> Iterator[list[Record]]:
    """The records in batches, exactly `count` of them, in the order of shard and key.

    Damaged for everything that RecordEncoder does not write.
    """
    unpacker = RecordUnpacker(
        max_key_bytes=limits.ARCHIVE_KEY_BYTES, max_row_bytes=limits.ARCHIVE_ROW_BYTES
    )
    found = 0
    before = (-1, "")
    for plain in _inflate(pieces, place):
        try:
            batch = unpacker.feed(plain)
        except ValueError as error:
            raise _damaged(place, f"record {found + 1}: {error}") from error
        for key, _ in batch:
            now = (shard_of(key), key)
            if now <= before:
                raise _damaged(place, f"record {found + 1}: not in the order of shard and key")
            before = now
        found += len(batch)
        if found > count:
            raise _damaged(place, f"more than the {count} records of the manifest")
        if batch:
            yield batch
    if unpacker.rest or found != count:
        raise _damaged(place, f"{found} records, the manifest says {count}")


def _inflate(pieces: Iterable[bytes], place: str) -> Iterator[bytes]:
    """The plain bytes, block by block. One frame, no dictionary, a window of at most 8 MiB."""
    source = _Source(pieces)
    head = source.peek(_FRAME_HEAD_MAX)
    frame = zstandard.ZstdDecompressor(max_window_size=limits.ARCHIVE_WINDOW_BYTES).decompressobj()
    try:
        _check_head(head)
        frame.decompress(source.take(zstandard.frame_header_size(head)))
        is_last = False
        while not is_last:
            block, is_last = _next_block(source)
            yield frame.decompress(block)
    except (zstandard.ZstdError, ValueError) as error:
        raise _damaged(place, f"zstd: {error}") from error
    if not frame.eof or source.peek(1):
        raise _damaged(place, "zstd: bytes behind the frame")


def _check_head(head: bytes) -> None:
    parameters = zstandard.get_frame_parameters(head)
    if head[4:5] != b"\x00" or parameters.window_size > limits.ARCHIVE_WINDOW_BYTES:
        # The byte says: no content size, no single segment, no checksum, no dictionary.
        raise ValueError("not the kind of frame that heroctl writes")


def _next_block(source: _Source) -> tuple[bytes, bool]:
    """A block with its head, and whether it is the last one (RFC 8878, 3.1.1.2)."""
    head = source.take(_BLOCK_HEAD_BYTES)
    number = int.from_bytes(head, "little")
    is_last, kind, size = number & 1, number >> 1 & 3, number >> 3
    if kind not in (_RAW, _RLE, _COMPRESSED) or size > _BLOCK_BYTES:
        raise ValueError("no valid block")
    return head + source.take(1 if kind == _RLE else size), bool(is_last)


class _Source:
    """Pieces as one stream of which any number of bytes can be taken."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._bytes = b""
        self._at = 0

    def peek(self, length: int) -> bytes:
        """The next bytes, fewer at the end; they stay."""
        while len(self._bytes) - self._at < length:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._bytes = self._bytes[self._at :] + piece
            self._at = 0
        return self._bytes[self._at : self._at + length]

    def take(self, length: int) -> bytes:
        """The next bytes; ValueError when there are fewer."""
        data = self.peek(length)
        if len(data) < length:
            raise ValueError("ends too early")
        self._at += length
        return data


def _damaged(place: str, what: str) -> Damaged:
    return Damaged(f"{place}: {what}")
