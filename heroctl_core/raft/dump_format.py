"""The bytes of a dump: a header, the request table, the rows; every frame with its CRC.

    dump  = b"heroctl dump\\n" 13 | frame | frame | ... | empty frame
    frame = length u32 | CRC-32 of the payload u32 | payload: msgpack
            first [header map], then [0, piece of the request table] and [1, kind, [key, row, ...]]

Streams in both directions. Knows no folder, no log, and no way to write a file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from .. import codec, limits
from ..errors import Damaged, UnsupportedVersion
from ..state.machine import DumpState, Row
from .port import Generation, Lineage

FORMAT: Final = 1
MAGIC: Final = b"heroctl dump\n"
FRAME_BYTES: Final = limits.MIB
_FRAME_BYTES_MAX: Final = limits.FRAME_BYTES
_BATCH_ROWS: Final = 500  # between two chances for other threads
_FRAME: Final = struct.Struct(">II")
_REQUESTS: Final = 0
_ROWS: Final = 1

Read = Callable[[int], bytes]  # exactly so many bytes, fewer at the end of the file
Pause = Callable[[], None]


@dataclass(frozen=True, slots=True)
class DumpHeader:
    """What a dump says of itself. `configuration` is the encoded one at `index`; counts and
    fingerprints (as numbers) are by kind."""

    lineage: Lineage
    index: int
    term: int
    configuration: bytes
    revision: int
    epoch: int
    time_ms: int
    counts: dict[str, int]
    fingerprints: dict[str, int]


def encode_dump(header: DumpHeader, state: DumpState, pause: Pause) -> Iterator[bytes]:
    """The pieces of the file, about FRAME_BYTES each; `pause` is called between short steps."""
    yield MAGIC
    yield _frame([_pack_header(header)])
    requests = state.request_bytes()
    for start in range(0, len(requests), FRAME_BYTES):
        yield _frame([_REQUESTS, requests[start : start + FRAME_BYTES]])
    for kind in state.view.kinds:
        yield from _row_frames(kind, state.view.items(kind), pause)
    yield _FRAME.pack(0, 0)


def _row_frames(kind: str, items: Iterator[tuple[str, bytes]], pause: Pause) -> Iterator[bytes]:
    flat: list[str | bytes] = []
    size = 0
    for count, (key, row) in enumerate(items, 1):
        flat += (key, row)
        size += len(key) + len(row) + 8
        if size >= FRAME_BYTES:
            yield _frame([_ROWS, kind, flat])
            flat, size = [], 0
        if count % _BATCH_ROWS == 0:
            pause()
    if flat:
        yield _frame([_ROWS, kind, flat])


def _frame(value: list[Any]) -> bytes:
    payload = codec.pack(value)
    return _FRAME.pack(len(payload), codec.crc32(payload)) + payload


def _pack_header(header: DumpHeader) -> dict[str, Any]:
    return {
        "configuration": header.configuration,
        "counts": header.counts,
        "epoch": header.epoch,
        "fingerprints": {k: f.to_bytes(32) for k, f in header.fingerprints.items()},
        "format": FORMAT,
        "index": header.index,
        "lineage": [[g.number, g.restore_id] for g in header.lineage],
        "revision": header.revision,
        "term": header.term,
        "time_ms": header.time_ms,
    }


class DumpReader:
    """One pass over a dump: the header, then the request table, then the rows.

    Raises Damaged with the name and the offset. Only when `rows` is exhausted the file's structure
    is known to be whole; whether the rows are the right ones, fingerprints tell.
    """

    def __init__(self, read: Read, name: str, pause: Pause) -> None:
        self._read = read
        self._name = name
        self._pause = pause
        self._offset = 0
        if self._take(len(MAGIC)) != MAGIC:
            raise Damaged(f"{name} is no dump")
        self.header = self._header()
        self._ahead: list[Any] | None = None

    def requests(self) -> bytes:
        """The request table, as DumpState.request_bytes() gave it."""
        pieces: list[bytes] = []
        while (value := self._next()) is not None and value[0] == _REQUESTS:
            pieces.append(value[1])
        self._ahead = value
        return b"".join(pieces)

    def rows(self) -> Iterator[Row]:
        """Every row; after `requests`."""
        value = self._ahead
        while value is not None:
            if value[0] != _ROWS or len(value) != 3 or not isinstance(value[2], list):
                raise self._damaged("a frame that must hold rows does not")
            _, kind, flat = value
            for at in range(0, len(flat) - 1, 2):
                yield kind, flat[at], flat[at + 1]
                if at % (2 * _BATCH_ROWS) == 0:
                    self._pause()
            value = self._next()
        if self._read(1):
            raise self._damaged("something follows the end")

    def _header(self) -> DumpHeader:
        value = self._next()
        if value is None:
            raise self._damaged("there is no header")
        head = value[0]
        if not isinstance(head, dict) or not isinstance(head.get("format"), int):
            raise self._damaged("the first frame is no header")
        if head["format"] > FORMAT:
            raise UnsupportedVersion(
                f"{self._name} has dump format {head['format']}, this release reads up to {FORMAT}",
                hint="start this node with the newer HeroCtl that wrote it",
            )
        try:
            return DumpHeader(
                lineage=tuple(Generation(int(n), str(r)) for n, r in head["lineage"]),
                index=int(head["index"]),
                term=int(head["term"]),
                configuration=bytes(head["configuration"]),
                revision=int(head["revision"]),
                epoch=int(head["epoch"]),
                time_ms=int(head["time_ms"]),
                counts=dict(head["counts"]),
                fingerprints={k: int.from_bytes(f) for k, f in head["fingerprints"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(f"the header is incomplete: {error!r}") from error

    def _next(self) -> list[Any] | None:
        """The next frame's value, None for the last."""
        length, crc = _FRAME.unpack(self._take(_FRAME.size))
        if length == 0 and crc == 0:
            return None
        if length > _FRAME_BYTES_MAX:
            raise self._damaged(f"a frame of {length} bytes")
        payload = self._take(length)
        if codec.crc32(payload) != crc:
            raise self._damaged("checksum mismatch")
        try:
            value = codec.unpack(payload)
        except ValueError as error:
            raise self._damaged(str(error)) from error
        if not isinstance(value, list) or not value:
            raise self._damaged("a frame that is no list")
        return value

    def _take(self, length: int) -> bytes:
        data = self._read(length)
        if len(data) != length:
            raise self._damaged(f"the file ends {length - len(data)} bytes too early")
        self._offset += length
        return data

    def _damaged(self, what: str) -> Damaged:
        return Damaged(f"{self._name} before byte {self._offset}: {what}")
