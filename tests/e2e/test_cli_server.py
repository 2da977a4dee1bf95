"""`heroctl server` as a process: first start, shutdown, refusals, and what systemd is told."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heroctl_core.testing.local_cluster import LocalCluster, LocalNode

WAIT_S = 30


def environment(**more: str) -> dict[str, str]:
    """The environment of a child that finds this source tree, and no shell's HEROCTL_*."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HEROCTL_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def heroctl(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
    """One command line, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "heroctl_cli", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
    )


def server(node: LocalNode, *words: str) -> subprocess.CompletedProcess[str]:
    """A server that is expected to end by itself."""
    return heroctl("server", "--config", node.config_file, *words)


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[LocalCluster]:
    """One node, not yet started."""
    with LocalCluster(tmp_path / "lone", size=1) as cluster:
        yield cluster


def test_an_empty_folder_needs_the_word(lone: LocalCluster) -> None:
    """A lost disk looks like a first start: a lone server founds a cluster only when told to."""
    node = lone.nodes["node-1"]
    done = server(node)
    assert done.returncode == 2 and "--bootstrap" in done.stderr
    lone.start(bootstrap=True)
    lone.wait_ready()
    assert lone.status("node-1")["generation"] == 1


def test_what_was_written_is_there_after_stop_and_kill(lone: LocalCluster) -> None:
    """SIGTERM ends it with 0; SIGKILL loses nothing that was acknowledged."""
    lone.start(bootstrap=True)
    lone.wait_ready()
    with lone.nodes["node-1"].client() as client:
        client.write("PUT", "/v1/jobs/a", {"spec": {"n": 1}})
    assert lone.stop() == {"node-1": 0}
    assert not lone.nodes["node-1"].socket.exists()
    lone.start()
    lone.wait_ready()
    with lone.nodes["node-1"].client() as client:
        client.write("PUT", "/v1/secrets/b", {"value": "x"})
    lone.kill()
    lone.start()
    lone.wait_ready()
    with lone.nodes["node-1"].client() as client:
        assert client.get("/v1/jobs/a").body["spec"] == {"n": 1}
        assert client.get("/v1/secrets/b").body["value"] == "x"


def test_a_folder_in_use_is_refused(lone: LocalCluster) -> None:
    """Exit code 13, and the process that has it is named."""
    lone.start(bootstrap=True)
    lone.wait_ready()
    node = lone.nodes["node-1"]
    done = server(node)
    assert done.returncode == 13, done.stderr
    assert node.process is not None and str(node.process.pid) in done.stderr


def test_a_wrong_configuration_ends_with_every_mistake(lone: LocalCluster) -> None:
    """Exit code 2 before anything is opened."""
    node = lone.nodes["node-1"]
    node.config_file.write_text("cluster: {nmae: x}\nraft: {listen: '0.0.0.0:7101'}\n")
    done = server(node, "--bootstrap")
    assert done.returncode == 2 and done.stdout == ""
    assert "server.yaml:1:11: cluster.nmae" in done.stderr
    assert "server.yaml:2:16: raft.listen" in done.stderr and "needs TLS" in done.stderr
    assert not node.data_dir.exists()


@pytest.mark.parametrize(
    ("content", "mode", "code"),
    [("", 0o600, 8), ("c2hvcnQ=", 0o600, 8), (None, 0o600, 8), ("x", 0o644, 2)],
)
def test_a_key_that_cannot_be_used_is_refused(
    lone: LocalCluster, content: str | None, mode: int, code: int
) -> None:
    """Empty, of a wrong length, missing, readable by others: named, and no key is shown."""
    lone.key_file.unlink()
    if content is not None:
        lone.key_file.write_text(content)
        lone.key_file.chmod(mode)
    done = server(lone.nodes["node-1"], "--bootstrap")
    assert done.returncode == code, done.stderr
    assert str(lone.key_file) in done.stderr


def test_with_another_key_a_server_stops_itself(lone: LocalCluster) -> None:
    """Exit code 8, on which systemd does not restart it; both key ids, no key is shown."""
    lone.start(bootstrap=True)
    lone.wait_ready()
    node = lone.nodes["node-1"]
    with node.client() as client:
        client.write("PUT", "/v1/secrets/b", {"value": "x"})
    lone.stop()
    ids = [heroctl("key", "id", lone.key_file).stdout.strip()]
    lone.key_file.unlink()
    heroctl("key", "generate", lone.key_file)
    ids.append(heroctl("key", "id", lone.key_file).stdout.strip())
    lone.start()
    assert node.process is not None and node.process.wait(20) == 8
    said = node.log_file.read_text()
    assert all(key_id in said for key_id in ids), said
    assert lone.key_file.read_text().strip() not in said


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(
    lone: LocalCluster, tmp_path: Path
) -> None:
    """READY=1 once clients are answered, STOPPING=1 on SIGTERM; logs are single lines."""
    node = lone.nodes["node-1"]
    name = f"\0heroctl-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(WAIT_S)
        process = subprocess.Popen(
            [sys.executable, "-m", "heroctl_cli", "server", "--bootstrap"],
            env=environment(NOTIFY_SOCKET="@" + name[1:], HEROCTL_CONFIG=str(node.config_file)),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert manager.recv(100) == b"READY=1"
            with node.client() as client:
                assert client.get("/livez").body == {"status": "ok"}
            assert stat.S_IMODE(node.socket.stat().st_mode) == 0o600
            process.send_signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            out, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, out) == (0, b"")
    assert all(line[:2] == b"20" for line in err.splitlines()), err
