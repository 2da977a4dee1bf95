"""Three real nodes in three processes, and a workload that runs inside the leader's process."""

from __future__ import annotations

import multiprocessing
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heroctl_core.config.model import Api, Backup, Cluster, Config, Node, Raft
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import generate_key_file

Workload = Callable[[ControlPlane], dict[str, Any]]


def run_on_leader(workload: Workload, *, size: int = 3) -> dict[str, Any]:
    """What `workload` gave, run in the process of the leader of a fresh cluster on loopback."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    done = context.Event()
    with tempfile.TemporaryDirectory(prefix="heroctl-bench-") as folder:
        generate_key_file(Path(folder, "key"))
        raft, api = _free_addresses(size), _free_addresses(size)
        nodes = [
            context.Process(target=_node, args=(i, folder, raft, api, workload, results, done))
            for i in range(size)
        ]
        for node in nodes:
            node.start()
        try:
            result = results.get(timeout=300)
        finally:
            done.set()
            for node in nodes:
                node.join(20)
                node.kill()
    if isinstance(result, str):
        raise RuntimeError(result)
    return dict(result)


def _node(
    number: int,
    folder: str,
    raft: list[str],
    api: list[str],
    workload: Workload,
    results: Any,
    done: Any,
) -> None:
    names = [f"node-{i + 1}" for i in range(len(raft))]
    config = Config(
        cluster=Cluster(name="bench"),
        node=Node(name=names[number], data_dir=Path(folder, names[number])),
        raft=Raft(
            listen=raft[number],
            peers={n: a for n, a in zip(names, raft, strict=True) if n != names[number]},
        ),
        api=Api(listen=api[number]),
        backup=Backup(encryption_key_file=(Path(folder, "key"),)),
    )
    with ControlPlane.open(config) as plane:
        while not plane.status().is_ready:
            time.sleep(0.02)
        time.sleep(1.0)
        if plane.status().raft.role == "leader":
            try:
                results.put(workload(plane))
            except Exception as error:  # shown by the parent, which raises it
                results.put(f"{type(error).__name__}: {error}")
        done.wait()


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses
