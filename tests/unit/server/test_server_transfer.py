"""Snapshots and restores stream: with a digest, through the spool, which is empty afterwards."""

from __future__ import annotations

import io
import json
import os
import resource
from hashlib import sha256
from pathlib import Path

import pytest
from test_server_api import raw

from heroctl_core.errors import CommandRejected, Damaged, FileFault, RecoveryError
from heroctl_core.snapshot.archive import open_archive
from heroctl_core.testing.memory_node import KEY, ServedNode


def spool(served: ServedNode) -> list[str]:
    """What is left in the spool."""
    return [path.name for path in served.node.spool_dir.iterdir()]


def test_a_snapshot_arrives_whole_with_its_counts(served: ServedNode, tmp_path: Path) -> None:
    """Digest and size are those of the bytes; the counts are what the guide's lines print."""
    rule = {"resource": "*", "name": "*", "actions": ["read"]}
    served.node.acl.put_policy("readers", [rule, rule])
    served.node.secrets.put("db", b"hunter2")
    for i in range(30):  # of a few chunks of the archive
        served.node.jobs.put(f"j{i}", {"blob": os.urandom(80_000).hex()})
    path = tmp_path / "snap.tar.gz"
    with path.open("wb") as sink:
        received = served.client().download("/v1/snapshot", None, sink)
    content = path.read_bytes()
    assert received.size_bytes == len(content) > 2_000_000
    assert received.sha256 == sha256(content).hexdigest()
    assert received.summary["counts"] == {"jobs": 30, "secrets": 1, "acl_rules": 2, "nodes": 0}
    assert received.summary["stale"] is False
    with open_archive(path, [KEY]) as archive:
        assert len(list(archive.records("jobs"))) == 30
    assert spool(served) == []


def test_a_snapshot_is_taken_without_a_quorum(served: ServedNode) -> None:
    """It is marked stale."""
    served.node.replicator.go_read_only()
    received = served.client().download("/v1/snapshot", None, io.BytesIO())
    assert received.summary["stale"] is True


def test_a_snapshot_needs_its_right(served: ServedNode) -> None:
    """save on snapshot; the spool stays empty."""
    client = served.client(served.token({"resource": "job", "name": "*", "actions": ["*"]}))
    with pytest.raises(CommandRejected, match="may not save snapshot"):
        client.download("/v1/snapshot", None, io.BytesIO())
    assert spool(served) == []


def test_a_changed_byte_on_the_way_is_seen(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client compares what came with the node's digest."""
    from heroctl_core.server import wire

    monkeypatch.setattr(wire, "repr_digest", lambda _: "sha-256=:AAAA:")
    with pytest.raises(Damaged, match="digest") as caught:
        served.client().download("/v1/snapshot", None, io.BytesIO())
    assert caught.value.exit_code == 7


def test_a_forced_bootstrap_gets_the_archive_whole(served: ServedNode) -> None:
    """Over the socket, while there is no quorum; options arrive, the spool is empty afterwards."""
    served.node.replicator.go_read_only()
    archive = b"0123456789abcdef" * 200_000
    query = {
        "dry_run": True,
        "confirm_cluster": "prod",
        "expect_sha256": None,
        "archive_name": "/mnt/ü",
    }
    report = served.client().upload("/v1/restore", query, io.BytesIO(archive), len(archive)).body
    assert report == {"sha256": sha256(archive).hexdigest(), "dry_run": True}
    (done,) = served.node.lifecycle.reports
    assert (done.options.confirm_cluster, done.options.expect_sha256) == ("prod", None)
    assert done.options.archive_name == "/mnt/ü"
    assert spool(served) == []


def test_a_node_with_a_quorum_refuses_a_forced_bootstrap(served: ServedNode) -> None:
    """Nothing overrides a serving quorum: exit code 9 and what to use instead."""
    with pytest.raises(RecoveryError, match="has a quorum") as caught:
        served.client().upload("/v1/restore", {}, io.BytesIO(b"x"), 1)
    assert caught.value.exit_code == 9 and caught.value.hint
    assert spool(served) == []


def test_a_token_cannot_force_a_bootstrap(served: ServedNode) -> None:
    """Whatever its policies say: it is a matter of the operator on that machine."""
    served.node.replicator.go_normal()
    token = served.token()
    status, _, body = raw(
        served, "POST", "/v1/restore", b"archive", Authorization=f"Bearer {token}"
    )
    assert status == 403 and json.loads(body)["reason"] == "denied"
    assert served.node.lifecycle.reports == []


@pytest.mark.parametrize("what", ["resume", "yield"])
def test_a_token_decides_nothing_about_generations(served: ServedNode, what: str) -> None:
    """That too is for the operator on the machine, who gets the node's refusal (exit code 9)."""
    body = {"to": "node-2", "confirm_cluster": "memory"} if what == "yield" else {}
    tcp = served.client(served.token())
    with pytest.raises(CommandRejected) as denied:
        tcp.write("POST", f"/v1/cluster/{what}", body, retry=False)
    assert denied.value.reason == "denied"
    with pytest.raises(RecoveryError) as refused:
        served.client().write("POST", f"/v1/cluster/{what}", body, retry=False)
    assert refused.value.exit_code == 9


def test_an_archive_that_does_not_fit_is_told(served: ServedNode) -> None:
    """A full disk, or no spool: the answer says what the system said and where; nothing stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(FileFault, match="upload: file too large"):
            served.client().upload("/v1/restore", {}, io.BytesIO(bytes(3 << 20)), 3 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert spool(served) == []
    served.node.spool_dir = served.node.spool_dir / "gone"
    with pytest.raises(FileFault, match="gone: no such file"):
        served.client().download("/v1/snapshot", None, io.BytesIO())
