"""Real nodes in their own processes, and workloads that run inside a node's process."""

from __future__ import annotations

import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.filled import CLUSTER, fill_folders
from heroctl_core.client import Client
from heroctl_core.config.model import Api, Backup, Cluster, Config, Node, Raft, Tls
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto import pki
from heroctl_core.crypto.keys import generate_key_file
from heroctl_core.errors import HeroctlError

T = TypeVar("T")
Workload = Callable[[ControlPlane], dict[str, Any]]
TIMEOUT_S: Final = 900


def in_new_process(work: Callable[..., T], *arguments: Any) -> T:
    """What `work` gave in a fresh Python process; a module's function, so that it can go there."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result(TIMEOUT_S)


def _told(results: Any) -> tuple[str, dict[str, Any]]:
    """The leader's name and figures; RuntimeError with what went wrong in a node's process."""
    result = results.get(timeout=TIMEOUT_S)
    if isinstance(result, str):
        raise RuntimeError(result)
    name, figures = result
    return name, figures


def run_on_leader(
    workload: Workload,
    *,
    size: int = 3,
    rows: int = 0,
    tls: bool = False,
    outside: Callable[[Path], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """What `workload` gave, run in the process of the leader of a fresh cluster on loopback.

    With `rows` the nodes hold so many jobs of 256 bytes before they start. `outside` runs in this
    process after it, with the leader's unix socket; its figures are added.
    """
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    done = context.Event()
    with tempfile.TemporaryDirectory(prefix="heroctl-bench-") as folder:
        configs = _configs(Path(folder), size, tls=tls)
        if rows:
            in_new_process(
                _fill, [(c.node.name, c.node.data_dir, c.raft.listen) for c in configs],
                Path(folder, "key"), rows,
            )  # fmt: skip
        nodes = [
            context.Process(target=_node, args=(config, workload, results, done))
            for config in configs
        ]
        for node in nodes:
            node.start()
        try:
            name, figures = _told(results)
            if outside is not None:
                figures |= outside(Path(folder, name, "heroctl.sock"))
        finally:
            done.set()
            for node in nodes:
                node.join(20)
                node.kill()
    return dict(figures)


class Serving:
    """Nodes that do nothing but serve, each in a process that can be killed and started again."""

    def __init__(self, folder: Path, size: int, *, tls: bool, election_ms: int) -> None:
        configs = _configs(folder, size, tls=tls, election_ms=election_ms)
        self._configs = {c.node.name: c for c in configs}
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[str, BaseProcess] = {}
        self.names = list(self._configs)

    def start(self, *names: str) -> None:
        """Starts the named nodes, or all."""
        for name in names or self.names:
            process = self._context.Process(target=_serve, args=(self._configs[name],))
            process.start()
            self._processes[name] = process

    def kill(self, name: str) -> None:
        """SIGKILL to one node."""
        process = self._processes.pop(name)
        process.kill()
        process.join()

    def stop(self) -> None:
        """SIGKILL to all: their folders are thrown away."""
        for name in list(self._processes):
            self.kill(name)

    def socket(self, name: str) -> Path:
        """The unix socket of a node."""
        return self._configs[name].socket_path()

    def status(self, name: str) -> dict[str, Any]:
        """What a node says of itself; ConnectionError while it does not answer."""
        try:
            with Client(f"unix:{self.socket(name)}", timeout_s=5.0) as client:
                return dict(client.get("/v1/status").body)
        except HeroctlError as error:
            raise ConnectionError(error.message) from error

    def leader(self) -> str:
        """Waits until all nodes know one leader; its name."""
        end_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end_s:
            try:
                known = {self.status(name)["leader"] for name in self.names}
            except ConnectionError:
                known = set()
            if len(known) == 1 and (name := known.pop()):
                return str(name)
            time.sleep(0.01)
        raise TimeoutError("the nodes have no leader")


@contextmanager
def serving(size: int, *, tls: bool = False, election_ms: int = 1000) -> Iterator[Serving]:
    """A fresh cluster on loopback with a leader."""
    with tempfile.TemporaryDirectory(prefix="heroctl-bench-") as folder:
        nodes = Serving(Path(folder), size, tls=tls, election_ms=election_ms)
        try:
            nodes.start()
            nodes.leader()
            yield nodes
        finally:
            nodes.stop()


def _serve(config: Config) -> None:
    with ControlPlane.open(config):
        threading.Event().wait()


def _configs(
    folder: Path, size: int, *, tls: bool = False, election_ms: int = 1000
) -> list[Config]:
    generate_key_file(folder / "key")
    if tls:
        pki.make_authority(folder, CLUSTER)
    raft, api = free_addresses(size), free_addresses(size)
    names = [f"node-{i + 1}" for i in range(size)]
    return [
        Config(
            cluster=Cluster(name=CLUSTER),
            node=Node(name=name, data_dir=folder / name),
            raft=Raft(
                listen=raft[i],
                peers={n: a for n, a in zip(names, raft, strict=True) if n != name},
                election_timeout_ms=election_ms,
            ),
            api=Api(listen=api[i]),
            tls=_certificate(folder, name) if tls else Tls(),
            backup=Backup(encryption_key_file=(folder / "key",)),
        )
        for i, name in enumerate(names)
    ]


def _certificate(folder: Path, name: str) -> Tls:
    issued = pki.issue(folder, name, addresses=["127.0.0.1"])
    return Tls(folder / pki.CA_CERTIFICATE, issued.cert_file, issued.key_file)


def _fill(nodes: list[tuple[str, Path, str]], key_file: Path, rows: int) -> None:
    folders = {name: path for name, path, _ in nodes}
    addresses = {name: address for name, _, address in nodes}
    fill_folders(folders, addresses, key_file, rows, small=True)


def _node(config: Config, workload: Workload, results: Any, done: Any) -> None:
    with ControlPlane.open(config) as plane:
        wait_until_ready(plane)
        time.sleep(1.0)  # the others' start is no part of what is measured
        if plane.status().raft.role == "leader":
            with ThreadPoolExecutor(1) as pool:
                work = pool.submit(workload, plane)
            error = work.exception()  # the parent raises it
            results.put(repr(error) if error else (config.node.name, work.result()))
        done.wait()


def wait_until_ready(plane: ControlPlane, timeout_s: float = TIMEOUT_S) -> None:
    """Waits until the node takes writes."""
    end_s = time.monotonic() + timeout_s
    while not plane.status().is_ready:
        if time.monotonic() > end_s:
            raise TimeoutError(f"node {plane.config.node.name} is not ready")
        time.sleep(0.001)


def free_addresses(count: int) -> list[str]:
    """Addresses on loopback that nobody listened at a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses
