"""The door of msgpack: canonical bytes for rows and commands, plain bytes for frames.

Canonical (contracts.md, "Canonical encoding"): JSON values only, no NaN or infinity, integers of
64 bits, map keys are text in the order of their UTF-8 bytes, shortest integer form, float64. Equal
values have equal bytes, so fingerprints and archives can be compared byte by byte.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgpack

from . import limits

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1


class NotCanonical(ValueError):
    """A value that has no canonical form; the message names the place and the reason."""


def canonical(value: object, *, place: str = "value", depth: int = 0, binary: bool = True) -> Any:
    """A copy of `value` with map keys in canonical order; raises NotCanonical with the place, also
    for bytes unless `binary`."""
    kind = type(value)
    if kind is str:
        return _text(value, place)  # type: ignore[arg-type]
    if value is None or kind is bool:
        return value
    if kind is int:
        if not _INT_MIN <= value <= _INT_MAX:  # type: ignore[operator]
            raise NotCanonical(f"{place} is {value}, beyond 64 bits")
        return value
    if kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise NotCanonical(f"{place} is {value}, which JSON cannot hold: quote this")
        return value
    if kind is bytes:
        if not binary:
            raise NotCanonical(f"{place} is bytes, which JSON cannot hold: quote this")
        return value
    if depth >= limits.NESTING:
        raise NotCanonical(f"{place} is nested deeper than {limits.NESTING} levels")
    if isinstance(value, list | tuple):
        return [
            canonical(item, place=f"{place}[{i}]", depth=depth + 1, binary=binary)
            for i, item in enumerate(value)
        ]
    if isinstance(value, dict):
        return _canonical_map(value, place, depth, binary=binary)
    raise NotCanonical(f"{place} is a {kind.__name__}: quote this")


def _canonical_map(
    value: dict[Any, object], place: str, depth: int, *, binary: bool
) -> dict[str, Any]:
    """In code point order, which is the order of UTF-8 bytes."""
    for key in value:
        if type(key) is not str:
            raise NotCanonical(f"{place} has the key {key!r}, which is no text: quote this")
    result: dict[str, Any] = {}
    for key in sorted(value):
        item = value[key]
        if type(item) is not str or not item.isascii():  # most are: they need no place and no call
            item = canonical(item, place=f"{place}.{key}", depth=depth + 1, binary=binary)
        result[_text(key, place)] = item
    return result


def _text(text: str, place: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotCanonical(f"{place} is no valid unicode text") from error
    return text


def pack_canonical(value: object) -> bytes:
    """Canonical msgpack of a value from outside; raises NotCanonical."""
    return pack(canonical(value))


def pack(value: object) -> bytes:
    """Msgpack of a value that our own code built in canonical order."""
    return msgpack.packb(value, use_bin_type=True, strict_types=True)  # type: ignore[no-any-return]


def pack_frame(value: object) -> bytes:
    """Msgpack of a frame between members; tuples become lists on the way."""
    return msgpack.packb(value, use_bin_type=True)  # type: ignore[no-any-return]


def unpack(data: bytes | memoryview, *, max_bytes: int = limits.FRAME_BYTES) -> Any:
    """The value in `data`; ValueError for anything that is not exactly one whole value."""
    if len(data) > max_bytes:
        raise ValueError(f"{len(data)} bytes, more than {max_bytes}")
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise ValueError(f"not msgpack: {error}") from error


class RecordPacker:
    """Packs rows of archives: each record is the pair [key, row]."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer(use_bin_type=True, autoreset=False)

    def pack(self, records: Iterable[tuple[str, bytes]]) -> bytes:
        """The records, one behind the other."""
        pack = self._packer.pack
        for record in records:
            pack(record)
        packed: bytes = self._packer.bytes()
        self._packer.reset()
        return packed


class RecordUnpacker:
    """Unpacks what RecordPacker packed, from pieces of any size."""

    def __init__(self, *, max_key_bytes: int, max_row_bytes: int) -> None:
        self._unpacker = msgpack.Unpacker(
            raw=False,
            use_list=False,
            max_buffer_size=max_key_bytes + max_row_bytes + limits.FRAME_BYTES,
            max_str_len=max_key_bytes,
            max_bin_len=max_row_bytes,
            max_array_len=2,
            max_map_len=0,
            max_ext_len=0,
        )
        self._fed = 0

    def feed(self, piece: bytes) -> list[tuple[str, bytes]]:
        """The records that are whole with this piece; ValueError for anything else."""
        self._fed += len(piece)
        try:
            self._unpacker.feed(piece)
            records = list(self._unpacker)
        except (msgpack.UnpackException, ValueError, RecursionError) as error:
            raise ValueError(f"not msgpack: {error}") from error
        for record in records:
            if type(record) is not tuple or len(record) != 2:
                raise ValueError("a record is not the pair of key and row")
            if type(record[0]) is not str or type(record[1]) is not bytes:
                raise ValueError("a record is not a text and bytes")
        return records

    @property
    def rest(self) -> int:
        """How many bytes of a record that is not whole yet."""
        return self._fed - int(self._unpacker.tell())


def shard_of(key: str) -> int:
    """The shard of a key: the same on every node and in every release."""
    return zlib.crc32(key.encode()) % limits.SHARDS


def crc32(data: bytes | memoryview, start: int = 0) -> int:
    """CRC-32 of `data`, continued from `start`: detects damage, not intent."""
    return zlib.crc32(data, start)
