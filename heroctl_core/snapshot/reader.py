"""Reading an archive, from one open descriptor.

Opening checks all that can be checked without decoding: both outer layers, every sum, the seal,
that the key fits. `verify` decodes every section. Not one record is given out before both.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from .. import limits
from ..crypto.keys import BackupKey
from ..crypto.stream import open_chunks
from ..errors import Damaged, NoKey, NotAnArchive, UsageError
from ..files import faults
from ..state.tables import FINGERPRINT_MASK, digest_sum
from .container import PIECE_BYTES, SUMS, Member, read_members, sums_text
from .file_keys import FileKeys, KeySlot, open_file_key, parse_slots
from .gzip_stored import GzipReader
from .manifest import DIGESTS, Manifest, parse_manifest
from .sections import Pause, Record, decode_records, no_pause

AUDIT_HEAD: Final = "audit/head"
FINGERPRINT_BYTES: Final = 32
_PAUSE_BATCHES: Final = 3  # of 128 KiB each: a millisecond or two

RecordCheck = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class _Outside:
    """What is known of an archive without a key, all of it found whole."""

    gzip: GzipReader
    members: dict[str, Member]
    manifest: Manifest
    slots: tuple[KeySlot, ...]
    sums: bytes

    @property
    def outline(self) -> Outline:
        """The part for users."""
        ids = tuple(slot.key_id for slot in self.slots)
        return Outline(self.manifest, ids, self.gzip.sha256, self.gzip.file_size)


@dataclass(frozen=True, slots=True)
class Outline:
    """What an archive shows without a key. `sha256` is that of the whole file, in hex; `key_ids`
    are the backup keys of which one opens it, none when it is not encrypted."""

    manifest: Manifest
    key_ids: tuple[str, ...]
    sha256: str
    size_bytes: int


def outline(path: Path | str | int) -> Outline:
    """What can be said of an archive without a key; it is whole as far as its sums show.

    Without the key nobody can tell an archive from a careful forgery.
    """
    file = _OpenFile(path)
    try:
        return _look_at(file.fd, file.place).outline
    finally:
        file.close()


def open_archive(
    path: Path | str | int, keys: Sequence[BackupKey], *, allow_unencrypted: bool = False
) -> Archive:
    """An archive of which every sum and the seal are right and that one of the keys opens.

    A descriptor stays the caller's; it must be of a regular file. Raises NotAnArchive, Truncated,
    Damaged, UnsupportedVersion; NoKey and WrongKey only for an archive that is whole.
    """
    file = _OpenFile(path)
    try:
        outside = _look_at(file.fd, file.place)
        file_keys = _unlock(outside, keys, file.place)
        if file_keys is None and not allow_unencrypted:
            raise NoKey(
                f"{file.place} is not encrypted: nothing proves who wrote it",
                hint="if you trust where it comes from, say --unencrypted",
            )
    except BaseException:
        file.close()
        raise
    return Archive(file, outside, file_keys)


class Archive:
    """An open archive. Use it in a `with` block; one thread at a time."""

    def __init__(self, file: _OpenFile, outside: _Outside, keys: FileKeys | None) -> None:
        self._file = file
        self._outside = outside
        self._keys = keys
        self._binding = outside.members["manifest.json"].sha256
        self._place = file.place
        self._is_verified = False

    @property
    def manifest(self) -> Manifest:
        """What it says about itself."""
        return self._outside.manifest

    @property
    def outline(self) -> Outline:
        """Manifest, key ids, digest and size."""
        return self._outside.outline

    def verify(
        self,
        *,
        deep: bool = True,
        checks: dict[str, RecordCheck] | None = None,
        pause: Pause = no_pause,
    ) -> None:
        """Nothing when every chunk, record and count is right; Damaged names the place.

        `deep` compares the fingerprint of every section with that in `digests`; records are only
        given out after a deep one. `checks` are called for each record of the section they name,
        and raise an ArchiveError for one that is bad; `pause` between short steps.
        """
        digests = self._read_digests()
        for name in (entry.name for entry in self.manifest.sections):
            total = 0
            check = checks.get(name) if checks else None
            for number, batch in enumerate(self._batches(name)):
                if number % _PAUSE_BATCHES == 0:
                    pause()
                if deep:
                    total += digest_sum(name, batch)
                if check is not None:
                    for key, row in batch:
                        check(key, row)
            if deep and name != DIGESTS and total & FINGERPRINT_MASK != digests[name]:
                raise self._damaged(name, "fingerprint is not that in digests")
        self._is_verified = self._is_verified or deep

    def records(self, section: str) -> Iterator[Record]:
        """Key and row, in the order of shard and key; the whole archive is verified before the
        first one, unless that was done."""
        if not self._is_verified:
            self.verify()
        for batch in self._batches(section):
            yield from batch

    def audit_head(self) -> bytes:
        """The head of the audit chain at the time of the save, empty when there was none."""
        return dict(self.records(DIGESTS)).get(AUDIT_HEAD, b"")

    def close(self) -> None:
        """Closes the file, if open_archive opened it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_digests(self) -> dict[str, int]:
        """Section → fingerprint, one for each section but digests itself."""
        rows = dict(record for batch in self._batches(DIGESTS) for record in batch)
        rows.pop(AUDIT_HEAD, None)
        expected = {entry.name for entry in self.manifest.sections} - {DIGESTS}
        if rows.keys() != expected or any(len(row) != FINGERPRINT_BYTES for row in rows.values()):
            raise self._damaged(DIGESTS, "not one fingerprint for each section")
        return {name: int.from_bytes(row, "big") for name, row in rows.items()}

    def _batches(self, section: str) -> Iterator[list[Record]]:
        names = [entry.name for entry in self.manifest.sections]
        if section not in names:
            raise UsageError(f"{self._place} has no section {section}")
        number = names.index(section) + 1
        member = self._outside.members[self.manifest.member_name(number)]
        place = f"{self._place}: {member.name}"
        with faults(self._place):
            yield from decode_records(
                self._pieces(number, member, place), self.manifest.records(section), place
            )

    def _pieces(self, number: int, member: Member, place: str) -> Iterator[bytes]:
        """The compressed bytes, each piece proven to be what the writer wrote."""
        gzip = self._outside.gzip

        def read(offset: int, length: int) -> bytes:
            return gzip.read(member.offset + offset, length)

        if self._keys is not None:
            return open_chunks(self._keys.data, number, self._binding, read, member.size, place)
        return _plain_pieces(member, read, place)

    def _damaged(self, section: str, what: str) -> Damaged:
        return Damaged(f"{self._place}: section {section}: {what}")


def _plain_pieces(member: Member, read: Callable[[int, int], bytes], place: str) -> Iterator[bytes]:
    for number, expected in enumerate(member.pieces):
        offset = number * PIECE_BYTES
        piece = read(offset, min(PIECE_BYTES, member.size - offset))
        if hashlib.sha256(piece).digest() != expected:
            raise Damaged(f"{place}: changed while it was read")
        yield piece


def _unlock(outside: _Outside, keys: Sequence[BackupKey], place: str) -> FileKeys | None:
    """The keys of the archive, after its seal was checked; None when it is not encrypted."""
    lock = outside.manifest.encryption
    if lock is None:
        return None
    found = open_file_key(outside.slots, keys, lock.key_check, place)
    seal = _small(outside.gzip, outside.members["SEAL"], place)
    if not hmac.compare_digest(seal, found.seal(outside.sums)):
        raise Damaged(f"{place}: SEAL does not fit SHA256SUMS")
    return found


def _look_at(fd: int, place: str) -> _Outside:
    """Checks the layers, the members and the sums."""
    with faults(place):
        return _checked(GzipReader(fd, place), place)


def _checked(gzip: GzipReader, place: str) -> _Outside:
    found = read_members(gzip, place)
    first = next(found)
    manifest = parse_manifest(_small(gzip, first, place), f"{place}: manifest.json")
    if first.time_s * 1000 != manifest.header.created_ms:
        raise Damaged(f"{place}: manifest.json: not the time of the tar")
    in_order = [first, *found]
    names = [member.name for member in in_order]
    _check_names(names, manifest, place)
    members = dict(zip(names, in_order, strict=True))
    sums = _check_sums(gzip, members, names[: names.index(SUMS)], place)
    slots: tuple[KeySlot, ...] = ()
    if manifest.encryption is not None:
        slots = parse_slots(_small(gzip, members["keys.json"], place), f"{place}: keys.json")
    return _Outside(gzip, members, manifest, slots, sums)


def _check_names(names: list[str], manifest: Manifest, place: str) -> None:
    sections = [manifest.member_name(i + 1) for i in range(len(manifest.sections))]
    expected = ["manifest.json", *sections, SUMS]
    if manifest.encryption is not None:
        expected = ["manifest.json", "keys.json", *sections, SUMS, "SEAL"]
    if names != expected:
        raise Damaged(f"{place}: members are {', '.join(names)}")


def _check_sums(
    gzip: GzipReader, members: dict[str, Member], names: list[str], place: str
) -> bytes:
    """The content of SHA256SUMS, which is exactly what the members give."""
    found = _small(gzip, members[SUMS], place)
    if found == sums_text((name, members[name].sha256) for name in names):
        return found
    lines = found.splitlines(keepends=True)
    for name, line in zip(names, lines, strict=False):
        if line != sums_text([(name, members[name].sha256)]):
            raise Damaged(f"{place}: {name}: sha256 mismatch")
    raise Damaged(f"{place}: {SUMS}: does not list every member once")


def _small(gzip: GzipReader, member: Member, place: str) -> bytes:
    if member.size > limits.ARCHIVE_JSON_BYTES:
        most = limits.ARCHIVE_JSON_BYTES
        raise Damaged(f"{place}: {member.name}: {member.size} bytes, more than {most}")
    return gzip.read(member.offset, member.size)


class _OpenFile:
    """A descriptor of a regular file, with its name for messages; closes what it opened."""

    def __init__(self, path: Path | str | int) -> None:
        self.place = f"descriptor {path}" if isinstance(path, int) else str(path)
        self._is_ours = not isinstance(path, int)
        with faults(self.place):
            if isinstance(path, int):
                self.fd = path
            else:
                self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            if not stat.S_ISREG(os.fstat(self.fd).st_mode):
                self.close()
                raise NotAnArchive(f"{self.place} is not a regular file")

    def close(self) -> None:
        """Closes it, once, if it is ours."""
        if self._is_ours:
            os.close(self.fd)
            self._is_ours = False
