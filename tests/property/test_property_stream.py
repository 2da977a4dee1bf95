"""Chunks: whatever is fed in whatever pieces opens again, and no other arrangement does."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from heroctl_core.crypto.stream import CHUNK_BYTES, TAG_BYTES, ChunkSealer, chunk_count, nonce
from heroctl_core.crypto.stream import open_chunks as open_stream
from heroctl_core.errors import Damaged

KEY, BINDING = bytes(range(32)), bytes(32)
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES
EDGES = sorted({max(0, full * CHUNK_BYTES + near) for full in (0, 1, 2) for near in (-1, 0, 1)})


def seal(plain: bytes, cuts: list[int] | None = None, *, section: int = 1) -> bytes:
    """The chunks of `plain`, fed in pieces that end at `cuts`."""
    sealer = ChunkSealer(KEY, section, BINDING)
    ends = [*sorted(cuts or []), len(plain)]
    out = b"".join(
        sealer.feed(plain[start:end]) for start, end in zip([0, *ends], ends, strict=False)
    )
    return out + sealer.finish()


def opened(sealed: bytes, *, section: int = 1, key: bytes = KEY, binding: bytes = BINDING) -> bytes:
    """The plain text."""

    def read(offset: int, length: int) -> bytes:
        return sealed[offset : offset + length]

    return b"".join(open_stream(key, section, binding, read, len(sealed), "here"))


def plain_of(size: int) -> bytes:
    """Bytes that differ from place to place."""
    return (b"%07d," * (size // 8 + 1) % tuple(range(size // 8 + 1)))[:size]


@settings(max_examples=30, deadline=None)
@given(
    size=st.sampled_from(EDGES) | st.integers(0, 3 * CHUNK_BYTES),
    parts=st.lists(st.floats(0, 1), max_size=5),
)
def test_what_is_sealed_opens(size: int, parts: list[float]) -> None:
    """For any size, and the pieces in which it was fed make no difference to the bytes."""
    plain = plain_of(size)
    sealed = seal(plain, [int(size * part) for part in parts])
    assert sealed == seal(plain)
    assert opened(sealed) == plain


@pytest.mark.parametrize("size", EDGES)
def test_the_number_of_chunks(size: int) -> None:
    """Full ones and a rest; an empty one only for an empty stream."""
    sealed = seal(bytes(size))
    chunks = max(1, -(-size // CHUNK_BYTES))
    assert len(sealed) == size + chunks * TAG_BYTES
    assert chunk_count(len(sealed)) == chunks


@pytest.mark.parametrize("size", [0, 1, 15, SEALED_CHUNK + 1, SEALED_CHUNK + 15, SEALED_CHUNK + 16])
def test_sizes_that_no_stream_has(size: int) -> None:
    """Less than a tag, or an empty chunk behind a full one."""
    with pytest.raises(ValueError, match="no whole number of chunks"):
        chunk_count(size)
    with pytest.raises(Damaged, match="here"):
        opened(bytes(size))


def test_an_empty_chunk_behind_a_full_one_is_refused() -> None:
    """Also when its tag is right: there is one form only."""
    full = seal(bytes(CHUNK_BYTES + 1))[:SEALED_CHUNK]
    empty = AESGCM(KEY).encrypt(nonce(1, 1, last=True), b"", BINDING)
    with pytest.raises(Damaged):
        opened(full + empty)


SEALED = seal(plain_of(2 * CHUNK_BYTES + 100))
CHUNKS = [
    SEALED[:SEALED_CHUNK],
    SEALED[SEALED_CHUNK : 2 * SEALED_CHUNK],
    SEALED[2 * SEALED_CHUNK :],
]


@pytest.mark.parametrize(
    ("order", "chunk"),
    [([0, 1], 2), ([1, 2], 1), ([0], 1), ([1, 0, 2], 1), ([0, 0, 2], 2), ([0, 1, 1], 3)],
)
def test_chunks_cannot_be_left_out_repeated_or_moved(order: list[int], chunk: int) -> None:
    """The error names the first chunk that is not in its place, and only those before are given."""
    sealed = b"".join(CHUNKS[i] for i in order)
    given_out = []

    def read(offset: int, length: int) -> bytes:
        return sealed[offset : offset + length]

    with pytest.raises(Damaged, match=rf"here: chunk {chunk} of {len(order)}: tag mismatch"):
        given_out += open_stream(KEY, 1, BINDING, read, len(sealed), "here")
    assert opened(SEALED).startswith(b"".join(given_out))


@pytest.mark.parametrize("cut", [1, 99, 100, 115])
def test_a_last_chunk_that_was_cut(cut: int) -> None:
    """Damage, at any length."""
    with pytest.raises(Damaged):
        opened(SEALED[:-cut])


@pytest.mark.parametrize(
    "other", [{"section": 2}, {"key": bytes(32)}, {"binding": b"\1" + bytes(31)}]
)
def test_chunks_belong_to_key_section_and_manifest(other: dict[str, object]) -> None:
    """They open nowhere else."""
    with pytest.raises(Damaged, match="chunk 1 of 3"):
        opened(SEALED, **other)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, len(SEALED) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit(at: int, bit: int) -> None:
    """The error names its chunk."""
    changed = bytearray(SEALED)
    changed[at] ^= 1 << bit
    with pytest.raises(Damaged, match=rf"chunk {at // SEALED_CHUNK + 1} of 3"):
        opened(bytes(changed))


def test_the_nonce() -> None:
    """The bytes of the format document, and no counter beyond 32 bits."""
    assert nonce(2, 3, last=True).hex() == "00000002" + "000000" + "00000003" + "01"
    assert (
        nonce(2**32 - 1, 2**32 - 1, last=False).hex() == "ffffffff" + "000000" + "ffffffff" + "00"
    )
    with pytest.raises(OverflowError, match="section 1"):
        nonce(1, 2**32, last=False)
