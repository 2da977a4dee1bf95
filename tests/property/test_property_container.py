"""The outer layers: our own gzip and tar agree with those of the standard library."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heroctl_core.errors import ArchiveError, Damaged
from heroctl_core.snapshot.container import ContainerWriter, read_members, tar_header
from heroctl_core.snapshot.gzip_stored import BLOCK_BYTES, GzipReader, GzipWriter

SIZES = [1, 2, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 20 * BLOCK_BYTES + 7]


@contextmanager
def reader(data: bytes) -> Iterator[GzipReader]:
    """The content of a file with these bytes."""
    fd = os.memfd_create("archive")
    try:
        os.write(fd, data)
        yield GzipReader(fd, "here")
    finally:
        os.close(fd)


def packed(content: bytes, cuts: list[int] | None = None) -> bytes:
    """The gzip form of `content`, fed in pieces."""
    out: list[bytes] = []
    writer = GzipWriter(out.append)
    ends = [*sorted(cuts or []), len(content)]
    for start, end in zip([0, *ends], ends, strict=False):
        writer.feed(content[start:end])
    writer.finish()
    return b"".join(out)


def content_of(size: int) -> bytes:
    """Bytes that differ from place to place."""
    return (b"%07d," * (size // 8 + 1) % tuple(range(size // 8 + 1)))[:size]


@settings(max_examples=60, deadline=None)
@given(
    size=st.sampled_from(SIZES) | st.integers(1, 3 * BLOCK_BYTES),
    parts=st.lists(st.floats(0, 1), max_size=4),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
)
def test_gzip_of_any_size(size: int, parts: list[float], start: float, end: float) -> None:
    """Python's gzip reads what we write, the pieces do not matter, and any range can be read."""
    content = content_of(size)
    data = packed(content, [int(size * part) for part in parts])
    assert data == packed(content)
    assert gzip.decompress(data) == content
    first, last = sorted((int(size * start), int(size * end)))
    with reader(data) as file:
        assert (file.size, file.file_size) == (size, len(data))
        assert file.sha256 == sha256(data).hexdigest()
        assert file.read(0, size) == content
        assert file.read(first, last - first) == content[first:last]
        with pytest.raises(Damaged, match="content ends"):
            file.read(first, size - first + 1)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=4096))
def test_bytes_that_are_no_gzip(data: bytes) -> None:
    """Any bytes are refused by an ArchiveError, and never taken."""
    for junk in (data, packed(b"x")[:10] + data, packed(content_of(5000))[:-8] + data):
        with pytest.raises(ArchiveError), reader(junk):
            pytest.fail("was taken")


NAMES = ["manifest.json", "keys.json", "sections/01-keyring", "sections/09-ext-a", "SHA256SUMS"]


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(st.binary(max_size=1100), min_size=1, max_size=len(NAMES)),
    time_s=st.integers(0, 8**11 - 1),
)
def test_tar_of_any_members(contents: list[bytes], time_s: int) -> None:
    """Python's tarfile sees the members that we wrote, and so do we."""
    out: list[bytes] = []
    writer = ContainerWriter(out.append, time_s)
    for name, content in zip(NAMES, contents, strict=False):
        writer.member(name, len(content), [content[:100], content[100:]])
    writer.finish()
    data = b"".join(out)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        items = [(item, tar.extractfile(item)) for item in tar]
        assert [(item.name, file and file.read()) for item, file in items] == list(
            zip(NAMES, contents, strict=False)
        )
        assert all(item.isreg() and item.mode == 0o600 and item.uid == 0 for item, _ in items)
        assert {item.mtime for item, _ in items} == {time_s}
    with reader(data) as file:
        members = list(read_members(file, "here"))
        assert [file.read(member.offset, member.size) for member in members] == contents
        assert [member.sha256 for member in members] == [sha256(c).digest() for c in contents]


@pytest.mark.parametrize(("size", "time_s"), [(8**11, 0), (-1, 0), (0, 8**11), (0, -1)])
def test_what_ustar_cannot_say(size: int, time_s: int) -> None:
    """Beyond 11 octal digits nothing is written."""
    with pytest.raises(ValueError, match="does not fit into ustar"):
        tar_header("SEAL", size, time_s)


def test_a_member_is_as_long_as_announced() -> None:
    """The header is written first, so a wrong size is an error of ours."""
    with pytest.raises(ValueError, match="2 bytes, announced were 3"):
        ContainerWriter(lambda _: None, 0).member("SEAL", 3, [b"ab"])
