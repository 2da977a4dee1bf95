"""Killed while it founds, joins or leaves, a node finds its folder empty or whole afterwards."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from heroctl_core.raft.fence import promise
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.header import Header
from heroctl_core.raft.log import Log
from heroctl_core.raft.membership import Configuration, MemberSpec
from heroctl_core.raft.port import Generation
from heroctl_core.raft.presence import Left

Work = Callable[[DataFolder], object]
OPERATIONS = ("fsync", "mkdir", "rename", "replace", "unlink", "link", "pwrite", "posix_fallocate")

HOST = Header(
    "c" * 32,
    "prod",
    (Generation(1, "first"), Generation(2, "second")),
    Configuration({"b" * 32: MemberSpec("node-2", "127.0.0.1:7102", voter=True)}),
    "restore",
    "2026-01-01T00:00:00Z",
)


def found(folder: DataFolder) -> Header:
    return folder.found("prod", {folder.member_id: ("node-1", "127.0.0.1:7101")})


def adopt(folder: DataFolder) -> Header:
    return folder.adopt(HOST.to_value())


def opened(path: Path) -> DataFolder:
    return DataFolder.open(path, node_name="node-1", cluster_name="prod")


def killed(path: Path, work: Work, at: int) -> bool:
    """Does `work` in a process of its own that is killed before file operation `at`; whether it
    was, or the work was done before."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = at

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return real(*args, **more)

        return call

    try:
        folder = opened(path)
        for name in OPERATIONS:
            setattr(os, name, counted(getattr(os, name)))
        work(folder)
    finally:
        os._exit(0)


@pytest.mark.parametrize("work", [found, adopt])
def test_killed_anywhere_the_folder_is_empty_or_whole(tmp_path: Path, work: Work) -> None:
    """The member id stays, and when the generation is not there yet the work can be done again."""
    ends = []
    for at in itertools.count():
        path = tmp_path / str(at)
        opened(path).close()
        was_killed = killed(path, work, at)
        folder = opened(path)
        member_id = folder.member_id
        ends.append((was_killed, folder.header is not None))
        if folder.header is None:
            work(folder)
        folder.close()
        again = opened(path)
        assert again.member_id == member_id
        assert again.header is not None
        log = Log.open(again.generation_folder / "log")
        assert log.last_index == 1
        log.close()
        again.close()
        if not was_killed:
            break  # there was no operation `at`: every one has been a place to die
    assert len(ends) > 15
    assert ends[0] == (True, False)
    assert (True, True) in ends  # killed after CURRENT, before the rest
    assert ends[-1] == (False, True)


def test_joining_again_replaces_what_a_killed_attempt_left(tmp_path: Path) -> None:
    """A generation's folder that CURRENT never named is no obstacle, whatever is in it."""
    path = tmp_path / "data"
    folder = opened(path)
    left = folder.generations / HOST.folder_name
    (left / "log").mkdir(parents=True)
    (left / "log" / "rubbish").write_bytes(b"half")
    assert adopt(folder).origin == "join"
    assert sorted(p.name for p in left.iterdir()) == ["dumps", "header.json", "log"]
    folder.close()


def leave(folder: DataFolder) -> None:
    """What Standing does with the folder when a node leaves for HOST's generation, and joins it."""
    mark = {"generation": 2, "restore_id": "second", "member_id": folder.member_id}
    folder.set_mark("left", mark)
    folder.quarantine_generation()
    folder.adopt(HOST.to_value())


def test_killed_anywhere_in_leaving_a_node_goes_on_from_there(tmp_path: Path) -> None:
    """Before the mark it is the old member with its data; from then on the next start leaves, with
    another member id, and its data is in quarantine, once and whole."""
    ends = set()
    for at in itertools.count():
        path = tmp_path / str(at)
        folder = opened(path)
        old = found(folder)
        old_id = folder.member_id
        evidence = folder.generation_folder / "log" / "evidence"
        evidence.write_bytes(b"old data")
        folder.close()
        was_killed = killed(path, leave, at)
        folder = opened(path)
        if folder.header == old:
            ends.add("stayed")
            assert folder.member_id == old_id and evidence.exists()
            leave(folder)
        else:
            ends.add("left" if folder.header is None else "joined")
        assert folder.member_id != old_id
        assert folder.left_marks() == ((old_id, "second"),)
        if folder.header is None:
            assert promise(folder) == Left(old.restore_id, "second")
            folder.adopt(HOST.to_value())
        assert folder.header is not None and folder.header.restore_id == "second"
        (away,) = (path / "quarantine").iterdir()
        assert (away / "log" / "evidence").read_bytes() == b"old data"
        folder.close()
        if not was_killed:
            break
    assert at > 25
    assert ends == {"stayed", "left", "joined"}
