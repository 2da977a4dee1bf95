"""Three control planes of one cluster in one process, on loopback."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from heroctl_core.config.model import Api, Backup, Cluster, Config, Node, Raft
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import generate_key_file
from heroctl_core.errors import HeroctlError, NotApplied
from heroctl_core.testing.local_cluster import free_ports

DEADLINE_S = 30.0
ELECTION_MS = 300


def wait(condition: Callable[[], Any], timeout_s: float = DEADLINE_S) -> Any:
    """The first true result of the condition; what an HeroctlError stops counts as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        last: object = None
        try:
            if result := condition():
                return result
        except HeroctlError as error:
            last = error
        assert time.monotonic() < deadline, last
        threading.Event().wait(0.01)


class ThreeNodes:
    """`nodes` are the ones that run, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key_file = folder / "backup.key"
        generate_key_file(self.key_file)
        ports = free_ports(6)
        self.addresses = {f"n{i}": f"127.0.0.1:{port}" for i, port in enumerate(ports[:3])}
        self._api = {f"n{i}": f"127.0.0.1:{port}" for i, port in enumerate(ports[3:])}
        self.nodes: dict[str, ControlPlane] = {}

    def config(self, name: str, **fields: Any) -> Config:
        config = Config(
            cluster=Cluster(name="test"),
            node=Node(name=name, data_dir=self.folder / name),
            raft=Raft(
                listen=self.addresses[name],
                peers={n: a for n, a in self.addresses.items() if n != name},
                election_timeout_ms=ELECTION_MS,
            ),
            api=Api(listen=self._api[name]),
            backup=Backup(encryption_key_file=(self.key_file,)),
        )
        return replace(config, **fields)

    def start(self, *names: str) -> None:
        for name in names or self.addresses:
            self.nodes[name] = ControlPlane.open(self.config(name))

    def wait_ready(self) -> None:
        """Until every running node takes writes and knows all members as voters."""
        for plane in self.nodes.values():
            wait(lambda plane=plane: plane.status().is_ready and self.voters(plane) == 3)

    @staticmethod
    def voters(plane: ControlPlane) -> int:
        return sum(member.voter for member in plane.status().raft.members)

    def leader(self) -> str:
        """The node that says it leads, once one does."""
        found = wait(lambda: [n for n, p in self.nodes.items() if self.role(p) == "leader"])
        return str(found[0])

    def followers(self) -> list[str]:
        leader = self.leader()
        return [name for name in self.nodes if name != leader]

    @staticmethod
    def role(plane: ControlPlane) -> str:
        return plane.status().raft.role

    def stop(self, name: str) -> None:
        self.nodes.pop(name).close()

    def wipe(self, name: str) -> None:
        """The node loses its disk."""
        self.stop(name)
        shutil.rmtree(self.folder / name)

    def close(self) -> None:
        for name in list(self.nodes):
            self.stop(name)


def put(plane: ControlPlane, name: str, **spec: Any) -> int:
    """The revision of a write, which is tried again while it certainly had no effect."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return plane.jobs.put(name, spec).revision
        except NotApplied:
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
