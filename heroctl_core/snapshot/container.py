"""The tar of an archive: plain ustar (POSIX.1-1988) in one single form, written and read.

Every header is what `tar_header` makes of name, size and time; a reader makes it again and
compares all 512 bytes. So links, long names, PAX, sparse files, other modes or owners cannot
exist, and no rule about them has to be kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ..errors import Damaged, NotAnArchive, Truncated
from .gzip_stored import GzipReader, GzipWriter

BLOCK: Final = 512
PIECE_BYTES: Final = 1024 * 1024
SUMS: Final = "SHA256SUMS"
SIZE_MAX: Final = 8**11 - 1  # 11 octal digits, also for the time
_END: Final = bytes(2 * BLOCK)
_MAGIC: Final = b"ustar\x0000"
_MEMBERS_MAX: Final = 99 + 4  # sections of two digits; manifest, keys, sums, seal
_NAME: Final = re.compile(
    r"manifest\.json|keys\.json|SHA256SUMS|SEAL|sections/\d\d-[a-z0-9-]{1,67}"
)


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the tar: where its content is, and its sha256 (32 bytes).

    `pieces` has the sha256 of each MiB, so that a part can be trusted when it is read again.
    """

    name: str
    offset: int
    size: int
    time_s: int
    sha256: bytes
    pieces: tuple[bytes, ...]

    @property
    def end(self) -> int:
        """Where the next header begins."""
        return self.offset + self.size + -self.size % BLOCK


def tar_header(name: str, size: int, time_s: int) -> bytes:
    """512 bytes: a regular file of mode 0600 and owner 0; ValueError beyond 8 GiB or year 2242."""
    if not (0 <= size <= SIZE_MAX and 0 <= time_s <= SIZE_MAX):
        raise ValueError(f"{name}: size {size} or time {time_s} does not fit into ustar")
    head = name.encode("ascii").ljust(100, b"\0") + b"0000600\0" + 2 * b"0000000\0"
    head += b"%011o\0%011o\0" % (size, time_s)
    tail = (b"0" + bytes(100) + _MAGIC).ljust(BLOCK - 156, b"\0")
    return head + b"%06o\0 " % (sum(head) + sum(tail) + 8 * ord(" ")) + tail


class ContainerWriter:
    """Writes members in the given order, then SHA256SUMS of all of them."""

    def __init__(self, write: Callable[[bytes], object], time_s: int) -> None:
        self._gzip = GzipWriter(write)
        self._time_s = time_s
        self._sums: list[tuple[str, bytes]] = []

    def member(self, name: str, size: int, pieces: Iterable[bytes]) -> None:
        """One member of exactly `size` bytes."""
        self._gzip.feed(tar_header(name, size, self._time_s))
        digest = hashlib.sha256()
        written = 0
        for piece in pieces:
            digest.update(piece)
            self._gzip.feed(piece)
            written += len(piece)
        if written != size:
            raise ValueError(f"{name}: {written} bytes, announced were {size}")
        self._gzip.feed(bytes(-size % BLOCK))
        self._sums.append((name, digest.digest()))

    def sums(self) -> bytes:
        """Writes SHA256SUMS and gives back its bytes."""
        text = sums_text(self._sums)
        self.member(SUMS, len(text), [text])
        return text

    def finish(self) -> None:
        """The end of the tar and of the gzip member."""
        self._gzip.feed(_END)
        self._gzip.finish()


def sums_text(sums: Iterable[tuple[str, bytes]]) -> bytes:
    """SHA256SUMS as `sha256sum -c` reads it."""
    return "".join(f"{digest.hex()}  {name}\n" for name, digest in sums).encode()


def read_members(gzip: GzipReader, place: str) -> Iterator[Member]:
    """The members, each hashed; the whole tar is strict to its end.

    The first one comes before the second is looked at: it says what the others may be.
    """
    time_s = None
    offset = count = 0
    while any(header := _header_at(gzip, offset, place)):
        count += 1
        where = f"{place}: member {count}"
        member = _read_member(gzip, offset, header, where, is_first=count == 1)
        if time_s not in (None, member.time_s):
            raise Damaged(f"{where} ({member.name}): not the time of the others")
        if count > _MEMBERS_MAX:
            raise Damaged(f"{where}: too many members")
        time_s = member.time_s
        yield member
        offset = member.end
    if not count:
        raise NotAnArchive(f"{place} is no heroctl snapshot: empty tar")
    if gzip.size - offset != len(_END) or any(gzip.read(offset, len(_END))):
        raise Damaged(f"{place}: tar does not end with two zero blocks")


def _header_at(gzip: GzipReader, offset: int, place: str) -> bytes:
    if gzip.size - offset < BLOCK:
        raise Truncated(f"{place}: tar has no end")
    return gzip.read(offset, BLOCK)


def _parse_header(header: bytes, where: str, *, is_first: bool) -> tuple[str, int, int]:
    """Name, size and time, from a header that is the only possible one for them."""
    if is_first and header[257:262] != b"ustar":
        raise NotAnArchive(f"{where}: no ustar header")
    try:
        name = header[:100].rstrip(b"\0").decode("ascii")
        size, time = int(header[124:135], 8), int(header[136:147], 8)
        is_exact = header == tar_header(name, size, time)
    except ValueError:
        is_exact = False
    if not is_exact:
        if is_first and _is_foreign(header):
            raise NotAnArchive(f"{where}: not of heroctl")
        raise Damaged(f"{where}: header is not plain ustar as heroctl writes it")
    if is_first and name != "manifest.json":
        raise NotAnArchive(f"{where} is {name!r}, not manifest.json")
    if _NAME.fullmatch(name) is None:
        raise Damaged(f"{where}: unknown name {name!r}")
    return name, size, time


def _is_foreign(header: bytes) -> bool:
    """Whether a first header is whole but of another program: its own checksum is right."""
    blank = header[:148] + b" " * 8 + header[156:]
    return header[148:154] == b"%06o" % sum(blank)


def _read_member(gzip: GzipReader, at: int, header: bytes, where: str, *, is_first: bool) -> Member:
    name, size, time_s = _parse_header(header, where, is_first=is_first)
    offset = at + BLOCK
    padding = -size % BLOCK
    if offset + size + padding > gzip.size:
        raise Truncated(f"{where} ({name}): ends too early")
    digest = hashlib.sha256()
    pieces = []
    for start in range(0, size, PIECE_BYTES):
        piece = gzip.read(offset + start, min(PIECE_BYTES, size - start))
        digest.update(piece)
        pieces.append(hashlib.sha256(piece).digest())
    if any(gzip.read(offset + size, padding)):
        raise Damaged(f"{where} ({name}): padding is not zero")
    return Member(name, offset, size, time_s, digest.digest(), tuple(pieces))
