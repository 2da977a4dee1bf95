"""One process at a time in a data folder, on a disk whose locks can be trusted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heroctl_core.errors import Busy, FileFault
from heroctl_core.files import lock_dir, require_local_disk
from heroctl_core.mounts import NETWORK_FILE_SYSTEMS, file_system

HOLDER = """
import sys
from heroctl_core.files import lock_dir
lock = lock_dir(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""

MOUNTS = """\
/dev/vda / ext4 rw 0 0
proc /proc proc rw 0 0
server:/x /srv nfs4 rw 0 0
/dev/vdb /srv/fast xfs rw 0 0
me@host: /home/me/far fuse.sshfs rw 0 0
/dev/vdc /with\\040space ext4 rw 0 0
//server/x /with\\040space/share cifs rw 0 0
/dev/vdd /twice ext4 rw 0 0
share /twice 9p rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/heroctl", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/heroctl", "nfs4"),
        ("/srv/fast/heroctl", "xfs"),
        ("/srv/faster", "nfs4"),
        ("/home/me/far/x", "fuse.sshfs"),
        ("/home/me/farther", "ext4"),
        ("/with space/x", "ext4"),
        ("/with space/share/x", "cifs"),
        ("/twice/x", "9p"),
    ],
)
def test_the_deepest_and_latest_mount_counts(path: str, kind: str) -> None:
    """A path is on the mount whose point is its longest parent; the last one of equals."""
    assert file_system(Path(path), MOUNTS) == kind


def test_network_file_systems_are_known() -> None:
    """Those that people put data folders on by mistake."""
    assert {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"} <= NETWORK_FILE_SYSTEMS
    assert not {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"} & NETWORK_FILE_SYSTEMS


def test_a_local_disk_is_accepted(tmp_path: Path) -> None:
    """The folder of the tests is on one, so a lock there is given and visible."""
    require_local_disk(tmp_path)
    with lock_dir(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"{os.getpid()} ")


def test_the_second_lock_names_the_first(tmp_path: Path) -> None:
    """Busy says which program and which process has the folder."""
    with lock_dir(tmp_path), pytest.raises(Busy, match=rf"in use by \S+ \(pid {os.getpid()}\)"):
        lock_dir(tmp_path)
    lock_dir(tmp_path).release()


def test_a_lock_is_given_free_once(tmp_path: Path) -> None:
    """A second release does not take the folder from its next owner."""
    first = lock_dir(tmp_path)
    first.release()
    with lock_dir(tmp_path):
        first.release()
        with pytest.raises(Busy):
            lock_dir(tmp_path)


def test_a_killed_process_gives_its_lock_free(tmp_path: Path) -> None:
    """Another process holds the folder until it ends, also by SIGKILL; the file it leaves behind
    stops nobody."""
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(Busy, match=f"pid {process.pid}"):
            lock_dir(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    lock_dir(tmp_path).release()


def test_a_package_that_holds_the_lock_is_named(tmp_path: Path) -> None:
    """`python -m service` is the service, not its __main__.py."""
    package = tmp_path / "service"
    package.mkdir()
    (package / "__main__.py").write_text(HOLDER)
    (tmp_path / "data").mkdir()
    arguments = [sys.executable, "-m", "service", str(tmp_path / "data")]
    with subprocess.Popen(
        arguments, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(Busy, match=rf"in use by service \(pid {process.pid}\)"):
            lock_dir(tmp_path / "data")
        process.kill()


def test_a_missing_folder_cannot_be_locked(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(FileFault, match="missing/lock"):
        lock_dir(tmp_path / "missing")


def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    """The lock file of a folder is not somewhere else."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileFault):
        lock_dir(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
