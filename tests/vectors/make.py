"""Makes the archives in this folder: `PYTHONPATH=. python tests/vectors/make.py`.

A good one is named good-WHAT.tar.gz. A damaged one is named STAGE-WHAT.ERROR.tar.gz after the
stage of reading that must refuse it and the error that must say so; every stage before that one is
right, seal included. The stages, in order, are those of docs/archive-format.md.
An archive that has been committed stays: it is what readers of every later release must get right.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vector_parts import (
    HEADER,
    OTHER_FILE_KEY,
    OTHER_KEY,
    Members,
    archive,
    edited,
    frame,
    gzipped,
    member,
    members_of,
    other_keys_json,
    place,
    records,
    records_in,
    rows_of,
    signed,
    tarred,
    with_manifest,
    with_section,
)

STAGES = ("gzip", "tar", "manifest", "sums", "key", "seal", "chunk", "zstd", "records", "digests")
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Case:
    """One archive. `error` is the name of the class, `words` are in its message."""

    stage: str
    what: str
    error: str
    words: str
    make: Callable[[], bytes]

    @property
    def file_name(self) -> str:
        return f"{self.stage}-{self.what}.{self.error}.tar.gz"


GOOD: dict[str, Callable[[], bytes]] = {
    "encrypted": archive,
    "extension": lambda: archive(more={"ext-billing": [("invoice/1", b"\x01")]}),
    "audit-head": lambda: archive(audit_head=bytes(range(32))),
    "unencrypted": lambda: archive(None),
}


def flipped(data: bytes, offset: int, bit: int = 0) -> bytes:
    """`data` with one other bit."""
    changed = bytearray(data)
    changed[offset] ^= 1 << bit
    return bytes(changed)


# gzip


def gzip_with(flags: int, extra: bytes) -> bytes:
    """A gzip member with optional fields."""
    data = archive()
    return data[:3] + bytes([flags]) + data[4:10] + extra + data[10:]


def deflated(content: bytes) -> bytes:
    """A gzip member as other programs write it, with our head."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(content) + packer.flush()
    tail = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    return archive()[:10] + body + tail


def short_block() -> bytes:
    """Two stored blocks of which the first one is not full."""
    tar = tarred(members_of(archive()))
    blocks = [(0, tar[:512]), (1, tar[512:])]
    body = b"".join(
        bytes([last]) + len(part).to_bytes(2, "little") + (len(part) ^ 0xFFFF).to_bytes(2, "little")
        + part
        for last, part in blocks
    )  # fmt: skip
    good = archive()
    return good[:10] + body + good[-8:]


# tar


def headers(change: Callable[[str, bytes], bytes]) -> bytes:
    """An archive whose tar headers went through `change(name, header)`."""
    parts = [
        change(name, member(name, data)[:512]) + member(name, data)[512:]
        for name, data in members_of(archive()).items()
    ]
    return gzipped(b"".join(parts) + bytes(1024))


def jobs_header(offset: int, value: bytes) -> bytes:
    """An archive whose header of the jobs is another, with a right checksum."""
    return headers(lambda name, head: edited(head, offset, value) if "-jobs" in name else head)


def reordered(order: Callable[[list[str]], list[str]]) -> bytes:
    """The members in another order, or not all of them."""
    members = members_of(archive())
    return gzipped(tarred({name: members[name] for name in order(list(members))}))


def inserted(*parts: bytes) -> bytes:
    """Members, ready made, before SHA256SUMS."""
    members = members_of(archive())
    ends = {name: members.pop(name) for name in ("SHA256SUMS", "SEAL")}
    before = tarred(members)[:-1024]
    return gzipped(before + b"".join(parts) + tarred(ends))


def foreign_tar() -> bytes:
    """What tar makes of some folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        item = tarfile.TarInfo("etc/hostname")
        item.size = 5
        tar.addfile(item, io.BytesIO(b"node\n"))
    return gzipped(out.getvalue())


def pax_header() -> bytes:
    """A PAX header, as tar writes it before a member."""
    return edited(member("sections/09-pax", b"")[:512], 156, b"x")


def second_symlink() -> bytes:
    """A symbolic link under a good name."""
    head = edited(member("sections/09-ext-link", b"")[:512], 156, b"2")
    return edited(head, 157, b"/etc/passwd")


def padded() -> bytes:
    """A member whose padding is not zero."""
    tar = bytearray(tarred(members_of(archive())))
    tar[tar.index(b"keys.json") - 1] = 1
    return gzipped(bytes(tar))


# manifest


def raw_manifest(text: bytes) -> bytes:
    """An archive with these bytes as manifest.json, right sums and seal."""
    return signed({**members_of(archive()), "manifest.json": text})


def set_field(*path: str | int, value: Any) -> Callable[[], bytes]:
    """An archive with another value in the manifest."""

    def change(tree: Any) -> None:
        for step in path[:-1]:
            tree = tree[step]
        tree[path[-1]] = value

    return lambda: with_manifest(change)


def replaced(old: bytes, new: bytes) -> bytes:
    """An archive with another text in the manifest."""
    return raw_manifest(members_of(archive())["manifest.json"].replace(old, new, 1))


# sums, keys, seal


def changed(name: str, make: Callable[[bytes], bytes], *, sign: bool = False) -> bytes:
    """An archive with another member; with right sums and seal when signed."""
    members = members_of(archive())
    members[name] = make(members[name])
    return signed(members) if sign else gzipped(tarred(members))


def keys_with(field: str, value: str) -> bytes:
    """An archive with another field in keys.json."""

    def change(data: bytes) -> bytes:
        tree = json.loads(data)
        tree["keys"][0][field] = value
        return json.dumps(tree).encode()

    return changed("keys.json", change, sign=True)


# chunks


def swapped() -> bytes:
    """The sections jobs and secrets in each other's place."""
    members = members_of(archive())
    jobs, secrets = "sections/02-jobs", "sections/03-secrets"
    members[jobs], members[secrets] = members[secrets], members[jobs]
    return signed(members)


def from_other_archive() -> bytes:
    """The jobs of another archive of the same cluster, key and file key."""
    later = with_other_time()
    return changed("sections/02-jobs", lambda _: later["sections/02-jobs"], sign=True)


def with_other_time() -> Members:
    """Another archive with the same key, file key and time."""
    return members_of(archive(header=replace(HEADER, revision=42)))


def exchanged_manifest() -> bytes:
    """The manifest of another archive with the same file key, and right sums and seal."""
    return changed("manifest.json", lambda _: with_other_time()["manifest.json"], sign=True)


# zstd and records

JOBS = rows_of()["jobs"]
PLAIN = records(*JOBS)


def jobs(frame_bytes: bytes, count: int = 3) -> Callable[[], bytes]:
    """An archive whose jobs are this frame, sealed right."""
    return lambda: with_section("jobs", frame_bytes, records=count)


def bomb(blocks: int = 64) -> bytes:
    """A frame of blocks of 4 bytes that give 128 KiB each: the most that zstd can blow up."""
    block = (1 << 3 + 17 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (1 << 3 + 17 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * (blocks - 1) + last


def digests(change: Callable[[dict[str, bytes]], object], count: int = 7) -> Callable[[], bytes]:
    """An archive with other digests."""

    def make() -> bytes:
        rows = dict(records_in(archive(), "sections/08-digests"))
        change(rows)
        plain = records(*sorted(rows.items(), key=place))
        return with_section("digests", frame(plain), records=count)

    return make


DICTIONARY_FRAME = b"\x28\xb5\x2f\xfd\x01\x58\x07" + frame(PLAIN)[6:]
LARGE_WINDOW_FRAME = b"\x28\xb5\x2f\xfd\x00\x88" + frame(PLAIN)[6:]

BAD: tuple[Case, ...] = (
    Case("gzip", "empty-file", "Truncated", "ends too early", lambda: b""),
    Case("gzip", "cut-in-head", "Truncated", "ends too early", lambda: archive()[:7]),
    Case("gzip", "cut-in-block", "Truncated", "ends too early", lambda: archive()[:5000]),
    Case("gzip", "cut-in-trailer", "Truncated", "ends too early", lambda: archive()[:-3]),
    Case("gzip", "text", "NotAnArchive", "no heroctl snapshot", lambda: b"kind: job\nname: web\n"),
    Case("gzip", "file-name", "NotAnArchive", "no heroctl", lambda: gzip_with(8, b"snap.tar\0")),
    Case("gzip", "deflated", "NotAnArchive", "no heroctl",
         lambda: deflated(tarred(members_of(archive())))),
    Case("gzip", "bomb", "NotAnArchive", "no heroctl", lambda: deflated(bytes(10**7))),
    Case("gzip", "bit-flipped", "Damaged", "checksum of gzip", lambda: flipped(archive(), 9000)),
    Case("gzip", "short-block", "Damaged", "no stored block", short_block),
    Case("gzip", "second-member", "Damaged", "behind the end", lambda: archive() + gzipped(b"x")),
    Case("gzip", "byte-behind", "Damaged", "1 bytes behind the end", lambda: archive() + b"\n"),
    Case("tar", "foreign", "NotAnArchive", "heroctl", foreign_tar),
    Case("tar", "no-tar", "NotAnArchive", "no ustar header", lambda: gzipped(b"x" * 2048)),
    Case("tar", "no-end", "Truncated", "no end",
         lambda: gzipped(tarred(members_of(archive()))[:-1024])),
    Case("tar", "one-end-block", "Damaged", "two zero blocks",
         lambda: gzipped(tarred(members_of(archive()))[:-512])),
    Case("tar", "blocks-behind", "Damaged", "two zero blocks",
         lambda: gzipped(tarred(members_of(archive())) + bytes(512))),
    Case("tar", "content-too-short", "Truncated", "ends too early",
         lambda: gzipped(tarred(members_of(archive()))[:1024] )),
    Case("tar", "padding", "Damaged", "padding is not zero", padded),
    Case("tar", "checksum", "Damaged", "plain ustar",
         lambda: headers(lambda name, head: flipped(head, 150) if "-jobs" in name else head)),
    Case("tar", "mode", "Damaged", "plain ustar", lambda: jobs_header(100, b"0000644\0")),
    Case("tar", "owner", "Damaged", "plain ustar", lambda: jobs_header(108, b"0001750\0")),
    Case("tar", "owner-name", "Damaged", "plain ustar", lambda: jobs_header(265, b"root")),
    Case("tar", "time", "Damaged", "not the time", lambda: jobs_header(136, b"00000000001\0")),
    Case("tar", "size-as-binary", "Damaged", "plain ustar",
         lambda: jobs_header(124, b"\x80" + bytes(10) + b"\x40")),
    Case("tar", "hard-link", "Damaged", "plain ustar", lambda: jobs_header(156, b"1manifest.json")),
    Case("tar", "symbolic-link", "Damaged", "plain ustar", lambda: inserted(second_symlink())),
    Case("tar", "sparse", "Damaged", "plain ustar", lambda: jobs_header(156, b"S")),
    Case("tar", "pax", "Damaged", "plain ustar", lambda: inserted(pax_header())),
    Case("tar", "gnu-magic", "Damaged", "plain ustar", lambda: jobs_header(257, b"ustar  \0")),
    Case("tar", "leaves-folder", "Damaged", "unknown name",
         lambda: inserted(member("../../etc/cron.d/x", b"x"))),
    Case("tar", "unknown-member", "Damaged", "members are",
         lambda: inserted(member("sections/09-ext-x", b"x"))),
    Case("tar", "member-twice", "Damaged", "members are",
         lambda: inserted(member("sections/02-jobs", members_of(archive())["sections/02-jobs"]))),
    Case("tar", "member-missing", "Damaged", "members are",
         lambda: reordered(lambda names: [name for name in names if "-acl" not in name])),
    Case("tar", "seal-missing", "Damaged", "members are", lambda: reordered(lambda n: n[:-1])),
    Case("tar", "other-order", "Damaged", "members are",
         lambda: reordered(lambda n: [*n[:2], n[3], n[2], *n[4:]])),
    Case("manifest", "no-json", "Damaged", "strict JSON", lambda: raw_manifest(b"{")),
    Case("manifest", "no-object", "Damaged", "no JSON object", lambda: raw_manifest(b"[]")),
    Case("manifest", "no-utf-8", "Damaged", "strict JSON", lambda: replaced(b"vectors", b"\xff")),
    Case("manifest", "key-twice", "Damaged", "there twice",
         lambda: replaced(b'"epoch": 2', b'"epoch": 2, "epoch": 3')),
    Case("manifest", "nan", "Damaged", "NaN", lambda: replaced(b'"epoch": 2', b'"epoch": NaN')),
    Case("manifest", "infinite", "Damaged", "too large",
         lambda: replaced(b'"epoch": 2', b'"epoch": 1e999')),
    Case("manifest", "control-character", "Damaged", "control characters",
         set_field("node", value="node\x1b[2J")),
    Case("manifest", "negative", "Damaged", "revision", set_field("revision", value=-1)),
    Case("manifest", "field-missing", "Damaged", "epoch", lambda: with_manifest(
         lambda tree: tree.pop("epoch"))),
    Case("manifest", "other-time", "Damaged", "not the time",
         set_field("created_at", value="2026-04-26T03:00:01Z")),
    Case("manifest", "format-2", "UnsupportedVersion", "format 2", set_field("format", value=2)),
    Case("manifest", "section-unknown", "UnsupportedVersion", "'rollouts'",
         set_field("sections", 3, "name", value="rollouts")),
    Case("manifest", "schema-2", "UnsupportedVersion", "schema version 2",
         set_field("sections", 1, "schema_version", value=2)),
    Case("manifest", "section-missing", "Damaged", "sections are", lambda: with_manifest(
         lambda tree: tree["sections"].pop(5))),
    Case("manifest", "section-twice", "Damaged", "sections are",
         set_field("sections", 2, "name", value="jobs")),
    Case("manifest", "chunk-size", "Damaged", "in chunks of",
         set_field("encryption", "chunk_bytes", value=2**30)),
    Case("manifest", "not-encrypted", "Damaged", "members are",
         set_field("encryption", value=None)),
    Case("sums", "section", "Damaged", "sections/02-jobs: sha256",
         lambda: changed("sections/02-jobs", lambda data: flipped(data, 3))),
    Case("sums", "manifest", "Damaged", "manifest.json: sha256",
         lambda: changed("manifest.json", lambda data: data.replace(b"vectors", b"victors"))),
    Case("sums", "line-missing", "Damaged", "SHA256SUMS",
         lambda: changed("SHA256SUMS", lambda data: data[: data.rindex(b"\n", 0, -1) + 1])),
    Case("key", "for-another", "WrongKey", "needs key", lambda: archive(OTHER_KEY)),
    Case("key", "wrapped-flipped", "Damaged", "keys.json: wrapped key", lambda: keys_with(
         "wrapped", "A" * 52 + "AA==")),
    Case("key", "of-another-archive", "Damaged", "does not belong",
         lambda: signed({**members_of(archive()), "keys.json": other_keys_json()},
                        file_key=OTHER_FILE_KEY)),
    Case("key", "check-changed", "Damaged", "does not belong",
         set_field("encryption", "key_check", value="0" * 64)),
    Case("key", "way-of-wrapping", "UnsupportedVersion", "X25519",
         lambda: keys_with("algorithm", "X25519")),
    Case("key", "no-slot", "Damaged", "no key",
         lambda: changed("keys.json", lambda _: b'{"keys": []}', sign=True)),
    Case("seal", "of-another-key", "Damaged", "SEAL",
         lambda: signed(members_of(archive()), file_key=OTHER_FILE_KEY)),
    Case("seal", "sums-made-anew", "Damaged", "SEAL", lambda: gzipped(tarred(
         {**members_of(changed("sections/02-jobs", lambda d: flipped(d, 3), sign=True)),
          "SEAL": members_of(archive())["SEAL"]}))),
    Case("chunk", "bit-flipped", "Damaged", "02-jobs: chunk 1 of 1",
         lambda: changed("sections/02-jobs", lambda data: flipped(data, 3), sign=True)),
    Case("chunk", "tag-cut", "Damaged", "02-jobs",
         lambda: changed("sections/02-jobs", lambda data: data[:-1], sign=True)),
    Case("chunk", "none", "Damaged", "02-jobs",
         lambda: changed("sections/02-jobs", lambda _: b"", sign=True)),
    Case("chunk", "sections-swapped", "Damaged", "chunk 1 of 1", swapped),
    Case("chunk", "from-another-archive", "Damaged", "02-jobs: chunk 1", from_other_archive),
    Case("chunk", "manifest-exchanged", "Damaged", "chunk 1 of 1", exchanged_manifest),
    Case("zstd", "no-frame", "Damaged", "zstd", jobs(b"this is no zstd frame")),
    Case("zstd", "empty", "Damaged", "zstd", jobs(b"")),
    Case("zstd", "bit-flipped", "Damaged", "02-jobs", jobs(flipped(frame(PLAIN), 20))),
    Case("zstd", "cut", "Damaged", "zstd: ends too early", jobs(frame(PLAIN)[:-1])),
    Case("zstd", "two-frames", "Damaged", "behind the frame", jobs(frame(PLAIN) + frame(b""))),
    Case("zstd", "byte-behind", "Damaged", "behind the frame", jobs(frame(PLAIN) + b"\0")),
    Case("zstd", "dictionary", "Damaged", "kind of frame", jobs(DICTIONARY_FRAME)),
    Case("zstd", "checksum", "Damaged", "kind of frame", jobs(frame(PLAIN, write_checksum=True))),
    Case("zstd", "window-128-mib", "Damaged", "zstd", jobs(LARGE_WINDOW_FRAME)),
    Case("zstd", "bomb", "Damaged", "02-jobs: record", jobs(bomb())),
    Case("records", "too-few", "Damaged", "3 records, the manifest says 4", jobs(frame(PLAIN), 4)),
    Case("records", "too-many", "Damaged", "more than the 2", jobs(frame(PLAIN), 2)),
    Case("records", "cut", "Damaged", "2 records", jobs(frame(PLAIN[:-1]))),
    Case("records", "no-pair", "Damaged", "not the pair", jobs(frame(b"\x91\xa1a"), 1)),
    Case("records", "row-is-text", "Damaged", "not a text and bytes",
         jobs(frame(b"\x92\xa1a\xa1b"), 1)),
    Case("records", "other-order", "Damaged", "in the order", jobs(frame(records(*JOBS[::-1])))),
    Case("records", "key-twice", "Damaged", "in the order",
         jobs(frame(records(JOBS[0], JOBS[0], JOBS[1])))),
    Case("records", "key-too-long", "Damaged", "not msgpack",
         jobs(frame(records(("k" * 5000, b""))), 1)),
    Case("digests", "other-row", "Damaged", "fingerprint",
         jobs(frame(records(*JOBS[:2], (JOBS[2][0], b"other"))))),
    Case("digests", "missing", "Damaged", "one fingerprint for each",
         digests(lambda rows: rows.pop("acl"), 6)),
    Case("digests", "unknown", "Damaged", "one fingerprint for each",
         digests(lambda rows: rows.update(more=bytes(32)), 8)),
    Case("digests", "short", "Damaged", "one fingerprint for each",
         digests(lambda rows: rows.update(acl=bytes(31)))),
)  # fmt: skip


def main() -> None:
    """Writes every archive that is not there yet; existing ones stay as they are."""
    made = {f"good-{what}.tar.gz": make for what, make in GOOD.items()}
    made |= {case.file_name: case.make for case in BAD}
    for name, make in made.items():
        path = FOLDER / name
        if not path.exists() or "--again" in sys.argv:
            path.write_bytes(make())
            print(name, file=sys.stderr)
    for stray in sorted({path.name for path in FOLDER.glob("*.tar.gz")} - made.keys()):
        print(f"no case makes {stray}", file=sys.stderr)


if __name__ == "__main__":
    main()
