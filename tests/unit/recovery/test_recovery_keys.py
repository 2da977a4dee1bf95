"""Which key a restored node opens its secrets with, and what it says when it has none."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from stopped_nodes import KEY, OTHER_KEY, StoppedNode, job, opened_secret

from heroctl_cli.local import Here
from heroctl_core import offline
from heroctl_core.config.model import Backup, Config, Node
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import BackupKey, generate_key_file
from heroctl_core.errors import NoKey, WrongKey
from heroctl_core.offline import Local, Options


def key_file(path: Path, key: BackupKey) -> Path:
    """A key file that holds the key of these tests."""
    letter = b"k" if key == KEY else b"o"
    path.write_bytes(b64encode(letter * 32) + b"\n")
    path.chmod(0o600)
    return path


def restored(archive: Path, local: Local) -> None:
    with offline.open_restore(archive, local, Options(), probe=lambda _: []) as opened:
        opened.execute()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Of a cluster with a secret."""
    return StoppedNode(tmp_path / "source").begin().fill().save(tmp_path / "snap.tar.gz")


def test_an_embedded_node_makes_no_key_beside_sealed_secrets(tmp_path: Path, archive: Path) -> None:
    """Restored with a backup key and opened without: the error names the key that is needed and
    where to give it, nothing is written, and with the key it opens."""
    path = tmp_path / "node"
    restored(archive, Local(path, [KEY], cluster_name="heroctl"))
    for _ in range(2):
        with pytest.raises(NoKey, match=f"need key {KEY.key_id}, and no key was given") as caught:
            ControlPlane.open(data_dir=path)
        for place in ("key_file=", "backup.encryption_key_file", f"{path}/cluster.key"):
            assert place in str(caught.value.hint)
        assert not (path / "cluster.key").exists()
    wrong = key_file(tmp_path / "other.key", OTHER_KEY)
    with pytest.raises(WrongKey, match=KEY.key_id):
        ControlPlane.open(data_dir=path, key_file=wrong)
    right = key_file(tmp_path / "right.key", KEY)
    with ControlPlane.open(data_dir=path, key_file=right) as plane:
        assert plane.secrets.get("db-password").value == b"hunter2"
    key_file(path / "cluster.key", KEY)
    with ControlPlane.open(data_dir=path) as plane:
        assert plane.secrets.get("db-password").value == b"hunter2"


def test_without_secrets_a_new_key_does_no_harm(tmp_path: Path) -> None:
    """A generation that never had a secret is sealed under nothing: the node makes its key."""
    node = StoppedNode(tmp_path / "source", voters=1).begin()
    node.write(job("web", 1))
    path = tmp_path / "node"
    restored(node.save(tmp_path / "snap"), Local(path, [KEY], cluster_name="heroctl"))
    with ControlPlane.open(data_dir=path) as plane:
        plane.secrets.put("later", b"x")
    assert (path / "cluster.key").exists()


def test_a_key_left_over_does_not_wrap_what_the_server_opens(tmp_path: Path, archive: Path) -> None:
    """Where the configuration has a backup key the node opens with that one; a cluster.key of an
    earlier life of the folder must not be the one that the restore wraps with."""
    path = tmp_path / "node"
    path.mkdir(mode=0o700)
    generate_key_file(path / "cluster.key")
    own = key_file(tmp_path / "backup.key", KEY)
    config = Config(node=Node(data_dir=path), backup=Backup(encryption_key_file=(own,)))
    restored(archive, Here(path, (own,), config).stopped())
    assert opened_secret(StoppedNode(path).view(), KEY) == b"hunter2"
