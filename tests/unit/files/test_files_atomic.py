"""A file appears whole or not at all, and private files are private."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heroctl_core.errors import Busy, FileFault, UsageError
from heroctl_core.files import (
    AtomicFile,
    faults,
    fsync_dir,
    give_to_owner,
    read_private,
    write_atomic,
)


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """The system refuses writes beyond this size: a real disk error without being root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_bytes_and_mode(tmp_path: Path) -> None:
    """Content and mode are as asked whatever the umask is, and no other file stays."""
    before = os.umask(0o777)
    try:
        write_atomic(tmp_path / "a", b"one")
        write_atomic(tmp_path / "b", b"two", mode=0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"one"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o644
    assert names(tmp_path) == ["a", "b"]


def test_a_file_is_not_there_before_the_block_ends(tmp_path: Path) -> None:
    """A reader sees the old content until the new one is complete."""
    path = tmp_path / "a"
    write_atomic(path, b"old")
    with AtomicFile(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_an_error_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """The partial file goes away and the old one stays."""
    path = tmp_path / "a"
    write_atomic(path, b"old")
    with pytest.raises(RuntimeError), AtomicFile(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_disk_that_refuses_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """A failed write is a FileFault that names the file; nothing of it stays."""
    path = tmp_path / "a"
    write_atomic(path, b"old")
    with file_size_limit(1000), pytest.raises(FileFault, match=str(path)):
        write_atomic(path, bytes(2000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_an_existing_file_is_refused(tmp_path: Path) -> None:
    """Without overwrite the existing file stays, and the hint says how to replace it."""
    path = tmp_path / "a"
    write_atomic(path, b"old", overwrite=False)
    with pytest.raises(UsageError, match="exists already") as caught:
        write_atomic(path, b"new", overwrite=False)
    assert "--overwrite" in str(caught.value.hint)
    assert path.read_bytes() == b"old"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """Without overwrite also a file stays that was made while ours was being written."""
    path = tmp_path / "a"
    with pytest.raises(UsageError), AtomicFile(path, overwrite=False) as file:
        file.write(b"ours")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a"]


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    """A partial file that nobody writes any more does not stop the next writer."""
    (tmp_path / "a.partial").write_bytes(b"half a file")
    write_atomic(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert names(tmp_path) == ["a"]


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    """The second one is told that somebody writes, and the first one completes."""
    path = tmp_path / "a"
    with AtomicFile(path) as file:
        file.write(b"first")
        with pytest.raises(Busy, match="a"), AtomicFile(path):
            pytest.fail("both write")
    assert path.read_bytes() == b"first"


def test_a_partial_file_that_was_exchanged(tmp_path: Path) -> None:
    """Somebody else's file under our partial name is neither published nor dropped."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(Busy), AtomicFile(path) as file:
        file.write(b"ours")
        file.partial.unlink()
        file.partial.write_bytes(b"theirs")
    assert path.read_bytes() == b"old"
    assert (tmp_path / "a.partial").read_bytes() == b"theirs"


def test_a_link_put_there_is_not_followed(tmp_path: Path) -> None:
    """NAME.partial and NAME as links (in /tmp) do not lead us to another file."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "a.partial").symlink_to(victim)
    (tmp_path / "a").symlink_to(victim)
    write_atomic(tmp_path / "a", b"ours")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"ours"


@pytest.mark.parametrize("name", ["missing/a", "file/a"])
def test_a_folder_that_is_not_there(tmp_path: Path, name: str) -> None:
    """The message names the path."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileFault, match=name):
        write_atomic(tmp_path / name, b"")


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    """A folder is not replaced by a file."""
    with pytest.raises(UsageError, match="is a folder"):
        write_atomic(tmp_path, b"")


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_path_without_a_name(path: str) -> None:
    """An empty variable in a script ends with words, not with a traceback."""
    with pytest.raises(UsageError, match="names no file"):
        write_atomic(path, b"")


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_device_or_pipe_in_place_of_the_file(tmp_path: Path, *, overwrite: bool) -> None:
    """`--overwrite /dev/null` as root must not take the device away from all other programs."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(UsageError, match=f"{name} is not a regular file"):
            write_atomic(tmp_path / name, b"x", overwrite=overwrite)
    assert names(tmp_path) == ["link", "pipe"]
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_a_private_file_is_read(tmp_path: Path) -> None:
    """A file of mode 0600 or 0400 comes back whole."""
    path = tmp_path / "key"
    write_atomic(path, b"x" * 10)
    assert read_private(path, max_bytes=10) == b"x" * 10
    path.chmod(0o400)
    assert read_private(path, max_bytes=10) == b"x" * 10


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The message names the mode, the hint the command that mends it."""
    path = tmp_path / "key"
    write_atomic(path, b"x", mode=mode)
    with pytest.raises(FileFault, match=f"{mode:04o}") as caught:
        read_private(path, max_bytes=10)
    assert caught.value.hint == f"chmod 600 {path}"
    assert read_private(path, max_bytes=10, any_mode=True) == b"x"


def test_a_private_file_has_a_largest_size(tmp_path: Path) -> None:
    """One byte too many is refused."""
    write_atomic(tmp_path / "key", b"x" * 11)
    with pytest.raises(FileFault, match="more than 10 bytes"):
        read_private(tmp_path / "key", max_bytes=10)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe does not make us wait for ever, a folder is no file, and neither is nothing."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(FileFault, match="not a regular file"):
        read_private(tmp_path / "pipe", max_bytes=10)
    with pytest.raises(FileFault):
        read_private(tmp_path, max_bytes=10)
    with pytest.raises(FileFault, match="no such file"):
        read_private(tmp_path / "missing", max_bytes=10)


def test_a_fault_says_what_to_do(tmp_path: Path) -> None:
    """A full disk has a hint, and the cause stays."""
    with (
        pytest.raises(FileFault, match=r"disk\.tar\.gz: no space left") as caught,
        faults("disk.tar.gz"),
    ):
        raise OSError(28, "No space left on device")
    assert "free some space" in str(caught.value.hint)
    assert isinstance(caught.value.__cause__, OSError)


def test_fsync_of_a_missing_folder(tmp_path: Path) -> None:
    """It is a fault, not silence."""
    with pytest.raises(FileFault, match="missing"):
        fsync_dir(tmp_path / "missing")


def test_only_root_gives_files_away(tmp_path: Path) -> None:
    """Run by root everything below belongs to the owner of the folder, but not a file that has a
    second name elsewhere and not what a link points at; run by others nothing changes."""
    like, outside = tmp_path / "like", tmp_path / "outside"
    made = tmp_path / "made"
    for folder in (like, outside, made, made / "deep"):
        folder.mkdir()
    write_atomic(made / "deep" / "file", b"")
    write_atomic(outside / "file", b"")
    (made / "link").symlink_to(outside / "file")
    os.link(outside / "file", made / "second-name")
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(like, 1234, 1235)
    give_to_owner(made, like)
    expected = (1234, 1235) if is_root else (os.geteuid(), os.getegid())
    for path in (made, made / "deep", made / "deep" / "file"):
        assert (path.stat().st_uid, path.stat().st_gid) == expected
    assert (outside / "file").stat().st_uid == os.geteuid()
