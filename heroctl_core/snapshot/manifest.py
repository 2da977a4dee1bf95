"""manifest.json: what an archive says about itself in clear text.

No secret, no name of a row and no hash of plain content is in it: hashes confirm guesses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from .. import limits
from ..clock import rfc3339
from ..errors import Damaged, UnsupportedVersion
from ..state.extensions import is_extension
from ..version import __version__
from .strict_json import dump_json, load_json, read_list, read_object, read_text, read_uint

FORMAT: Final = 1
# Section → the newest schema version that this release reads. The order is that of the archive.
SECTIONS: Final = {
    "keyring": 1,
    "jobs": 1,
    "secrets": 1,
    "acl": 1,
    "ingress": 1,
    "nodes": 1,
    "metrics": 1,
    "digests": 1,
}
DIGESTS: Final = "digests"
CIPHER: Final = "AES-256-GCM"
COMPRESSION: Final = "zstd"
LEVEL_MAX: Final = 19  # beyond it zstd's window is larger than what readers accept

_TIME_MAX_S: Final = 8**11  # what tar can say
_SECTIONS_MAX: Final = 99  # two digits in the names of the members
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_HEX_64: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestHeader:
    """What the caller of a save knows: whose state this is, of when, and how it was taken.

    `created_ms` is the time of the save (kept to the second), `time_ms` the state machine's time,
    `lineage` the pairs (generation, restore id), the oldest first.
    """

    cluster_name: str
    cluster_id: str
    lineage: tuple[tuple[int, str], ...]
    epoch: int
    revision: int
    raft_index: int
    raft_term: int
    created_ms: int
    time_ms: int
    node: str
    stale: bool = False
    compression_level: int = 1  # twice as fast as 3 and about 5 % larger, on catalogues
    heroctl_version: str = __version__

    @property
    def created_at(self) -> str:
        """RFC 3339, UTC, whole seconds."""
        return rfc3339(self.created_ms)


@dataclass(frozen=True, slots=True)
class SectionEntry:
    """One section, in the order of the archive."""

    name: str
    records: int
    schema_version: int

    @property
    def is_extension(self) -> bool:
        """Whether it belongs to an embedding service."""
        return is_extension(self.name)


@dataclass(frozen=True, slots=True)
class Encryption:
    """How the sections are sealed. `key_check` commits to the file key (64 hex digits)."""

    key_check: str
    algorithm: str = CIPHER
    chunk_bytes: int = limits.ARCHIVE_CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of manifest.json; `encryption` is None in an archive without it."""

    header: ManifestHeader
    sections: tuple[SectionEntry, ...]
    encryption: Encryption | None

    def records(self, section: str) -> int:
        """How many records a section has, 0 when the archive does not have it."""
        return next((entry.records for entry in self.sections if entry.name == section), 0)

    def member_name(self, number: int) -> str:
        """The name in the container of the section with that number, from 1."""
        return f"sections/{number:02d}-{self.sections[number - 1].name}"

    def to_json(self) -> bytes:
        """The bytes of manifest.json; equal manifests have equal bytes."""
        head, lock = self.header, self.encryption
        return dump_json(
            {
                "format": FORMAT,
                "heroctl_version": head.heroctl_version,
                "cluster": {"name": head.cluster_name, "id": head.cluster_id},
                "lineage": [list(pair) for pair in head.lineage],
                "epoch": head.epoch,
                "revision": head.revision,
                "raft": {"index": head.raft_index, "term": head.raft_term},
                "created_at": head.created_at,
                "time_ms": head.time_ms,
                "node": head.node,
                "stale": head.stale,
                "compression": {"algorithm": COMPRESSION, "level": head.compression_level},
                "encryption": lock
                and {
                    "algorithm": lock.algorithm,
                    "chunk_bytes": lock.chunk_bytes,
                    "key_check": lock.key_check,
                },
                "sections": [
                    {"name": s.name, "records": s.records, "schema_version": s.schema_version}
                    for s in self.sections
                ],
            }
        )


def parse_manifest(data: bytes, place: str) -> Manifest:
    """The manifest in these bytes. UnsupportedVersion names the version that wrote it, Damaged
    the field; `place` begins each message."""
    try:
        tree = load_json(data)
        writer = read_text(tree, "heroctl_version")
        number = read_uint(tree, "format")
    except ValueError as error:
        raise Damaged(f"{place}: {error}") from error
    if number > FORMAT:
        raise _too_new(place, f"format {number}, this heroctl reads format {FORMAT}", writer)
    try:
        manifest = Manifest(
            _header(tree, writer),
            tuple(_section(item) for item in read_list(tree, "sections", _SECTIONS_MAX)),
            _encryption(tree),
        )
        for entry in manifest.sections:
            _refuse_newer(entry, place, writer)
        if number < 1 or any(entry.schema_version < 1 for entry in manifest.sections):
            raise ValueError("versions begin at 1")
        check_sections([entry.name for entry in manifest.sections])
    except ValueError as error:
        raise Damaged(f"{place}: {error}") from error
    return manifest


def check_sections(names: list[str]) -> None:
    """ValueError unless these are all standard sections in their order, then the extensions."""
    standard, extensions = names[: len(SECTIONS)], names[len(SECTIONS) :]
    if standard != list(SECTIONS):
        raise ValueError(f"sections are {', '.join(names)}, not {', '.join(SECTIONS)}")
    for name in extensions:
        if not is_extension(name):
            raise ValueError(f"section {name!r} is not of the form ext-NAME")
    if extensions != sorted(set(extensions)):
        raise ValueError("sections of extensions are not in order, or twice")
    if len(extensions) > limits.ARCHIVE_EXTENSIONS:
        raise ValueError(f"{len(extensions)} extensions, {limits.ARCHIVE_EXTENSIONS} are allowed")


def _too_new(place: str, what: str, writer: str) -> UnsupportedVersion:
    return UnsupportedVersion(
        f"{place}: {what}; written by heroctl {writer}",
        hint=f"install heroctl {writer} or newer and run this again",
    )


def _refuse_newer(entry: SectionEntry, place: str, writer: str) -> None:
    if entry.is_extension:
        return  # its service knows its versions
    newest = SECTIONS.get(entry.name)
    if newest is None:
        raise _too_new(place, f"section {entry.name!r} is not known to this heroctl", writer)
    if entry.schema_version > newest:
        what = f"section {entry.name} has schema version {entry.schema_version}"
        raise _too_new(place, f"{what}, this heroctl reads up to {newest}", writer)


def _header(tree: dict[str, Any], writer: str) -> ManifestHeader:
    cluster, raft = read_object(tree, "cluster"), read_object(tree, "raft")
    compression = read_object(tree, "compression")
    if compression.get("algorithm") != COMPRESSION:
        raise ValueError(f"compression is not {COMPRESSION}")
    level = read_uint(compression, "level")
    if not 1 <= level <= LEVEL_MAX:
        raise ValueError(f"compression level {level} is not one of 1 to {LEVEL_MAX}")
    stale = tree.get("stale")
    if type(stale) is not bool:
        raise ValueError("stale is neither true nor false")
    return ManifestHeader(
        cluster_name=read_text(cluster, "name"),
        cluster_id=read_text(cluster, "id"),
        lineage=tuple(_pair(item) for item in read_list(tree, "lineage", 10_000)),
        epoch=read_uint(tree, "epoch"),
        revision=read_uint(tree, "revision"),
        raft_index=read_uint(raft, "index"),
        raft_term=read_uint(raft, "term"),
        created_ms=_time_ms(tree, "created_at"),
        time_ms=read_uint(tree, "time_ms"),
        node=read_text(tree, "node"),
        stale=stale,
        compression_level=level,
        heroctl_version=writer,
    )


def _encryption(tree: dict[str, Any]) -> Encryption | None:
    if "encryption" not in tree:
        raise ValueError("encryption is missing")
    if tree["encryption"] is None:
        return None
    lock = read_object(tree, "encryption")
    found = Encryption(
        read_text(lock, "key_check"), read_text(lock, "algorithm"), read_uint(lock, "chunk_bytes")
    )
    if _HEX_64.fullmatch(found.key_check) is None:
        raise ValueError("key_check is not 64 hex digits")
    if found != Encryption(found.key_check):
        raise ValueError(f"encryption is not {CIPHER} in chunks of {limits.ARCHIVE_CHUNK_BYTES}")
    return found


def _section(item: object) -> SectionEntry:
    if not isinstance(item, dict):
        raise ValueError("a section is no object")
    return SectionEntry(
        read_text(item, "name"), read_uint(item, "records"), read_uint(item, "schema_version")
    )


def _pair(item: object) -> tuple[int, str]:
    if isinstance(item, list) and len(item) == 2:
        generation, restore_id = item
        if type(generation) is int and generation >= 1 and isinstance(restore_id, str):
            return generation, restore_id
    raise ValueError("lineage is no list of pairs of generation and restore id")


def _time_ms(tree: dict[str, Any], key: str) -> int:
    text = read_text(tree, key)
    if _RFC3339.fullmatch(text) is None:
        raise ValueError(f"{key} is no time of the form 2026-04-26T03:00:00Z")
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    if not 0 <= moment.timestamp() < _TIME_MAX_S:
        raise ValueError(f"{key} is not between 1970 and 2242")
    return int(moment.timestamp()) * 1000
