"""Chunked AES-256-GCM, as docs/archive-format.md, "Chunks", says. Knows nothing of files.

A stream is cut into chunks of 1 MiB of plain text. Each is sealed on its own, under a nonce that
names its section, its place and whether it is the last one: no chunk can be left out, repeated,
moved or taken from elsewhere without its tag failing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .. import limits
from ..errors import Damaged

CHUNK_BYTES: Final = limits.ARCHIVE_CHUNK_BYTES
TAG_BYTES: Final = 16
_NONCE: Final = struct.Struct(">I3xIB")
_COUNTER_MAX: Final = 2**32 - 1


def nonce(section: int, counter: int, *, last: bool) -> bytes:
    """12 bytes; OverflowError when there are more chunks than a counter can tell apart."""
    if counter > _COUNTER_MAX:
        raise OverflowError(f"section {section} has more than {_COUNTER_MAX + 1} chunks")
    return _NONCE.pack(section, counter, last)


class ChunkSealer:
    """Seals one section. Feed it, then finish it once; a key must never see a section twice."""

    def __init__(self, key: bytes, section: int, binding: bytes) -> None:
        self._cipher = AESGCM(key)
        self._section = section
        self._binding = binding
        self._counter = 0
        self._plain = bytearray()

    def feed(self, plain: bytes) -> bytes:
        """The chunks that are full and are not the last for certain."""
        self._plain += plain
        sealed = []
        start = 0
        # A full chunk waits for the next byte: only then it is known not to be the last.
        while len(self._plain) - start > CHUNK_BYTES:
            sealed.append(self._seal(bytes(self._plain[start : start + CHUNK_BYTES]), last=False))
            start += CHUNK_BYTES
        del self._plain[:start]
        return b"".join(sealed)

    def finish(self) -> bytes:
        """The last chunk; empty only when nothing was fed."""
        return self._seal(bytes(self._plain), last=True)

    def _seal(self, plain: bytes, *, last: bool) -> bytes:
        number = nonce(self._section, self._counter, last=last)
        self._counter += 1
        return self._cipher.encrypt(number, plain, self._binding)


def chunk_count(sealed_bytes: int) -> int:
    """How many chunks a section of that size has; ValueError for a size that none can have."""
    full, rest = divmod(sealed_bytes, CHUNK_BYTES + TAG_BYTES)
    if rest == 0 and full:
        return full
    if rest < TAG_BYTES or (rest == TAG_BYTES and full):
        raise ValueError(f"{sealed_bytes} bytes are no whole number of chunks")
    return full + 1


def open_chunks(
    key: bytes,
    section: int,
    binding: bytes,
    read: Callable[[int, int], bytes],
    sealed_bytes: int,
    place: str,
) -> Iterator[bytes]:
    """The plain text, chunk by chunk, each only after its tag was checked.

    `read(offset, length)` gives the sealed bytes. Damaged names `place` and the chunk.
    """
    cipher = AESGCM(key)
    try:
        count = chunk_count(sealed_bytes)
    except ValueError as error:
        raise Damaged(f"{place}: {error}") from error
    size = CHUNK_BYTES + TAG_BYTES
    for counter in range(count):
        sealed = read(counter * size, min(size, sealed_bytes - counter * size))
        try:
            number = nonce(section, counter, last=counter == count - 1)
            plain = cipher.decrypt(number, sealed, binding)
        except (InvalidTag, OverflowError) as error:
            raise Damaged(f"{place}: chunk {counter + 1} of {count}: tag mismatch") from error
        yield plain
