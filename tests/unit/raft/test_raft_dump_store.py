"""The dumps folder beside the loop: writing, sending, receiving, loading, forgetting."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heroctl_core.errors import FileFault
from heroctl_core.raft import dump_store, dump_transfer
from heroctl_core.raft.dump import load_dump
from heroctl_core.raft.dump_store import DiskDumps
from heroctl_core.raft.install import Loaded, LoadFailed
from heroctl_core.raft.membership import Configuration, MemberSpec
from heroctl_core.raft.port import Generation
from heroctl_core.raft.records import DumpRef
from heroctl_core.state.commands import Envelope, PutJob, encode
from heroctl_core.state.machine import StateMachine
from heroctl_core.state.outcome import Stamp

LINEAGE = (Generation(1, "abcdefgh12345678"),)
MEMBERS = Configuration({"a" * 32: MemberSpec("node-1", "127.0.0.1:7101", voter=True)})
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
DEADLINE_S = 10


def machine_with(jobs: int) -> StateMachine:
    machine = StateMachine()
    for n in range(jobs):
        command = PutJob(f"job-{n}", b"\x80", {}, None)
        envelope = Envelope(n.to_bytes(16), 10**12, "root", "test", command)
        machine.apply(encode(envelope), Stamp(n + 2, 10**12))
    return machine


class Node:
    """A dumps folder and the event that its threads set."""

    def __init__(self, folder: Path, lineage: tuple[Generation, ...] = LINEAGE) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.woken = threading.Event()
        self.dumps = DiskDumps(folder, lineage, self.woken.set)

    def begin(self, index: int, jobs: int = 3) -> None:
        self.woken.clear()
        self.dumps.begin(index, 1, MEMBERS, machine_with(jobs))

    def written(self, index: int, jobs: int = 3) -> DumpRef:
        self.begin(index, jobs)
        assert self.woken.wait(DEADLINE_S)
        ref = self.dumps.poll_written()
        assert ref is not None
        return ref

    def load(self, ref: DumpRef, data: bytes) -> Loaded | LoadFailed:
        sink = self.dumps.sink(ref, len(data))
        for at in range(0, len(data), 100):
            sink.write(data[at : at + 100])
        self.woken.clear()
        self.dumps.load(ref, sink)
        assert self.woken.wait(DEADLINE_S)
        loaded = self.dumps.poll_loaded()
        assert loaded is not None
        assert self.dumps.poll_loaded() is None
        return loaded

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "dumps")
    yield node
    node.dumps.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "other")
    yield node
    node.dumps.close()


def bytes_of(node: Node, ref: DumpRef) -> bytes:
    source = node.dumps.source(ref)
    pieces = [source.read(at, 64) for at in range(0, source.size, 64)]
    source.close()
    source.close()
    return b"".join(pieces)


def test_written_beside_the_loop(node: Node) -> None:
    """A dump is begun, is busy, wakes the loop and is handed out once."""
    assert not node.dumps.busy
    node.begin(7)
    assert node.dumps.busy
    assert node.woken.wait(DEADLINE_S)
    ref = node.dumps.poll_written()
    assert ref is not None
    assert ref.index == 7
    assert (node.dumps.busy, node.dumps.poll_written()) == (False, None)
    loaded = node.dumps.read(ref)
    assert loaded.configuration == MEMBERS
    assert loaded.machine.count("jobs") == 3


def test_full_disk_is_told_and_passes(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump for which there is no space leaves nothing; the next one may fit."""

    def full(*_: object, **__: object) -> DumpRef:
        raise FileFault("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(dump_store, "write_dump", full)
        node.begin(7)
        assert node.woken.wait(DEADLINE_S)
        assert node.dumps.poll_written() is None
    assert (node.dumps.busy, node.dumps.write_error) == (False, "no space left on device")
    node.written(8)
    assert node.dumps.write_error is None


def test_defect_while_writing_reaches_the_loop(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no matter of the disk is raised where the engine sees it."""

    def broken(*_: object, **__: object) -> DumpRef:
        raise ZeroDivisionError

    monkeypatch.setattr(dump_store, "write_dump", broken)
    node.begin(7)
    assert node.woken.wait(DEADLINE_S)
    with pytest.raises(ZeroDivisionError):
        node.dumps.poll_written()


def test_transfer(node: Node, other: Node) -> None:
    """A dump that travels in pieces is verified, loaded and then under its own name."""
    ref = node.written(7, jobs=20)
    loaded = other.load(ref, bytes_of(node, ref))
    assert isinstance(loaded, Loaded)
    assert (loaded.ref, loaded.configuration) == (ref, MEMBERS)
    assert loaded.machine.fingerprint("jobs") == machine_with(20).fingerprint("jobs")
    assert other.names() == [ref.name]
    assert other.dumps.read(ref).machine.count("jobs") == 20


def test_received_dump_is_durable_before_it_has_its_name(
    node: Node, other: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log may name the dump as soon as it is loaded, so its bytes are synced before."""
    ref = node.written(7)
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(fd: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        fsync(fd)

    def noted_rename(source: object, target: object) -> None:
        done.append("rename")
        rename(str(source), str(target))

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    assert isinstance(other.load(ref, (node.folder / ref.name).read_bytes()), Loaded)
    assert done == [ref.name + ".incoming", "rename", "other"]


def test_source_outlives_its_file(node: Node) -> None:
    """A dump that is forgotten while it is being sent can be sent to its end."""
    ref = node.written(7)
    source = node.dumps.source(ref)
    whole = (node.folder / ref.name).read_bytes()
    (node.folder / ref.name).unlink()
    assert source.read(0, source.size) == whole
    source.close()


@pytest.mark.parametrize("spoil", ["flip", "short", "other lineage"])
def test_spoiled_transfer_is_refused(node: Node, tmp_path: Path, spoil: str) -> None:
    """A dump that arrives damaged, cut or from a foreign generation is never handed out."""
    lineage = (*LINEAGE, Generation(2, "zzzz")) if spoil == "other lineage" else LINEAGE
    receiver = Node(tmp_path / "receiver", lineage)
    ref = node.written(7)
    data = bytearray(bytes_of(node, ref))
    if spoil == "flip":
        data[-30] ^= 1
    if spoil == "short":
        del data[-1]
    loaded = receiver.load(ref, bytes(data))
    assert isinstance(loaded, LoadFailed)
    assert ref.name in loaded.reason
    receiver.dumps.close()


def test_no_space_for_a_transfer(node: Node, other: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk too full for a dump does not stop the node: the load fails and says why."""
    ref = node.written(7)
    data = bytes_of(node, ref)

    def full(*_: object) -> None:
        raise NO_SPACE

    with monkeypatch.context() as patch:
        patch.setattr(dump_transfer, "_write_all", full)
        loaded = other.load(ref, data)
    assert isinstance(loaded, LoadFailed)
    assert "no space left" in loaded.reason
    assert other.names() == []
    assert isinstance(other.load(ref, data), Loaded)


@pytest.mark.parametrize("name", ["../../CURRENT", "1-abc-7-1.dump/x", "/etc/passwd", ""])
def test_name_that_leaves_the_folder(node: Node, name: str) -> None:
    """The name comes from another node: only names of dumps are taken."""
    with pytest.raises(ValueError, match="is no name of a dump"):
        node.dumps.sink(DumpRef(7, 1, "0" * 64, name), 10)


def test_abandoned_transfer_leaves_nothing(node: Node, other: Node) -> None:
    """A transfer that is given up removes what had arrived."""
    ref = node.written(7)
    sink = other.dumps.sink(ref, 1000)
    sink.write(b"half")
    assert other.names() == [ref.name + ".incoming"]
    sink.abort()
    assert other.names() == []


def test_older_dumps_are_forgotten(node: Node, other: Node) -> None:
    """Only the named dump stays, and what is still being received or loaded."""
    refs = [node.written(index) for index in (5, 6, 7)]
    sink = node.dumps.sink(DumpRef(9, 1, "0" * 64, "1-abcdefgh-9-1.dump"), 10)
    node.dumps.forget_but(refs[1])
    node.dumps.close()
    assert node.names() == [refs[1].name, "1-abcdefgh-9-1.dump.incoming"]
    sink.abort()


def test_a_dump_that_is_being_loaded_is_not_forgotten(
    node: Node, other: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the arrival of a dump and its installation an own dump may be done: it must not take
    the file away that the log is about to name."""
    ref, own = node.written(9), other.written(5)
    gate, arrived = threading.Event(), threading.Event()
    real = load_dump

    def slow(*args: object, **more: object) -> object:
        arrived.set()
        assert gate.wait(DEADLINE_S)
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(dump_store, "load_dump", slow)
    data = bytes_of(node, ref)
    sink = other.dumps.sink(ref, len(data))
    sink.write(data)
    other.woken.clear()
    other.dumps.load(ref, sink)
    assert arrived.wait(DEADLINE_S)
    other.dumps.forget_but(own)
    gate.set()
    assert other.woken.wait(DEADLINE_S)
    assert isinstance(other.dumps.poll_loaded(), Loaded)
    other.dumps.close()
    assert other.names() == [own.name, ref.name]


def test_close_ends_a_running_dump(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait for a long dump: it ends at its next pause and leaves no file."""
    gate, began = threading.Event(), threading.Event()

    def pause(seconds: float) -> None:
        began.set()
        assert gate.wait(DEADLINE_S)

    monkeypatch.setattr(time, "sleep", pause)
    node.begin(7, jobs=2000)
    assert began.wait(DEADLINE_S)
    closing = threading.Thread(target=node.dumps.close)
    closing.start()
    while not node.dumps._closing:
        os.sched_yield()
    gate.set()
    closing.join(DEADLINE_S)
    assert not closing.is_alive()
    assert node.names() == []


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    """A new start removes half written and half received files, and no dump."""
    folder = tmp_path / "dumps"
    folder.mkdir()
    for name in ("1-a-5-1.dump", "1-a-6-1.dump.partial", "1-a-7-1.dump.incoming"):
        (folder / name).write_bytes(b"x")
    node = Node(folder)
    assert node.names() == ["1-a-5-1.dump"]
    node.dumps.close()


def test_files_of_others_stay(tmp_path: Path) -> None:
    """At a start and when old dumps go: somebody may have put a link in the place of the folder."""
    others = ["notes", "shop.dump", "shop.dump.partial", "x.incoming"]
    for name in others:
        (tmp_path / name).write_text("precious")
    node = Node(tmp_path)
    node.dumps.forget_but(node.written(5))
    node.dumps.forget_but(node.written(6))
    node.dumps.close()
    assert set(others) < set(node.names())
