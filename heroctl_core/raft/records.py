"""The records inside the log's frames: kind u8 | length u32 | body, one behind the other. Pure.

Entries are packed by hand, because they are the hot path; everything else is rare and msgpack.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from .. import codec

ENTRY: Final = 1
TRUNCATE: Final = 2
TERM: Final = 3
COMMIT: Final = 4
COMPACT: Final = 5
INSTALL: Final = 6
BASE: Final = 7

_U64: Final = struct.Struct(">Q")
_TWO: Final = struct.Struct(">QQ")
_RECORD: Final = struct.Struct(">BI")
_ENTRY: Final = struct.Struct(">BIQQ")


@dataclass(frozen=True, slots=True)
class DumpRef:
    """Names one dump: the state after applying `index`, in the file `name` under dumps/."""

    index: int
    term: int
    sha256: str
    name: str


# A named tuple: one is built for every sync.
class Base(NamedTuple):
    """What a log is at one moment, without its entries: each segment begins with one, so that the
    segments before it may go."""

    anchor_index: int
    anchor_term: int
    last_index: int
    last_term: int
    term: int
    vote: str | None
    commit_index: int
    dump: DumpRef | None


def first_base(anchor_index: int, anchor_term: int, dump: DumpRef | None) -> Base:
    """A log without entries. With a dump the anchor is the dump's place."""
    index, term = (anchor_index, anchor_term) if dump is None else (dump.index, dump.term)
    return Base(index, term, index, term, term, None, index, dump)


def split(data: bytes, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """(kind, body) of each record in data[start:stop]; ValueError when they do not fill it."""
    at = start
    while at < stop:
        if at + _RECORD.size > stop:
            raise ValueError("a record is cut")
        kind, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > stop:
            raise ValueError("a record goes beyond its frame")
        yield kind, data[at : at + length]
        at += length


def entry_head(index: int, term: int, size_bytes: int) -> bytes:
    """What stands before an entry's own bytes in its record."""
    return _ENTRY.pack(ENTRY, size_bytes + _TWO.size, index, term)


def decode_entry(body: bytes) -> tuple[bytes, int, int]:
    """(data, index, term)."""
    if len(body) < _TWO.size:
        raise ValueError("an entry record is too short")
    index, term = _TWO.unpack_from(body)
    return body[_TWO.size :], index, term


def _record(kind: int, body: bytes) -> bytes:
    return _RECORD.pack(kind, len(body)) + body


def commit_record(index: int) -> bytes:
    return _record(COMMIT, _U64.pack(index))


def decode_commit(body: bytes) -> int:
    if len(body) != _U64.size:
        raise ValueError(f"a commit record of {len(body)} bytes")
    return int(_U64.unpack(body)[0])


def truncate_record(index: int, term_before: int) -> bytes:
    """Drops the entries from `index` on; `term_before` is the term of entry index - 1."""
    return _record(TRUNCATE, _TWO.pack(index, term_before))


def decode_truncate(body: bytes) -> tuple[int, int]:
    if len(body) != _TWO.size:
        raise ValueError(f"a truncate record of {len(body)} bytes")
    index, term_before = _TWO.unpack(body)
    return index, term_before


def term_record(term: int, vote: str | None) -> bytes:
    return _record(TERM, codec.pack([term, vote]))


def decode_term(body: bytes) -> tuple[int, str | None]:
    term, vote = codec.unpack(body)
    return int(term), None if vote is None else str(vote)


def compact_record(keep_from: int, term: int, dump: DumpRef) -> bytes:
    return _record(COMPACT, codec.pack([keep_from, term, _pack_dump(dump)]))


def decode_compact(body: bytes) -> tuple[int, int, DumpRef]:
    keep_from, term, dump = codec.unpack(body)
    return int(keep_from), int(term), _unpack_dump(dump)


def install_record(dump: DumpRef) -> bytes:
    return _record(INSTALL, codec.pack(_pack_dump(dump)))


def decode_install(body: bytes) -> DumpRef:
    return _unpack_dump(codec.unpack(body))


def base_record(base: Base) -> bytes:
    dump = None if base.dump is None else _pack_dump(base.dump)
    numbers = [base.anchor_index, base.anchor_term, base.last_index, base.last_term]
    return _record(BASE, codec.pack([*numbers, base.term, base.vote, base.commit_index, dump]))


def decode_base(body: bytes) -> Base:
    *numbers, term, vote, commit, dump = codec.unpack(body)
    anchor_index, anchor_term, last_index, last_term = (int(number) for number in numbers)
    return Base(
        anchor_index,
        anchor_term,
        last_index,
        last_term,
        int(term),
        None if vote is None else str(vote),
        int(commit),
        None if dump is None else _unpack_dump(dump),
    )


def _pack_dump(dump: DumpRef) -> list[object]:
    return [dump.index, dump.term, dump.sha256, dump.name]


def _unpack_dump(value: object) -> DumpRef:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError("not the name of a dump")
    index, term, sha256, name = value
    return DumpRef(int(index), int(term), str(sha256), str(name))
