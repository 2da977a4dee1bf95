"""Real nodes in their own processes, and workloads that run inside a node's process."""

from __future__ import annotations

import multiprocessing
import socket
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.filled import CLUSTER, fill_folders
from heroctl_core.config.model import Api, Backup, Cluster, Config, Node, Raft
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import generate_key_file

T = TypeVar("T")
Workload = Callable[[ControlPlane], dict[str, Any]]
TIMEOUT_S: Final = 900


def in_new_process(work: Callable[..., T], *arguments: Any) -> T:
    """What `work` gave in a fresh Python process; a module's function, so that it can go there."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result(TIMEOUT_S)


def run_on_leader(
    workload: Workload,
    *,
    size: int = 3,
    rows: int = 0,
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
        configs = _configs(Path(folder), size)
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
            result = results.get(timeout=TIMEOUT_S)
            if isinstance(result, str):
                raise RuntimeError(result)
            name, figures = result
            if outside is not None:
                figures |= outside(Path(folder, name, "heroctl.sock"))
        finally:
            done.set()
            for node in nodes:
                node.join(20)
                node.kill()
    return dict(figures)


def _configs(folder: Path, size: int) -> list[Config]:
    generate_key_file(folder / "key")
    raft, api = free_addresses(size), free_addresses(size)
    names = [f"node-{i + 1}" for i in range(size)]
    return [
        Config(
            cluster=Cluster(name=CLUSTER),
            node=Node(name=name, data_dir=folder / name),
            raft=Raft(
                listen=raft[i], peers={n: a for n, a in zip(names, raft, strict=True) if n != name}
            ),
            api=Api(listen=api[i]),
            backup=Backup(encryption_key_file=(folder / "key",)),
        )
        for i, name in enumerate(names)
    ]


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
