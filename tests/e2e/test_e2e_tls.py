"""Three real servers that talk over TLS, with certificates of `heroctl tls`."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heroctl_core.errors import HeroctlError
from heroctl_core.testing.fuzz import attack_port
from heroctl_core.testing.local_cluster import LocalCluster

NODES = ("node-1", "node-2", "node-3")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes with TLS that are ready."""
    with LocalCluster(tmp_path / "cluster", name="prod", tls=True) as three:
        three.start()
        three.wait_ready()
        yield three


def heroctl(*arguments: object) -> subprocess.CompletedProcess[str]:
    """One command line in a process of its own."""
    command = [sys.executable, "-m", "heroctl_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def renew(cluster: LocalCluster, folder: Path, name: str, ca: Path) -> None:
    """A new certificate of a node takes the place of the old one, by rename."""
    issued = heroctl("tls", "issue", "--node", name, "--ca", ca, "--out", folder / name)
    assert issued.returncode == 0, issued.stderr
    for suffix in ("key", "crt"):
        (folder / name / f"{name}.{suffix}").replace(cluster.tls_dir / f"{name}.{suffix}")


def shown_by(cluster: LocalCluster, name: str) -> str:
    """Until when the certificate is valid that a node shows to the others."""
    shown: str = cluster.status(name)["tls"]["certificate_expires"]
    return shown


class Writer:
    """Writes without a pause through all nodes; `failed` are the writes that were not taken."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self.written = 0
        self.failed: list[HeroctlError] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        clients = [node.client() for node in self._cluster.nodes.values()]
        while not self._stop.is_set():
            job = {"spec": {"image": "shop/web:1", "replicas": self.written % 9 + 1}}
            try:
                clients[self.written % 3].write("PUT", "/v1/jobs/web", job)
                self.written += 1
            except HeroctlError as error:
                self.failed.append(error)


def test_certificates_are_replaced_without_a_restart(cluster: LocalCluster, tmp_path: Path) -> None:
    """Certificates, then the authority, while writes go on: none fails, nobody is started anew, and
    a node that comes back afterwards is let in by the new authority alone."""
    with Writer(cluster) as writer:
        before = {name: shown_by(cluster, name) for name in NODES}
        cluster.wait(lambda: writer.written > 20, "writes")
        new = tmp_path / "new-authority"
        assert heroctl("tls", "init", "--cluster", "prod", "--out", new).returncode == 0
        both = (cluster.tls_dir / "ca.crt").read_bytes() + (new / "ca.crt").read_bytes()
        (tmp_path / "both.crt").write_bytes(both)
        (tmp_path / "both.crt").replace(cluster.tls_dir / "ca.crt")
        for name in NODES:
            renew(cluster, tmp_path / "issued", name, new)
        cluster.wait(
            lambda: all(shown_by(cluster, name) != before[name] for name in NODES), "new files"
        )
        at = writer.written
        cluster.wait(lambda: writer.written > at + 20, "more writes")
    assert writer.failed == []
    shutil.copy(new / "ca.crt", tmp_path / "only.crt")
    (tmp_path / "only.crt").replace(cluster.tls_dir / "ca.crt")
    cluster.stop("node-3")
    cluster.start("node-3")
    cluster.wait_ready("node-3")
    cluster.wait(lambda: cluster.status("node-1")["mode"] == "NORMAL", "all are connected")


def test_a_broken_new_certificate_changes_nothing(cluster: LocalCluster) -> None:
    """The old one stays in use, and status says what is wrong with the new one."""
    before = shown_by(cluster, "node-2")
    (cluster.tls_dir / "broken").write_text("no certificate\n")
    (cluster.tls_dir / "broken").replace(cluster.tls_dir / "node-2.crt")

    def warned() -> bool:
        warnings: list[str] = cluster.status("node-2")["warnings"]
        return any("the new TLS files are not used" in warning for warning in warnings)

    cluster.wait(warned, "a warning")
    assert shown_by(cluster, "node-2") == before
    assert cluster.status("node-2")["mode"] == "NORMAL"


def test_a_node_with_another_authority_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    """It stays out, both ends say why, and the two others serve."""
    cluster.stop("node-3")
    foreign = tmp_path / "foreign"
    for arguments in (
        ["init", "--cluster", "prod"],
        ["issue", "--node", "node-3", "--ca", foreign],
    ):
        assert heroctl("tls", *arguments, "--out", foreign).returncode == 0
    config = json.loads(cluster.nodes["node-3"].config_file.read_bytes())
    config["tls"] = {
        "ca_file": str(foreign / "ca.crt"),
        "cert_file": str(foreign / "node-3.crt"),
        "key_file": str(foreign / "node-3.key"),
    }
    cluster.nodes["node-3"].config_file.write_text(json.dumps(config))
    cluster.start("node-3")

    def warnings(name: str) -> str:
        return "\n".join(cluster.status(name)["warnings"])

    cluster.wait(lambda: "certificate" in warnings("node-3"), "a warning of the stranger")
    cluster.wait(lambda: "certificate" in warnings("node-1"), "a warning of the others")
    assert cluster.status("node-3")["mode"] in ("STARTING", "READ_ONLY")
    with cluster.nodes["node-1"].client() as client:
        client.write("PUT", "/v1/jobs/web", {"spec": {"image": "shop/web:1"}})


WRONG: dict[str, tuple[str, str]] = {
    "missing": ("cert_file", "no such file"),
    "another key": ("key_file", "is not the key of"),
    "another node": ("both", "is that of node node-2"),
    "readable by others": ("mode", "can be read"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path: Path, wrong: str) -> None:
    """`heroctl server` ends with 2 and names the file, before anything is made."""
    what, said = WRONG[wrong]
    three = LocalCluster(tmp_path / "cluster", name="prod", tls=True)
    node = three.nodes["node-1"]
    config: dict[str, Any] = json.loads(node.config_file.read_bytes())
    files = config["tls"]
    if what == "cert_file":
        files["cert_file"] = str(tmp_path / "nothing.crt")
    if what in ("key_file", "both"):
        files["key_file"] = str(three.tls_dir / "node-2.key")
    if what == "both":
        files["cert_file"] = str(three.tls_dir / "node-2.crt")
    if what == "mode":
        os.chmod(files["key_file"], 0o644)
    node.config_file.write_text(json.dumps(config))
    ended = heroctl("server", "--config", node.config_file)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr


def test_strangers_change_nothing(cluster: LocalCluster) -> None:
    """Some hundred connections with rubbish in the place of a handshake: the node keeps neither
    memory nor descriptors, its state stays as it is, and the cluster serves. scripts/fuzz is the
    long form."""
    seed = random.SystemRandom().randrange(2**32)
    report = attack_port(cluster, "node-2", 300, seed)
    assert report["cut_off"] > 50, (seed, report)
    assert report["writes_meanwhile"] > 0, (seed, report)


def test_the_port_speaks_nothing_but_tls_1_3(cluster: LocalCluster) -> None:
    """An older TLS is refused, and a client without a certificate gets no word."""
    host, _, port = cluster.nodes["node-1"].raft.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain) as tls,
        pytest.raises(OSError, match="certificate required"),
    ):
        assert tls.version() == "TLSv1.3"
        tls.recv(1)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"),
    ):
        context.wrap_socket(plain)
