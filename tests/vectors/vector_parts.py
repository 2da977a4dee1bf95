"""Fixed inputs for archives, and each layer of the format from its parts, so that one thing at a
time can be wrong while everything around it is right."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from heroctl_core.codec import RecordPacker, RecordUnpacker, pack, shard_of
from heroctl_core.crypto.keys import BackupKey
from heroctl_core.crypto.sealed import Keyring
from heroctl_core.crypto.stream import ChunkSealer
from heroctl_core.snapshot.archive import Record, Section, write_archive
from heroctl_core.snapshot.container import sums_text, tar_header
from heroctl_core.snapshot.file_keys import FileKeys, wrap_file_key
from heroctl_core.snapshot.gzip_stored import GzipWriter
from heroctl_core.snapshot.manifest import ManifestHeader

KEY = BackupKey(sha256(b"the public key of the test vectors").digest())
OTHER_KEY = BackupKey(sha256(b"another public key of the test vectors").digest())
FILE_KEY = sha256(b"the file key of the test vectors").digest()
OTHER_FILE_KEY = sha256(b"another file key of the test vectors").digest()

_DATA_KEY = sha256(b"the data key of the test vectors").digest()
_DATA_KEY_ID = bytes.fromhex("28a896ef56912141")
KEYRING = Keyring.load(pack([1, bytes(range(16)), _DATA_KEY_ID, [[_DATA_KEY_ID, _DATA_KEY]]]))
# KEYRING.seal("db-password", b"correct horse"), made once: sealing draws a random nonce.
SEALED = bytes.fromhex(
    "0128a896ef56912141bf6b1512d24b7ce2722468ad055ff3dbb536cdee91046e6f"
    "19b8a76bf0b31e7cb8ed3635c02663f5d3"
)

TIME_MS = 1_777_172_400_000
HEADER = ManifestHeader(
    cluster_name="vectors",
    cluster_id="0123456789abcdef0123456789abcdef",
    lineage=((1, "a1b2c3d4"), (2, "e5f60718")),
    epoch=2,
    revision=41,
    raft_index=57,
    raft_term=3,
    created_ms=TIME_MS,
    time_ms=TIME_MS - 1234,
    node="node-1",
    compression_level=3,  # vectors are for ever, whatever new archives are made with
)

Members = dict[str, bytes]


def rows_of(*, keyring: bytes | None = None) -> dict[str, list[Record]]:
    """Section → records, in the order of an archive."""
    stamp = {"created_ms": TIME_MS, "created_revision": 7, "modified_ms": TIME_MS}
    tables = {
        "keyring": {"keyring": keyring or KEYRING.export()},
        "jobs": {
            name: pack({**stamp, "labels": {"team": "shop"}, "spec": pack({"image": image})})
            for name, image in (("web", "shop/web:2.14"), ("cron", "shop/cron:1"), ("größe", "g:1"))
        },
        "secrets": {"db-password": pack({**stamp, "metadata": {}, "sealed": SEALED})},
        "acl": {
            "policy/deployers": pack({**stamp, "rules": []}),
            "token/0011223344556677": pack({**stamp, "policies": ["deployers"]}),
        },
        "ingress": {"shop": pack({**stamp, "host": "shop.example.org", "job": "web"})},
        "nodes": {},
        "metrics": {"node_cpu_percent": pack({**stamp, "values": [0.25, 0.5]})},
    }
    return {name: sorted(table.items(), key=place) for name, table in tables.items()}


def place(record: Record) -> tuple[int, str]:
    """The order of records."""
    return shard_of(record[0]), record[0]


def archive(
    key: BackupKey | None = KEY,
    *,
    header: ManifestHeader = HEADER,
    file_key: bytes = FILE_KEY,
    more: dict[str, list[Record]] | None = None,
    **options: Any,
) -> bytes:
    """A good archive of the fixed rows; without a key it is not encrypted."""
    keyring = KEYRING.export() if key else b"(the keyring, wrapped)"
    tables = rows_of(keyring=keyring) | (more or {})
    sections = [Section(name, 1, records) for name, records in tables.items()]
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as spool:
        write_archive(
            out,
            sections,
            header,
            key,
            Path(spool),
            unencrypted=key is None,
            file_key=file_key,
            **options,
        )
    return out.getvalue()


def members_of(data: bytes) -> Members:
    """Name → content, in order."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {item.name: tar.extractfile(item).read() for item in tar}  # type: ignore[union-attr]


def gzipped(tar: bytes) -> bytes:
    """The outer layer."""
    out: list[bytes] = []
    writer = GzipWriter(out.append)
    writer.feed(tar)
    writer.finish()
    return b"".join(out)


def member(name: str, content: bytes, *, time_s: int = TIME_MS // 1000) -> bytes:
    """One member of a tar."""
    return tar_header(name, len(content), time_s) + content + bytes(-len(content) % 512)


def tarred(members: Members) -> bytes:
    """A whole tar."""
    return b"".join(member(*item) for item in members.items()) + bytes(1024)


def edited(header: bytes, offset: int, value: bytes) -> bytes:
    """A tar header with other bytes at `offset`, and the right checksum for them."""
    changed = header[:offset] + value + header[offset + len(value) :]
    blank = changed[:148] + b" " * 8 + changed[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def signed(members: Members, *, file_key: bytes = FILE_KEY) -> bytes:
    """An archive of these members, with right sums and, when there are keys, a right seal."""
    inner = {name: data for name, data in members.items() if name not in ("SHA256SUMS", "SEAL")}
    sums = sums_text((name, sha256(data).digest()) for name, data in inner.items())
    inner["SHA256SUMS"] = sums
    if "keys.json" in inner:
        inner["SEAL"] = FileKeys.of(file_key).seal(sums)
    return gzipped(tarred(inner))


def with_manifest(change: Callable[[dict[str, Any]], object], data: bytes | None = None) -> bytes:
    """A good archive whose manifest is another, with right sums and seal; its chunks are bound to
    the old one, so it is for what must fail before them."""
    members = members_of(archive() if data is None else data)
    tree = json.loads(members["manifest.json"])
    change(tree)
    return signed({**members, "manifest.json": json.dumps(tree, indent=2).encode() + b"\n"})


def with_section(
    name: str, frame: bytes, *, records: int | None = None, encrypted: bool = True
) -> bytes:
    """A good archive in which one section's compressed bytes are others, and all is resealed."""
    data = archive() if encrypted else archive(None)
    members = members_of(data)
    tree = json.loads(members["manifest.json"])
    for entry in tree["sections"]:
        if entry["name"] == name and records is not None:
            entry["records"] = records
    manifest = json.dumps(tree, indent=2).encode() + b"\n"
    frames = {path: frame_of(data, path) for path in members if path.startswith("sections/")}
    changed = {**members, "manifest.json": manifest}
    for path, old in frames.items():
        new = frame if path.endswith(f"-{name}") else old
        changed[path] = sealed(new, path, manifest) if encrypted else new
    return signed(changed)


def frame_of(data: bytes, path: str) -> bytes:
    """The compressed bytes of a section of one chunk."""
    members = members_of(data)
    if "keys.json" not in members:
        return members[path]
    number = struct.pack(">I3xIB", section_number(path), 0, 1)
    binding = sha256(members["manifest.json"]).digest()
    return AESGCM(FileKeys.of(FILE_KEY).data).decrypt(number, members[path], binding)


def sealed(frame: bytes, path: str, manifest: bytes, *, file_key: bytes = FILE_KEY) -> bytes:
    """The chunks of a section."""
    binding = sha256(manifest).digest()
    sealer = ChunkSealer(FileKeys.of(file_key).data, section_number(path), binding)
    return sealer.feed(frame) + sealer.finish()


def section_number(path: str) -> int:
    """2 for sections/02-jobs."""
    return int(path.removeprefix("sections/")[:2])


def frame(plain: bytes, **options: Any) -> bytes:
    """A zstd frame as the writer makes it, unless the options say otherwise."""
    settings = {"write_content_size": False, "write_checksum": False, "write_dict_id": False}
    compressor = zstandard.ZstdCompressor(**(settings | options)).compressobj()
    return compressor.compress(plain) + compressor.flush()


def records(*items: Record) -> bytes:
    """Packed records."""
    return RecordPacker().pack(items)


def other_keys_json(key: BackupKey = KEY) -> bytes:
    """A right keys.json of another archive."""
    return wrap_file_key(OTHER_FILE_KEY, key)


def records_in(data: bytes, path: str) -> list[Record]:
    """The records of a section of one chunk."""
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(frame_of(data, path))
    return RecordUnpacker(max_key_bytes=4096, max_row_bytes=2**20).feed(plain)
