"""Unix sockets: private from the start, any length of path, dead names replaced."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from heroctl_core import local_socket
from heroctl_core.errors import Busy, FileFault


def test_a_listener_is_private_and_knows_its_caller(tmp_path: Path) -> None:
    """Mode 600 whatever the umask is, and the caller's user id from the kernel."""
    path = tmp_path / "a.sock"
    old = os.umask(0)
    try:
        listener = local_socket.listen(path)
    finally:
        os.umask(old)
    with listener, local_socket.connect(path, 1.0):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        accepted, _ = listener.accept()
        with accepted:
            assert local_socket.peer_uid(accepted) == os.getuid()


def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    """The kernel's 107 bytes are no limit of ours."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    path = folder / "a.sock"
    with local_socket.listen(path) as listener, local_socket.connect(path, 1.0) as there:
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(b"hello")
            assert there.recv(5) == b"hello"


def test_the_name_of_a_dead_listener_is_replaced(tmp_path: Path) -> None:
    """A killed node leaves its name behind; the next one must be able to start."""
    path = tmp_path / "a.sock"
    local_socket.listen(path).close()
    assert path.exists()
    with local_socket.listen(path), local_socket.connect(path, 1.0):
        pass


def test_the_name_of_a_living_listener_is_kept(tmp_path: Path) -> None:
    """Two nodes with one socket: the second one says so."""
    path = tmp_path / "a.sock"
    with local_socket.listen(path):
        with pytest.raises(Busy, match="another node answers"):
            local_socket.listen(path)
        local_socket.connect(path, 1.0).close()


def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    """Only sockets are ever removed."""
    path = tmp_path / "a.sock"
    path.write_text("mine")
    with pytest.raises(FileFault, match="in the way"):
        local_socket.listen(path)
    assert path.read_text() == "mine"


def test_only_the_own_name_is_removed(tmp_path: Path) -> None:
    """A node that stops late must not take the name of the node that followed it."""
    path = tmp_path / "a.sock"
    with local_socket.listen(path):
        local_socket.remove(path, path.stat().st_ino + 1)
        assert path.exists()
        local_socket.remove(path, path.stat().st_ino)
        assert not path.exists()
    local_socket.remove(path, 1)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message has the path."""
    with pytest.raises(FileFault, match="nowhere"):
        local_socket.listen(tmp_path / "nowhere" / "a.sock")
