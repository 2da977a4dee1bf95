"""Writing an archive: one pass over the rows, then everything is read back before it counts.

Sections are sealed on their way into an unnamed spool file, because tar needs their size first;
so no plain row ever reaches the disk, and memory stays at a few MiB.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from ..codec import shard_of
from ..crypto.keys import BackupKey
from ..crypto.stream import ChunkSealer
from ..errors import Damaged, NoKey, UsageError
from ..files import AtomicFile, faults
from ..state.tables import FINGERPRINT_MASK, row_digest
from .container import SIZE_MAX, ContainerWriter
from .file_keys import FILE_KEY_BYTES, FileKeys, wrap_file_key
from .manifest import (
    DIGESTS,
    SECTIONS,
    Manifest,
    ManifestHeader,
    SectionEntry,
    check_sections,
    parse_manifest,
)
from .reader import AUDIT_HEAD, FINGERPRINT_BYTES, RecordCheck, open_archive
from .sections import Pause, Record, RecordEncoder, no_pause

_COPY_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Section:
    """What goes into one section: records in the order of shard and key, each once.

    `count` must be given when `records` has no length: the manifest, which binds every chunk, is
    made before the first record is read. `fingerprint` is the sum modulo 2^256 of the rows'
    digests; without it the writer makes it, which takes as long again as everything else.
    """

    name: str
    schema_version: int
    records: Iterable[Record]
    count: int | None = None
    fingerprint: int | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """A written and verified archive; `sha256` is that of the whole file, in hex."""

    size_bytes: int
    sha256: str
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class _Spooled:
    """Where the bytes of one section are in the spool."""

    offset: int
    size: int


def write_archive(
    target: Path | str | BinaryIO,
    sections: Iterable[Section],
    header: ManifestHeader,
    key: BackupKey | None,
    spool_dir: Path,
    *,
    overwrite: bool = False,
    unencrypted: bool = False,
    audit_head: bytes = b"",
    checks: dict[str, RecordCheck] | None = None,
    file_key: bytes | None = None,
    pause: Pause = no_pause,
) -> Saved:
    """The archive, complete, durable and read back.

    `sections` are all standard ones but digests in the order of manifest.SECTIONS, then those of
    extensions. A path appears whole or not at all, and an existing file stays unless `overwrite`;
    a stream gets its bytes only after they were verified in `spool_dir`. `checks` are called for
    the records that were read back (reader.Archive.verify). `pause` is called between short steps,
    to let other threads run. `file_key` is for tests only: sealing two archives with one file key
    gives their secrets away.
    """
    if (key is None) != unencrypted:
        raise _key_fault(key)
    work = _Work(list(sections), header, key, audit_head, file_key, pause)
    read_back = partial(_read_back, [] if key is None else [key], checks, pause)
    if not isinstance(target, str | Path):
        return _to_stream(target, work, read_back, spool_dir)
    with AtomicFile(target, overwrite=overwrite) as file:
        work.write(file.write, spool_dir)
        file.sync()
        return read_back(file.partial)


def _read_back(
    keys: list[BackupKey], checks: dict[str, RecordCheck] | None, pause: Pause, source: Path | int
) -> Saved:
    with open_archive(source, keys, allow_unencrypted=not keys) as archive:
        archive.verify(checks=checks, pause=pause)
        outline = archive.outline
        return Saved(outline.size_bytes, outline.sha256, outline.manifest)


def _to_stream(
    target: BinaryIO, work: _Work, read_back: Callable[[int], Saved], spool_dir: Path
) -> Saved:
    with faults(spool_dir), tempfile.TemporaryFile(dir=spool_dir) as copy:
        work.write(copy.write, spool_dir)
        copy.flush()
        saved = read_back(copy.fileno())
        copy.seek(0)
        with faults(getattr(target, "name", "the output stream")):
            shutil.copyfileobj(copy, target, _COPY_BYTES)
            target.flush()
    return saved


class _Work:
    """One archive on its way."""

    def __init__(
        self,
        sections: list[Section],
        header: ManifestHeader,
        key: BackupKey | None,
        audit_head: bytes,
        file_key: bytes | None,
        pause: Pause,
    ) -> None:
        self._sections = sections
        self._pause = pause
        self._audit_head = audit_head
        self._keys: FileKeys | None = None
        self._keys_json = b""
        if key is not None:
            file_key = file_key or secrets.token_bytes(FILE_KEY_BYTES)
            self._keys = FileKeys.of(file_key)
            self._keys_json = wrap_file_key(file_key, key)
        self._manifest = self._make_manifest(header)
        self._manifest_json = self._manifest.to_json()
        self._binding = hashlib.sha256(self._manifest_json).digest()
        self._fingerprints: dict[str, int] = {}

    def write(self, write: Callable[[bytes], object], spool_dir: Path) -> None:
        """Spools every section, then hands the whole archive to `write`."""
        with faults(spool_dir), tempfile.TemporaryFile(dir=spool_dir) as spool:
            spooled = self._spool(spool)
            container = ContainerWriter(write, self._manifest.header.created_ms // 1000)
            container.member("manifest.json", len(self._manifest_json), [self._manifest_json])
            if self._keys is not None:
                container.member("keys.json", len(self._keys_json), [self._keys_json])
            for number, place in sorted(spooled.items()):
                name = self._manifest.member_name(number)
                container.member(name, place.size, _pieces(spool, place))
            sums = container.sums()
            if self._keys is not None:
                seal = self._keys.seal(sums)
                container.member("SEAL", len(seal), [seal])
            container.finish()

    def _make_manifest(self, header: ManifestHeader) -> Manifest:
        entries = [SectionEntry(s.name, _count(s), s.schema_version) for s in self._sections]
        digests = len(entries) + bool(self._audit_head)
        place = len(SECTIONS) - 1
        entries.insert(place, SectionEntry(DIGESTS, digests, SECTIONS[DIGESTS]))
        try:
            check_sections([entry.name for entry in entries])
            encryption = None if self._keys is None else self._keys.encryption
            manifest = Manifest(header, tuple(entries), encryption)
            return parse_manifest(manifest.to_json(), "manifest.json")
        except (ValueError, Damaged) as error:
            raise UsageError(f"this cannot be saved: {error}") from error

    def _spool(self, spool: BinaryIO) -> dict[int, _Spooled]:
        """Section number → its place. The digests come last: they need all fingerprints."""
        numbers = {entry.name: i + 1 for i, entry in enumerate(self._manifest.sections)}
        spooled = {}
        for section in self._sections:
            spooled[numbers[section.name]] = self._spool_one(spool, numbers[section.name], section)
        digests = Section(DIGESTS, SECTIONS[DIGESTS], self._digest_records())
        spooled[numbers[DIGESTS]] = self._spool_one(spool, numbers[DIGESTS], digests)
        spool.flush()
        return spooled

    def _spool_one(self, spool: BinaryIO, number: int, section: Section) -> _Spooled:
        start = spool.tell()
        encoder = RecordEncoder(self._manifest.header.compression_level)
        sealer = self._keys and ChunkSealer(self._keys.data, number, self._binding)
        for piece in encoder.encode(self._fingerprinted(section), self._pause):
            spool.write(sealer.feed(piece) if sealer else piece)
        if sealer:
            spool.write(sealer.finish())
        expected = self._manifest.records(section.name)
        if encoder.count != expected:
            raise UsageError(
                f"section {section.name} has {encoder.count} records, announced were {expected}"
            )
        size = spool.tell() - start
        if size > SIZE_MAX:
            raise UsageError(
                f"section {section.name} has {size} bytes, an archive holds {SIZE_MAX}"
            )
        return _Spooled(start, size)

    def _fingerprinted(self, section: Section) -> Iterable[Record]:
        """The records; the fingerprint is known when the last one was taken."""
        if section.fingerprint is None:
            return self._hashed(section)
        self._fingerprints[section.name] = section.fingerprint
        return section.records

    def _hashed(self, section: Section) -> Iterator[Record]:
        total = 0
        for key, row in section.records:
            total += row_digest(section.name, key, row)
            yield key, row
        self._fingerprints[section.name] = total & FINGERPRINT_MASK

    def _digest_records(self) -> list[Record]:
        records = [
            (name, self._fingerprints[name].to_bytes(FINGERPRINT_BYTES, "big"))
            for name in (section.name for section in self._sections)
        ]
        if self._audit_head:
            records.append((AUDIT_HEAD, self._audit_head))
        return sorted(records, key=lambda record: (shard_of(record[0]), record[0]))


def _key_fault(key: BackupKey | None) -> Exception:
    if key is None:
        return NoKey(
            "no backup key, and an archive without encryption was not asked for",
            hint="make a key with: heroctl key generate FILE",
        )
    return UsageError("give a key, or ask for no encryption, not both")


def _count(section: Section) -> int:
    if section.count is not None:
        return section.count
    if isinstance(section.records, Sized):
        return len(section.records)
    raise UsageError(f"section {section.name}: say how many records there are")


def _pieces(spool: BinaryIO, place: _Spooled) -> Iterator[bytes]:
    done = 0
    while done < place.size:
        piece = os.pread(spool.fileno(), min(_COPY_BYTES, place.size - done), place.offset + done)
        if not piece:
            raise OSError("the spool file became shorter")
        yield piece
        done += len(piece)
