"""Real nodes to which everything happens that happens to machines.

Nodes are processes; the network between them is testing/link_proxy.py unless told otherwise.
Clocks that jump need gcc, a disk that fills needs root; the rest needs neither. What goes wrong is
for testing/fault_kinds.py.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from ..errors import HeroctlError, NodeFault
from .link_proxy import LinkProxy, Pids
from .local_cluster import LocalCluster
from .skewed_clock import SkewedClocks
from .small_disk import SmallDisk

_DISK_MB: Final = 256
_FULL_S: Final = 30.0
_LEVEL_S: Final = 30.0
_BULK: Final = {"v": 0, "pad": "x" * 150_000}


class Network(Protocol):
    """What lies between the nodes. `addresses` says where each node is dialed, `breaks` whether
    connections can be broken."""

    addresses: dict[str, str]
    breaks: bool

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None: ...
    def slow(self, sources: Iterable[str], targets: Iterable[str], delay_s: float) -> None: ...
    def heal(self) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


class FaultyCluster(LocalCluster):
    """A cluster whose nodes reach each other only through `network`."""

    def __init__(
        self,
        folder: Path,
        *,
        size: int,
        election_timeout_ms: int,
        clocks: bool = False,
        small_disk: bool = False,
        tls: bool = False,
        network: Callable[[Mapping[str, str], Pids], Network] = LinkProxy,
    ) -> None:
        """With `small_disk` the first node has a disk that can be filled."""
        self._make_network = network
        self._paused: dict[str, list[tuple[float, float]]] = {}
        super().__init__(
            folder,
            size=size,
            name="faults",
            election_timeout_ms=election_timeout_ms,
            dialed_at=self._through_network,
            tls=tls,
        )
        self.clocks = SkewedClocks(self.folder / "clocks", list(self.nodes)) if clocks else None
        for name, node in self.nodes.items():
            if self.clocks is not None:
                node.env |= self.clocks.env(name)
        self.small = next(iter(self.nodes.values()))
        self.disk = SmallDisk(self.small.data_dir, _DISK_MB) if small_disk else None
        if self.disk is not None:
            self.disk.mount()

    def _through_network(self, raft: Mapping[str, str]) -> Mapping[str, str]:
        self.network = self._make_network(raft, self._pids)
        return self.network.addresses

    def _pids(self) -> dict[int, str]:
        running = [n for n in self.nodes.values() if n.process is not None]
        return {n.process.pid: n.name for n in running if n.process is not None}

    def pause(self, name: str) -> None:
        """SIGSTOP: it stands still, and does not know it."""
        node = self.nodes[name]
        if node.process is not None and node.is_running:
            self._paused.setdefault(name, []).append((time.monotonic(), float("inf")))
            node.process.send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT, when it was paused."""
        node, pauses = self.nodes[name], self._paused.get(name, [])
        if pauses and pauses[-1][1] == float("inf"):
            pauses[-1] = (pauses[-1][0], time.monotonic())
            if node.process is not None and node.is_running:
                node.process.send_signal(signal.SIGCONT)

    def stood_still_s(self, name: str, began_s: float, ended_s: float) -> float:
        """How many of the seconds between two moments the node was paused."""
        spans = list(self._paused.get(name, ()))
        return sum(max(0.0, min(ended_s, e) - max(began_s, b)) for b, e in spans)

    def leader(self) -> str | None:
        """Who says that it leads, in the highest term; None when nobody answers so."""
        found: list[tuple[int, str]] = []
        for name, node in self.nodes.items():
            try:
                with node.client(timeout_s=0.5) as client:
                    status = client.get("/v1/status").body
            except HeroctlError:
                continue
            if status["role"] == "leader":
                found.append((status["term"], name))
        return max(found)[1] if found else None

    def ended(self) -> list[str]:
        """The nodes that ended although nobody stopped them."""
        nodes = self.nodes.values()
        return [n.name for n in nodes if n.process is not None and n.process.poll() is not None]

    def close(self) -> None:
        """Stops whatever still runs, and the network."""
        for name in self.nodes:
            self.resume(name)
        try:
            super().close()
        finally:
            self.network.close()
            if self.disk is not None:
                self.disk.unmount()

    def write_until_full(self) -> None:
        """Fills the small disk, and writes until its node says that it has no room."""
        assert self.disk is not None
        self.disk.fill()
        number, end_s = 0, time.monotonic() + _FULL_S
        while not self._lacks_room():
            name = list(self.nodes)[number % len(self.nodes)]
            number += 1
            try:
                with self.nodes[name].client(timeout_s=2.0) as client:
                    client.write("PUT", f"/v1/jobs/bulk-{number % 8}", {"spec": _BULK})
            except HeroctlError:
                pass  # the full node, or one that hears nothing of the others yet
            if time.monotonic() > end_s:
                raise NodeFault(f"{self.small.name} goes on although its disk is full")

    def lose_disk(self, name: str) -> None:
        """SIGKILL, and the data folder is gone. First all nodes must be level: a second copy that
        is lost before the first one is made again may be the last."""
        self.wait(self._is_level, "all nodes are voters and level", timeout_s=_LEVEL_S)
        self.kill(name)
        self.destroy(name)

    def _is_level(self) -> bool:
        leader = self.leader()
        if leader is None:
            return False
        status = self.status(leader)
        members = [m for m in status["members"] if m["voter"] and m["is_connected"]]
        behind = [m for m in members if m["match_index"] < status["commit_index"]]
        others = [m for m in behind if m["name"] != leader]
        return len(members) == len(status["members"]) == len(self.nodes) and not others

    def _lacks_room(self) -> bool:
        with self.small.client(timeout_s=2.0) as client:
            return "no space" in str(client.get("/v1/status").body["warnings"])
