"""Nodes that are alone in a network namespace each, on one bridge, with a packet filter between."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from heroctl_core.testing.faulty_cluster import FaultyCluster, Network

PORT = 7101


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Namespaces:
    """One namespace for each name, and a hub with the bridge; a Network of testing/faulty_cluster.

    Packets are dropped where they arrive, so a direction can be cut for itself. Nothing is delayed:
    not every kernel can.
    """

    breaks = False

    def __init__(self, names: Iterable[str]) -> None:
        self._ids = {name: f"hero{os.getpid()}-{i}" for i, name in enumerate(names, start=1)}
        self._ips = {name: f"10.93.0.{i}" for i, name in enumerate(self._ids, start=1)}
        self._hub = f"hero{os.getpid()}-hub"
        self.addresses = {name: f"{ip}:{PORT}" for name, ip in self._ips.items()}

    def make(self) -> None:
        run("ip", "netns", "add", self._hub)
        run("ip", "-n", self._hub, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", self._hub, "link", "set", "bridge", "up")
        for number, (name, space) in enumerate(self._ids.items()):
            port = f"port{number}"
            run("ip", "netns", "add", space)
            link = ["link", "add", "wire", "netns", space, "type", "veth"]
            run("ip", *link, "peer", "name", port, "netns", self._hub)
            run("ip", "-n", self._hub, "link", "set", port, "master", "bridge", "up")
            run("ip", "-n", space, "address", "add", f"{self._ips[name]}/24", "dev", "wire")
            for device in ("wire", "lo"):
                run("ip", "-n", space, "link", "set", device, "up")
            self._nft(name, "add table inet faults")
            hook = "{ type filter hook input priority 0; }"
            self._nft(name, f"add chain inet faults arriving {hook}")

    def inside(self, name: str) -> list[str]:
        """The command in front of a node."""
        return ["ip", "netns", "exec", self._ids[name]]

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Packets of `sources` do not arrive at `targets`."""
        ips = [self._ips[name] for name in sources]
        for target in targets:
            dropped = ", ".join(ip for ip in ips if ip != self._ips[target])
            self._nft(target, f"add rule inet faults arriving ip saddr {{ {dropped} }} drop")

    def heal(self) -> None:
        """Every packet arrives."""
        for name in self._ids:
            self._nft(name, "flush chain inet faults arriving")

    def slow(self, sources: Iterable[str], targets: Iterable[str], delay_s: float) -> None:
        raise NotImplementedError("packets cannot be delayed here")

    def reset(self) -> None:
        raise NotImplementedError("connections cannot be broken here")

    def close(self) -> None:
        for space in (*self._ids.values(), self._hub):
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)

    def _nft(self, name: str, command: str) -> None:
        run(*self.inside(name), "nft", command)


@contextmanager
def cluster_in_namespaces(
    folder: Path, *, size: int, election_timeout_ms: int
) -> Iterator[FaultyCluster]:
    """A cluster over TLS whose nodes have a network stack each. Clients use the unix sockets."""
    names = [f"node-{i + 1}" for i in range(size)]
    network = Namespaces(names)
    network.make()
    folder.mkdir()
    plan = [
        {"name": name, "raft": network.addresses[name], "api": "127.0.0.1:7100"} for name in names
    ]
    (folder / "cluster.json").write_text(json.dumps({"name": "faults", "nodes": plan}))

    def between(_: Mapping[str, str], __: Callable[[], Mapping[int, str]]) -> Network:
        return network

    with FaultyCluster(
        folder, size=size, election_timeout_ms=election_timeout_ms, tls=True, network=between
    ) as cluster:
        for name, node in cluster.nodes.items():
            node.inside = network.inside(name)
        yield cluster
