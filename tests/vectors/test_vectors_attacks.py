"""Attacks on every byte: whatever is changed, cut or exchanged, an ArchiveError says so.

Each layer is attacked behind layers that were made right again, as far as an attacker could.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from vector_parts import (
    FILE_KEY,
    KEY,
    Members,
    archive,
    frame_of,
    gzipped,
    member,
    members_of,
    signed,
    tarred,
    with_section,
)

from heroctl_core.errors import ArchiveError, Damaged, NotAnArchive, Truncated, UnsupportedVersion
from heroctl_core.snapshot.archive import open_archive

GOOD = archive()
MEMBERS = members_of(GOOD)
TAR = tarred(MEMBERS)


@contextmanager
def file_of(data: bytes) -> Iterator[int]:
    """A descriptor of a file with this content."""
    fd = os.memfd_create("archive")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


def refusal(data: bytes, *, unencrypted: bool = False) -> type[ArchiveError] | None:
    """The class of the error that reading ends with; None when everything was given out."""
    given = 0
    with file_of(data) as fd:
        try:
            with open_archive(fd, [KEY], allow_unencrypted=unencrypted) as opened:
                for entry in opened.manifest.sections:
                    given += sum(1 for _ in opened.records(entry.name))
        except ArchiveError as error:
            assert not given, f"{given} records came out before: {error}"
            return type(error)
    return None


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every byte with one other bit, each of the eight in turn."""
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        yield at, bytes(changed)


def resigned(members: Members) -> bytes:
    """What an attacker without a key can do: right sums, the old seal."""
    return gzipped(tarred({**members_of(signed(members)), "SEAL": MEMBERS["SEAL"]}))


def test_the_attacks_can_fail() -> None:
    """The archive under attack is good, also after each way of making it right again."""
    for data in (GOOD, gzipped(TAR), signed(MEMBERS), resigned(MEMBERS)):
        assert refusal(data) is None


def test_every_flipped_bit_of_the_file() -> None:
    """A flip in the first ten bytes or the kind of the first block makes it no archive; one in
    the head of the block may look like an early end; all others are damage."""
    for at, data in flips(GOOD):
        allowed = {NotAnArchive} if at < 10 else {Damaged}
        if 10 <= at < 15:
            allowed |= {NotAnArchive, Truncated}
        assert refusal(data) in allowed, at


def test_every_cut_of_the_file() -> None:
    """A file that ends early is truncated wherever it ends."""
    cuts = {len(GOOD) * part // 64 for part in range(64)} | set(range(40))
    cuts |= {len(GOOD) - left for left in range(1, 20)}
    cuts |= {15 + at + near for at in range(0, len(TAR), 512) for near in (-1, 0, 1)}
    for cut in cuts:
        if cut < len(GOOD):
            assert refusal(GOOD[:cut]) is Truncated, cut


def test_every_flipped_bit_below_gzip() -> None:
    """With a right CRC of gzip the same is found by headers, padding, sums and seal. A flip in
    the manifest may make another version of it."""
    manifest_end = 512 + len(MEMBERS["manifest.json"])
    for at, data in flips(TAR):
        allowed = {Damaged, Truncated} | ({NotAnArchive} if at < 512 else set())
        if 512 <= at < manifest_end:
            allowed |= {UnsupportedVersion}
        assert refusal(gzipped(data)) in allowed, at


def test_every_cut_below_gzip() -> None:
    """A tar without its end is refused, also where the end of gzip is right."""
    for cut in range(1, len(TAR), 256):
        assert refusal(gzipped(TAR[:cut])) in {Damaged, Truncated, NotAnArchive}, cut


@pytest.mark.parametrize("name", [name for name in MEMBERS if name not in ("SHA256SUMS", "SEAL")])
def test_every_flipped_bit_below_the_sums(name: str) -> None:
    """With right sums but without the key, nothing can be changed: the seal does not fit. A flip
    may also make another format, another key id or another algorithm of it."""
    for at, data in flips(MEMBERS[name]):
        found = refusal(resigned({**MEMBERS, name: data}))
        assert found is not None, at
        assert found is Damaged or name in ("manifest.json", "keys.json"), at


@pytest.mark.parametrize("name", [name for name in MEMBERS if name.startswith("sections/")])
def test_every_flipped_bit_below_the_seal(name: str) -> None:
    """Also with a right seal no chunk can be changed: its tag does not fit."""
    for at, data in flips(MEMBERS[name]):
        assert refusal(signed({**MEMBERS, name: data})) is Damaged, at


@pytest.mark.parametrize("section", ["keyring", "jobs", "digests"])
def test_every_flipped_bit_below_the_encryption(section: str) -> None:
    """Whatever zstd and msgpack make of changed bytes, it is damage and never another error."""
    path = next(name for name in MEMBERS if name.endswith(section))
    for at, data in flips(frame_of(GOOD, path)):
        for encrypted in (True, False):
            changed = with_section(section, data, encrypted=encrypted)
            assert refusal(changed, unencrypted=not encrypted) is Damaged, at


def test_sections_of_two_archives_do_not_mix() -> None:
    """A section, keys.json or the manifest of another archive of the same key does not fit, even
    when sums and seal are made right again."""
    other = members_of(archive(file_key=bytes(32)))
    for name in MEMBERS:
        if name not in ("SHA256SUMS", "SEAL") and other[name] != MEMBERS[name]:
            assert refusal(signed({**MEMBERS, name: other[name]})) is Damaged, name
            assert refusal(resigned({**MEMBERS, name: other[name]})) is Damaged, name


def test_any_two_sections_exchanged() -> None:
    """A chunk opens only at its own number."""
    paths = [name for name in MEMBERS if name.startswith("sections/")]
    for one in paths:
        for two in paths:
            if one < two:
                changed = {**MEMBERS, one: MEMBERS[two], two: MEMBERS[one]}
                assert refusal(signed(changed)) is Damaged


def test_members_left_out_or_twice() -> None:
    """Each member is needed, once, and SHA256SUMS cannot be made for fewer."""
    for name in MEMBERS:
        fewer = {key: data for key, data in MEMBERS.items() if key != name}
        assert refusal(gzipped(tarred(fewer))) in {Damaged, NotAnArchive}, name
        parts = [member(key, data) * (2 if key == name else 1) for key, data in MEMBERS.items()]
        assert refusal(gzipped(b"".join(parts) + bytes(1024))) is Damaged, name


def test_bytes_behind_the_end() -> None:
    """Nothing may follow: no byte, no zeros as on a tape, no second archive."""
    for extra in (b"\0", b"\n", bytes(512), bytes(10240), GOOD, gzipped(b"x")):
        assert refusal(GOOD + extra) is Damaged
        assert refusal(gzipped(TAR + extra)) is Damaged


def test_the_file_key_is_not_in_the_file() -> None:
    """Neither the file key nor a secret nor a name of a row is in the bytes."""
    for private in (FILE_KEY, b"db-password", b"shop/web", b"deployers"):
        assert private not in GOOD
