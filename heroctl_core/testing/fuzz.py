"""Hostile peers, the long form: python -m heroctl_core.testing.fuzz --connections 20000

First connections with rubbish in the place of a TLS handshake to one of three real nodes, which
serve meanwhile; then spoiled greetings, hellos and frames in this process. Ends with 1, and says
why, when a node crashed, forgot something, changed its state, or kept memory or descriptors.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from ..errors import HeroctlError
from .hostile_connections import Strangers, descriptors, resident_bytes
from .hostile_inputs import Attack
from .local_cluster import LocalCluster

_MEMORY_BYTES: Final = 16 << 20  # what may be gained by a run, whatever its length
_DESCRIPTORS: Final = 8
_STATE: Final = ("cluster_id", "generation", "restore_id", "fencing")


class Writes:
    """Writes through a cluster without a pause, until it is closed."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self.slowest_s = 0.0
        self.written = 0
        self.failed = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Waits for the last write."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        clients = [node.client() for node in self._cluster.nodes.values()]
        while not self._stopped.is_set():
            began_s = time.monotonic()
            spec = {"image": "shop/web:1", "replicas": self.written % 9 + 1}
            try:
                clients[self.written % len(clients)].write("PUT", "/v1/jobs/web", {"spec": spec})
                self.written += 1
            except HeroctlError:
                self.failed += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)


def attack_port(cluster: LocalCluster, name: str, count: int, seed: int) -> dict[str, Any]:
    """What `count` hostile connections did to a node; AssertionError when they did harm."""
    node = cluster.nodes[name]
    assert node.process is not None
    pid = node.process.pid
    strangers = Strangers(node.raft, random.Random(seed))
    before = _state(cluster, name)
    files = descriptors(pid)
    writes = Writes(cluster)
    began_s = time.monotonic()
    try:
        while strangers.count < count // 2:
            strangers.knock()
    finally:
        writes.close()
    memory = resident_bytes(pid)  # from here on nothing but strangers could take more
    while strangers.count < count:
        strangers.knock()
    strangers.hang_up()
    took_s = time.monotonic() - began_s
    cluster.wait(lambda: descriptors(pid) <= files + _DESCRIPTORS, "descriptors are given back")
    gained = resident_bytes(pid) - memory
    after = _state(cluster, name)
    assert before == after, f"the state changed: {before} became {after}"
    assert writes.written > 0, "the cluster did not serve"
    assert gained < _MEMORY_BYTES, f"the node kept {gained} bytes"
    return {
        "connections": strangers.count,
        "per_s": round(strangers.count / took_s),
        "cut_off": cluster.status(name)["peers_cut_off"],
        "memory_gained_bytes": gained,
        "writes_meanwhile": writes.written,
        "writes_failed": writes.failed,
        "slowest_write_ms": round(writes.slowest_s * 1000),
    }


def attack_code(count: int, seed: int) -> dict[str, Any]:
    """What `count` spoiled inputs did in this process; whatever they break is raised."""
    attack = Attack(random.Random(seed))
    for _ in range(count // 10):
        attack.strike()
    gc.collect()
    memory, began_s = resident_bytes(os.getpid()), time.monotonic()
    for _ in range(count - count // 10):
        attack.strike()
    took_s = time.monotonic() - began_s
    gc.collect()
    gained = resident_bytes(os.getpid()) - memory
    assert gained < _MEMORY_BYTES, f"{gained} bytes were kept"
    return {
        "inputs": count,
        "per_s": round(count * 0.9 / took_s),
        "memory_gained_bytes": gained,
        "outcomes": dict(sorted(attack.outcomes.items())),
    }


def main() -> int:
    """Runs both and prints what they gave."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Attacks the Raft port.")
    parser.add_argument("--connections", type=int, default=20_000)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", file=sys.stderr)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="heroctl-fuzz-") as folder,
            LocalCluster(Path(folder) / "cluster", name="fuzz", tls=True) as cluster,
        ):
            cluster.start()
            cluster.wait_ready()
            port = attack_port(cluster, "node-1", chosen.connections, chosen.seed)
            print(json.dumps(port), flush=True)
            assert not port["writes_failed"], "writes failed"
        print(json.dumps(attack_code(chosen.inputs, chosen.seed)))
    except AssertionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _state(cluster: LocalCluster, name: str) -> dict[str, Any]:
    """What strangers must not change. The revision is the writers' business."""
    status = cluster.status(name)
    members = [(m["name"], m["member_id"], m["address"], m["role"]) for m in status["members"]]
    return {**{key: status[key] for key in _STATE}, "members": members}


if __name__ == "__main__":
    sys.exit(main())
