"""Saving and opening an archive, as the parts around it see it."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import resource
import stat
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from heroctl_core.codec import shard_of
from heroctl_core.crypto.keys import BackupKey
from heroctl_core.errors import (
    Damaged,
    FileFault,
    NoKey,
    NotAnArchive,
    UsageError,
    WrongKey,
)
from heroctl_core.snapshot.archive import Section, open_archive, outline
from heroctl_core.snapshot.manifest import ManifestHeader

if TYPE_CHECKING:
    from conftest import Workshop

OTHER = BackupKey(bytes(32), source="other.key")


def left_behind(workshop: Workshop) -> list[str]:
    """What is in the folder beside the key, and in the spool."""
    found = [path for path in workshop.folder.rglob("*") if path.is_file()]
    return sorted(path.name for path in found if path.name != "backup.key")


def test_what_was_saved_comes_back(workshop: Workshop) -> None:
    """Every row of every section, and what the manifest says of them."""
    saved = workshop.save()
    with open_archive(workshop.target, [OTHER, workshop.key]) as archive:
        for kind in workshop.tables:
            assert list(archive.records(kind)) == workshop.rows(kind)
            assert archive.manifest.records(kind) == len(workshop.rows(kind))
        assert archive.manifest == saved.manifest
        assert archive.audit_head() == b""


def test_the_digest_and_size_are_those_of_the_file(workshop: Workshop) -> None:
    """What is printed and pinned is what sha256sum and ls show; the file is private."""
    saved = workshop.save()
    data = workshop.target.read_bytes()
    assert (saved.size_bytes, saved.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert stat.S_IMODE(workshop.target.stat().st_mode) == 0o600
    assert left_behind(workshop) == ["snap.tar.gz"]


def test_an_outline_needs_no_key(workshop: Workshop) -> None:
    """Cluster, counts, key ids, digest and size can be seen by everybody."""
    saved = workshop.save()
    seen = outline(workshop.target)
    assert seen.manifest == outline(workshop.target).manifest == saved.manifest
    assert seen.manifest.header.cluster_name == "prod"
    assert seen.manifest.header.created_at == "2026-04-26T03:00:00Z"
    assert seen.key_ids == (workshop.key.key_id,)
    assert (seen.sha256, seen.size_bytes) == (saved.sha256, saved.size_bytes)


def test_equal_state_gives_equal_plain_bytes(workshop: Workshop) -> None:
    """With the file key given, two saves are byte for byte the same; without, no two are."""
    once, again = io.BytesIO(), io.BytesIO()
    workshop.save(once, file_key=bytes(32))
    workshop.save(again, file_key=bytes(32))
    assert once.getvalue() == again.getvalue()
    assert workshop.save(io.BytesIO()).sha256 != workshop.save(io.BytesIO()).sha256


def test_a_stream_gets_the_whole_archive(workshop: Workshop) -> None:
    """`-` is stdout: the same bytes, after they were verified."""
    out = io.BytesIO()
    saved = workshop.save(out)
    assert hashlib.sha256(out.getvalue()).hexdigest() == saved.sha256
    assert left_behind(workshop) == []


def test_a_descriptor_can_be_read(workshop: Workshop) -> None:
    """From wherever its position is; it stays open and stays there."""
    workshop.save()
    with workshop.target.open("rb") as file:
        file.seek(100)
        with open_archive(file.fileno(), [workshop.key]) as archive:
            assert list(archive.records("jobs")) == workshop.rows("jobs")
        assert file.tell() == 100


def test_fingerprints_may_be_left_to_the_writer(workshop: Workshop) -> None:
    """Lists need no count, and the fingerprint is then made while writing."""
    workshop.save(sections=[Section(kind, 1, workshop.rows(kind)) for kind in workshop.tables])
    with open_archive(workshop.target, [workshop.key]) as archive:
        archive.verify()


def test_extensions_and_the_audit_head(workshop: Workshop) -> None:
    """Sections of embedding services follow the standard ones, sorted by name."""
    more = [Section("ext-a", 7, []), Section("ext-b", 1, [("k", b"v")])]
    workshop.save(sections=workshop.sections() + more, audit_head=b"head")
    with open_archive(workshop.target, [workshop.key]) as archive:
        assert list(archive.records("ext-b")) == [("k", b"v")]
        assert archive.manifest.sections[-2].schema_version == 7
        assert archive.audit_head() == b"head"
        with pytest.raises(UsageError, match="no section ext-c"):
            list(archive.records("ext-c"))


@pytest.mark.parametrize(
    "choose",
    [
        lambda sections: sections[:-1],
        lambda sections: sections[::-1],
        lambda sections: [*sections, sections[0]],
        lambda sections: [*sections, Section("rollouts", 1, [])],
        lambda sections: [*sections, Section("ext-b", 1, []), Section("ext-a", 1, [])],
        lambda sections: [*sections, Section("ext-a", 1, []), Section("ext-a", 1, [])],
        lambda sections: [*sections, Section("ext-../x", 1, [])],
        lambda sections: [*sections, Section("digests", 1, [])],
        lambda sections: [*sections, Section("ext-a", 0, [])],
        lambda sections: [*sections, Section("ext-a", 1, iter([]))],
    ],
)
def test_sections_that_no_reader_takes_are_not_written(
    workshop: Workshop, choose: Callable[[list[Section]], list[Section]]
) -> None:
    """Missing, twice, in another order, unknown, or without a count."""
    with pytest.raises(UsageError):
        workshop.save(sections=choose(workshop.sections()))
    assert left_behind(workshop) == []


@pytest.mark.parametrize("wrong", [199, 201])
def test_a_wrong_count_is_not_written(workshop: Workshop, wrong: int) -> None:
    """The manifest would lie."""
    sections = workshop.sections()
    sections[1] = Section("jobs", 1, workshop.rows("jobs"), wrong)
    with pytest.raises(UsageError, match=f"200 records, announced were {wrong}"):
        workshop.save(sections=sections)
    assert left_behind(workshop) == []


def test_a_wrong_fingerprint_is_found_while_saving(workshop: Workshop) -> None:
    """Reading back compares every row with the fingerprint that the state kept: a defect there
    is found now and not on the day of the restore."""
    sections = workshop.sections()
    sections[1] = Section("jobs", 1, workshop.rows("jobs"), 200, 12345)
    with pytest.raises(Damaged, match="fingerprint"):
        workshop.save(sections=sections)
    assert left_behind(workshop) == []


def test_rows_out_of_order_are_found_while_saving(workshop: Workshop) -> None:
    """A reader would refuse them."""
    sections = workshop.sections()
    sections[1] = Section("jobs", 1, workshop.rows("jobs")[::-1])
    with pytest.raises(Damaged, match="order"):
        workshop.save(sections=sections)


def test_checks_see_every_record_that_was_read_back(workshop: Workshop) -> None:
    """The caller opens each sealed value once; its error ends the save and nothing stays."""
    seen = []
    workshop.save(checks={"secrets": lambda key, row: seen.append((key, row))})
    assert seen == workshop.rows("secrets")

    def refuse(key: str, row: bytes) -> None:
        raise Damaged(f"secret {key}: tag mismatch")

    workshop.target.unlink()
    with pytest.raises(Damaged, match="secret secrets/one"):
        workshop.save(checks={"secrets": refuse})
    assert left_behind(workshop) == []


@pytest.mark.parametrize(("key_bytes", "row_bytes"), [(4096, 0), (1, 2**20)])
def test_the_longest_record(workshop: Workshop, key_bytes: int, row_bytes: int) -> None:
    """A key of 4 KiB and a row of 1 MiB can be saved; one byte more is found while saving."""
    record = ("k" * key_bytes, bytes(row_bytes))
    workshop.save(sections=[*workshop.sections(), Section("ext-a", 1, [record])])
    with open_archive(workshop.target, [workshop.key]) as archive:
        assert list(archive.records("ext-a")) == [record]
    longer = ("k" * (key_bytes + (not row_bytes)), bytes(row_bytes + bool(row_bytes)))
    with pytest.raises(Damaged, match="09-ext-a: record 1"):
        workshop.save(
            sections=[*workshop.sections(), Section("ext-a", 1, [longer])], overwrite=True
        )
    outline(workshop.target)


def test_other_threads_get_a_turn_while_rows_are_written_and_read_back(workshop: Workshop) -> None:
    """`pause` is called every thousand rows on the way out, and again on the way back."""
    keys = sorted((f"k{i:05d}" for i in range(4096)), key=lambda key: (shard_of(key), key))
    sections = [s for s in workshop.sections() if s.name != "jobs"]
    taken: list[str] = []
    done = [0]  # rows that the writer has taken, at each pause

    def rows() -> Iterator[tuple[str, bytes]]:
        for key in keys:
            taken.append(key)
            yield key, os.urandom(256)

    sections.insert(1, Section("jobs", 1, rows(), len(keys)))
    workshop.save(sections=sections, pause=lambda: done.append(len(taken)))
    assert max(after - before for before, after in pairwise(done)) <= 1024
    assert done.count(len(keys)) > 9  # reading back: at each section, and within a long one


def test_an_existing_file_needs_the_word(workshop: Workshop) -> None:
    """Without overwrite it stays as it is."""
    workshop.target.write_bytes(b"old")
    with pytest.raises(UsageError, match="exists already"):
        workshop.save()
    assert workshop.target.read_bytes() == b"old"
    workshop.save(overwrite=True)
    outline(workshop.target)
    assert left_behind(workshop) == ["snap.tar.gz"]


@pytest.mark.parametrize("limit", [100, 5_000, 12_000])
def test_a_disk_that_is_full(workshop: Workshop, limit: int) -> None:
    """Wherever it happens, the error names a path, nothing is left, and an old file stays."""
    workshop.target.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(FileFault, match=str(workshop.folder)):
            workshop.save(overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert workshop.target.read_bytes() == b"old"
    assert left_behind(workshop) == ["snap.tar.gz"]


def test_a_stream_that_breaks(workshop: Workshop) -> None:
    """The error names the stream, not the spool."""

    class Broken(io.BytesIO):
        name = "<stdout>"

        def write(self, data: Any) -> int:
            raise OSError(errno.EPIPE, "Broken pipe")

    with pytest.raises(FileFault, match="<stdout>: broken pipe"):
        workshop.save(Broken())


def test_rows_that_fail_leave_nothing(workshop: Workshop) -> None:
    """An error of the caller's rows comes through as it is."""

    def rows() -> Iterator[tuple[str, bytes]]:
        yield "job-1", b"x"
        raise RuntimeError("view is gone")

    sections = workshop.sections()
    sections[1] = Section("jobs", 1, rows(), 2)
    with pytest.raises(RuntimeError, match="view is gone"):
        workshop.save(sections=sections)
    assert left_behind(workshop) == []


def test_no_key_means_no_archive(workshop: Workshop) -> None:
    """Without a key nothing is written in the clear by accident."""
    with pytest.raises(NoKey, match="not asked for"):
        workshop.save(key=None)
    with pytest.raises(UsageError, match="not both"):
        workshop.save(unencrypted=True)
    assert left_behind(workshop) == []


def test_an_unencrypted_archive_needs_the_word_twice(workshop: Workshop) -> None:
    """On writing and on reading."""
    workshop.save(key=None, unencrypted=True)
    with pytest.raises(NoKey, match="not encrypted") as caught:
        open_archive(workshop.target, [workshop.key])
    assert "--unencrypted" in str(caught.value.hint)
    with open_archive(workshop.target, [], allow_unencrypted=True) as archive:
        assert list(archive.records("jobs")) == workshop.rows("jobs")
    assert outline(workshop.target).key_ids == ()


def test_a_wrong_key_names_both_sides(workshop: Workshop) -> None:
    """Which ids the archive needs and which the files have; without a key, which it needs."""
    workshop.save()
    with pytest.raises(WrongKey, match=rf"{workshop.key.key_id}.*{OTHER.key_id} \(other\.key\)"):
        open_archive(workshop.target, [OTHER])
    with pytest.raises(NoKey, match=workshop.key.key_id):
        open_archive(workshop.target, [])


@pytest.mark.parametrize("keys", [[], [OTHER]])
def test_damage_is_found_before_the_key_is_blamed(
    workshop: Workshop, keys: list[BackupKey]
) -> None:
    """A wrong key of a damaged archive is told as damage."""
    workshop.save()
    data = bytearray(workshop.target.read_bytes())
    data[-3000] ^= 1
    workshop.target.write_bytes(data)
    with pytest.raises(Damaged):
        open_archive(workshop.target, keys)


def test_what_is_no_file(workshop: Workshop) -> None:
    """A folder, a pipe and nothing at all; none of them is waited for."""
    os.mkfifo(workshop.folder / "pipe")
    for name in ("spool", "pipe"):
        with pytest.raises(NotAnArchive, match="not a regular file"):
            outline(workshop.folder / name)
    with pytest.raises(FileFault, match=r"missing\.tar\.gz: no such file"):
        outline(workshop.folder / "missing.tar.gz")


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_file_that_changes_after_it_was_verified(workshop: Workshop, encrypted: bool) -> None:
    """Not one record of the changed bytes is given out, also when nothing else would show it."""
    noise = os.urandom(20_000)  # stands in the file as it is: zstd cannot compress it
    workshop.tables["jobs"].put("noise", noise)
    workshop.save(**{} if encrypted else {"key": None, "unencrypted": True})
    with open_archive(workshop.target, [workshop.key], allow_unencrypted=True) as archive:
        archive.verify()
        data = bytearray(workshop.target.read_bytes())
        at = data.index(b"sections/03-secrets") - 5000
        assert encrypted or data[at : at + 100] in noise
        data[at] ^= 1
        workshop.target.write_bytes(data)
        with pytest.raises(Damaged, match="02-jobs"):
            next(archive.records("jobs"))
        os.truncate(workshop.target, 2000)
        with pytest.raises(Damaged, match="changed while it was read"):
            next(archive.records("secrets"))


def test_a_replaced_file_is_not_seen(workshop: Workshop) -> None:
    """Everything comes from the one descriptor that was verified."""
    workshop.save()
    with open_archive(workshop.target, [workshop.key]) as archive:
        archive.verify()
        os.replace(workshop.folder / "backup.key", workshop.target)
        assert list(archive.records("jobs")) == workshop.rows("jobs")


def test_sections_of_many_chunks(workshop: Workshop) -> None:
    """Several MiB that cannot be compressed; the last chunk cannot be cut off."""
    rows = [(f"k{i}", os.urandom(190 * 1024)) for i in range(20)]
    for key, row in rows:
        workshop.tables["metrics"].put(key, row)
    workshop.save(key=None, unencrypted=True)
    workshop.save(overwrite=True)
    with open_archive(workshop.target, [workshop.key]) as archive:
        assert list(archive.records("metrics")) == workshop.rows("metrics")
        assert sum(len(row) for _, row in rows) > 3 * 2**20


def test_memory_stays_bounded(workshop: Workshop) -> None:
    """Saving and verifying 64 MiB of rows takes a few MiB."""
    keys = sorted((f"k{i:03d}" for i in range(512)), key=lambda key: (shard_of(key), key))
    large = ((key, os.urandom(64) * 2048) for key in keys)
    sections = [s for s in workshop.sections() if s.name != "jobs"]
    sections.insert(1, Section("jobs", 1, large, len(keys)))
    tracemalloc.start()
    try:
        workshop.save(sections=sections)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 * 2**20


@pytest.mark.parametrize(
    "change",
    [
        {"cluster_name": "x" * 5000},
        {"cluster_name": "a\x1b[2Jb"},
        {"revision": -1},
        {"revision": 2**63},
        {"created_ms": -1},
        {"created_ms": 8**11 * 1000},
        {"lineage": ((0, "x"),)},
        {"node": "\ud800"},
    ],
)
def test_a_header_that_no_reader_takes_is_not_written(
    workshop: Workshop, make_header: Callable[..., ManifestHeader], change: dict[str, Any]
) -> None:
    """The refusal names the field."""
    with pytest.raises(UsageError, match="cannot be saved"):
        workshop.save(header=make_header(**change))
    assert left_behind(workshop) == []


@pytest.mark.parametrize("level", [0, 20])
def test_a_level_of_compression_that_does_not_exist(
    workshop: Workshop, make_header: Callable[..., ManifestHeader], level: int
) -> None:
    """Levels above 19 need more memory than readers give."""
    with pytest.raises(UsageError, match=f"level {level}"):
        workshop.save(header=make_header(compression_level=level))


def test_a_spool_that_is_not_there(workshop: Workshop) -> None:
    """The error names the spool folder."""
    workshop.spool.rmdir()
    with pytest.raises(FileFault, match="spool: no such file"):
        workshop.save()
    assert left_behind(workshop) == []


def test_a_target_without_a_folder(workshop: Workshop) -> None:
    """The error names the target."""
    with pytest.raises(FileFault, match=r"no/snap\.tar\.gz: no such file"):
        workshop.save(Path(workshop.folder / "no" / "snap.tar.gz"))
