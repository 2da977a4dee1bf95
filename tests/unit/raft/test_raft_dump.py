"""Dumps: what comes back, and what is refused."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from heroctl_core import limits
from heroctl_core.errors import Damaged, FileFault, UnsupportedVersion
from heroctl_core.raft import dump_format
from heroctl_core.raft.dump import (
    dump_name,
    is_dump_name,
    load_dump,
    read_header,
    write_dump,
)
from heroctl_core.raft.port import Generation
from heroctl_core.raft.records import DumpRef
from heroctl_core.state.commands import Envelope, PutJob, PutSecret, encode
from heroctl_core.state.machine import StateMachine
from heroctl_core.state.outcome import Applied, Stamp

LINEAGE = (Generation(1, "aaaabbbbccccdddd"), Generation(2, "1234567890abcdef"))
T0 = 1_780_000_000_000


def no_pause() -> None:
    """Tests have no other thread to be kind to."""


def machine_with(jobs: int, *, size: int = 50) -> StateMachine:
    machine = StateMachine()
    for n in range(jobs):
        spec = b"\x81\xa5image" + b"\xda" + size.to_bytes(2) + b"x" * size
        put(machine, n + 1, PutJob(f"job-{n}", spec, {}, None))
    put(machine, jobs + 1, PutSecret("password", b"sealed bytes", {}, None))
    return machine


def put(machine: StateMachine, number: int, command: PutJob | PutSecret) -> None:
    envelope = Envelope(number.to_bytes(16), T0 + number, "root", "test", command)
    outcome = machine.apply(encode(envelope), Stamp(number + 1, T0 + number))
    assert isinstance(outcome, Applied), outcome


def written(folder: Path, machine: StateMachine, *, index: int = 9, term: int = 3) -> DumpRef:
    return write_dump(
        folder,
        lineage=LINEAGE,
        index=index,
        term=term,
        configuration=b"the configuration",
        state=machine.dump(),
        pause=no_pause,
    )


def test_name_of_a_dump() -> None:
    """The name says generation, restore id, index and term, and is told from any other."""
    name = dump_name(LINEAGE, 9, 3)
    assert name == "2-12345678-9-3.dump"
    assert is_dump_name(name)
    for wrong in ("../2-12345678-9-3.dump", "2-12345678-9-3.dump.partial", "", "a/b", "x.dump"):
        assert not is_dump_name(wrong)


@pytest.mark.parametrize(("jobs", "size"), [(0, 1), (3, 50), (700, 5000)])
def test_what_was_dumped_comes_back(tmp_path: Path, jobs: int, size: int) -> None:
    """A loaded dump is the same state: rows, counters, fingerprints and the request table."""
    machine = machine_with(jobs, size=size)
    ref = written(tmp_path, machine)
    assert (ref.index, ref.term, ref.name) == (9, 3, "2-12345678-9-3.dump")
    assert ref.sha256 == hashlib.sha256((tmp_path / ref.name).read_bytes()).hexdigest()
    loaded = load_dump(tmp_path, ref, LINEAGE, pause=no_pause)
    copy = loaded.machine
    assert list(copy.view().rows()) == list(machine.view().rows())
    assert (copy.revision, copy.epoch, copy.time_ms) == (
        machine.revision,
        machine.epoch,
        machine.time_ms,
    )
    assert copy.dump().request_bytes() == machine.dump().request_bytes()
    assert loaded.header.configuration == b"the configuration"
    assert loaded.header == read_header(tmp_path, ref, LINEAGE)


def test_big_dump_is_in_short_frames(tmp_path: Path) -> None:
    """No frame is much above a mebibyte, so reading needs little memory beyond the rows."""
    ref = written(tmp_path, machine_with(700, size=5000))
    longest: list[int] = []
    with (tmp_path / ref.name).open("rb") as file:

        def read(length: int) -> bytes:
            longest.append(length)
            return file.read(length)

        reader = dump_format.DumpReader(read, "x", no_pause)
        reader.requests()
        assert sum(1 for _ in reader.rows()) == 701
    assert sum(longest) > limits.MIB
    assert max(longest) < limits.MIB + limits.ROW_BYTES


def test_other_threads_get_their_turn(tmp_path: Path) -> None:
    """Writing pauses at least every 500 rows."""
    pauses: list[int] = []
    write_dump(
        tmp_path,
        lineage=LINEAGE,
        index=2,
        term=1,
        configuration=b"",
        state=machine_with(5000, size=1).dump(),
        pause=lambda: pauses.append(1),
    )
    assert len(pauses) > 2 * 5000 / 500


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    """Whatever byte of the file changes, the dump is refused with its name."""
    ref = written(tmp_path, machine_with(2))
    path = tmp_path / ref.name
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(Damaged, match=r"2-12345678-9-3\.dump: its sha256 is"):
            load_dump(tmp_path, ref, LINEAGE, pause=no_pause)


def refer(path: Path, ref: DumpRef) -> DumpRef:
    """The reference that a changed file needs so that only its content is wrong."""
    return replace(ref, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_every_truncation_is_found_without_the_digest_too(tmp_path: Path) -> None:
    """The format itself tells where a file ends too early."""
    ref = written(tmp_path, machine_with(2))
    path = tmp_path / ref.name
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(Damaged):
            load_dump(tmp_path, refer(path, ref), LINEAGE, pause=no_pause)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda whole: whole[:-20] + b"\x99" + whole[-19:], "checksum mismatch"),
        (lambda whole: whole + b"\0", "something follows the end"),
        (lambda whole: b"SQLite format 3\0" + whole, "is no dump"),
        (lambda whole: b"", "the file ends 13 bytes too early"),
        (lambda whole: whole[:13] + b"\xff" * 8, "a frame of 4294967295 bytes"),
        (lambda whole: whole[:13] + bytes(8), "there is no header"),
    ],
)
def test_bad_content_with_a_good_digest(tmp_path: Path, change: object, words: str) -> None:
    """A file that its writer spoiled is refused by the part that is wrong."""
    assert callable(change)
    ref = written(tmp_path, machine_with(2))
    path = tmp_path / ref.name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(Damaged, match=words):
        load_dump(tmp_path, refer(path, ref), LINEAGE, pause=no_pause)


def test_rows_that_do_not_fit_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dump whose rows are not the state's never gets its name."""
    machine = machine_with(3)
    state = machine.dump()
    rows = state.view.tables["jobs"]
    object.__setattr__(rows, "fingerprint", rows.fingerprint + 1)
    with pytest.raises(Damaged, match="the fingerprint of jobs does not match"):
        write_dump(
            tmp_path,
            lineage=LINEAGE,
            index=9,
            term=3,
            configuration=b"",
            state=state,
            pause=no_pause,
        )
    assert list(tmp_path.iterdir()) == []
    object.__setattr__(rows, "fingerprint", rows.fingerprint - 1)
    object.__setattr__(rows, "count", rows.count + 1)
    with pytest.raises(Damaged, match="3 rows in jobs, the header says 4"):
        write_dump(
            tmp_path,
            lineage=LINEAGE,
            index=9,
            term=3,
            configuration=b"",
            state=state,
            pause=no_pause,
        )


def test_what_the_disk_changed_is_found_before_the_dump_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dump that reads back differently is removed, and the older one stays."""
    old = written(tmp_path, machine_with(1), index=5)
    real = os.pread

    def spoiled(fd: int, length: int, offset: int) -> bytes:
        data = real(fd, length, offset)
        return data[:-1] + bytes([data[-1] ^ 1]) if offset == 0 and data else data

    monkeypatch.setattr(os, "pread", spoiled)
    with pytest.raises(Damaged, match="its sha256 is"):
        written(tmp_path, machine_with(2))
    assert [path.name for path in tmp_path.iterdir()] == [old.name]


@pytest.mark.parametrize(
    ("ref", "lineage", "words"),
    [
        ({"index": 8}, LINEAGE, "it is of index 9 term 3, not 8 and 3"),
        ({"term": 4}, LINEAGE, "it is of index 9 term 3, not 9 and 4"),
        ({}, LINEAGE[:1], "is of another generation"),
        ({}, (*LINEAGE[:1], Generation(2, "ffff")), "is of another generation"),
        ({"sha256": "0" * 64}, LINEAGE, "the log says 0000000000000000"),
        ({"name": "2-12345678-10-3.dump"}, LINEAGE, "is missing, and the log needs it"),
    ],
)
def test_dump_of_another_place(
    tmp_path: Path, ref: dict[str, object], lineage: tuple[Generation, ...], words: str
) -> None:
    """A good dump under the wrong reference is refused; the hint has the ways out."""
    good = written(tmp_path, machine_with(1))
    with pytest.raises(Damaged, match=words) as caught:
        load_dump(tmp_path, replace(good, **ref), lineage, pause=no_pause)  # type: ignore[arg-type]
    assert "rejoin as a new member" in str(caught.value.hint)


def test_newer_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump of a newer release is refused with both numbers."""
    with monkeypatch.context() as newer:
        newer.setattr(dump_format, "_pack_header", lambda header: {"format": 2})
        with pytest.raises(UnsupportedVersion, match="dump format 2, this release reads up to 1"):
            written(tmp_path, machine_with(1))


def test_unwritable_folder(tmp_path: Path) -> None:
    """A dump that cannot be written is a file error that names it."""
    with pytest.raises(FileFault, match=r"2-12345678-9-3\.dump"):
        written(tmp_path / "nothing", machine_with(1))
