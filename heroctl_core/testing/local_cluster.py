"""Real nodes as processes of this machine: for `heroctl dev`, scripts/run and the tests.

One folder holds everything: the backup key, the token, and for each node its server.yaml, its data
folder and its log. A folder that has been used before is used again, with the same addresses.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from ..client import Client
from ..crypto.keys import generate_key_file
from ..crypto.pki import CA_CERTIFICATE, issue, make_authority
from ..errors import HeroctlError, NodeFault, Unreachable, UsageError
from ..files import write_atomic

T = TypeVar("T")

READY_S: Final = 30.0
STOP_S: Final = 20.0
_POLL_S: Final = 0.02
# Below the range from which the kernel takes the ports of outgoing connections: a node that comes
# back after a while must find its own ports free.
_PORTS: Final = range(20_000, 32_000)
_SLICE: Final = 100  # ports of one process
_LOG_LINES: Final = 15


@dataclass(slots=True)
class LocalNode:
    """One node: where it is, and its process while it runs."""

    name: str
    folder: Path
    api: str
    raft: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    env: dict[str, str] = field(default_factory=dict)  # on top of ours
    inside: list[str] = field(default_factory=list)  # a command in front, as `ip netns exec NAME`

    @property
    def config_file(self) -> Path:
        """Its server.yaml."""
        return self.folder / "server.yaml"

    @property
    def data_dir(self) -> Path:
        """Its data folder; delete it, and the node has lost its disk."""
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        """What it wrote to stderr, over all its starts."""
        return self.folder / "server.log"

    @property
    def socket(self) -> Path:
        """Its unix socket, over which no token is needed."""
        return self.folder / "heroctl.sock"

    @property
    def is_running(self) -> bool:
        """True from start to the end of the process, whoever ends it."""
        return self.process is not None and self.process.poll() is None

    def client(self, *, timeout_s: float = 10.0) -> Client:
        """A client over the unix socket: operator, without a token."""
        return Client(f"unix:{self.socket}", timeout_s=timeout_s)


class LocalCluster:
    """Nodes of one cluster, all on loopback. Used from one thread; close() stops what runs."""

    def __init__(
        self,
        folder: Path,
        *,
        size: int = 3,
        name: str = "local",
        ports: Iterable[int] | None = None,
        election_timeout_ms: int = 1000,
        dialed_at: Callable[[Mapping[str, str]], Mapping[str, str]] = dict,
        tls: bool = False,
    ) -> None:
        """`dialed_at`: where the others reach the Raft address of each node; a proxy's address.
        `tls`: the nodes talk over TLS, with certificates of an authority in `folder`/tls."""
        self.folder = folder.resolve()
        self.name = name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.key_file.exists():
            generate_key_file(self.key_file)
        plan = self.folder / "cluster.json"
        if not plan.exists():
            nodes = _addresses(size, ports)
            write_atomic(plan, json.dumps({"name": name, "nodes": nodes}, indent=2).encode())
        told = json.loads(plan.read_bytes())
        if len(told["nodes"]) != size:
            raise UsageError(f"{self.folder} has {len(told['nodes'])} nodes, not {size}")
        self.nodes = {
            node["name"]: LocalNode(
                node["name"], self.folder / node["name"], node["api"], node["raft"]
            )
            for node in told["nodes"]
        }
        self._dialed = dialed_at({node.name: node.raft for node in self.nodes.values()})
        self._tls = tls
        if tls and not (self.tls_dir / CA_CERTIFICATE).exists():
            make_authority(self.tls_dir, name)
        for node in self.nodes.values():
            self._configure(node, election_timeout_ms)

    @property
    def key_file(self) -> Path:
        """The key that encrypts the cluster's snapshots and wraps its keyring."""
        return self.folder / "backup.key"

    @property
    def tls_dir(self) -> Path:
        """The authority and the certificates of the nodes, with TLS."""
        return self.folder / "tls"

    @property
    def token_file(self) -> Path:
        """The operator's token, once make_token() has made it."""
        return self.folder / "token"

    def start(self, *names: str, bootstrap: bool = False) -> None:
        """Starts the named nodes, or all; does not wait until they are ready."""
        for node in self._named(names):
            if node.is_running:
                continue
            command = [sys.executable, "-m", "heroctl_cli", "server"]
            command += ["--config", str(node.config_file)]
            command += ["--bootstrap"] if bootstrap else []
            with node.log_file.open("ab") as log:
                node.process = subprocess.Popen(
                    [*_dies_with_us(), *node.inside, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=node.folder,
                    env=os.environ | node.env,
                    start_new_session=True,  # Ctrl-C is for us: we stop the nodes in order
                )

    def kill(self, *names: str) -> None:
        """SIGKILL to the named nodes, or all: as when the power goes."""
        processes = [node.process for node in self._named(names) if node.process is not None]
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        for node in self._named(names):
            node.process = None

    def stop(self, *names: str, timeout_s: float = STOP_S) -> dict[str, int]:
        """SIGTERM to the named nodes, or all; the exit code of each. One that does not end in time
        is killed, and NodeFault says so."""
        processes = {
            node.name: node.process for node in self._named(names) if node.process is not None
        }
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        codes: dict[str, int] = {}
        for name, process in processes.items():
            try:
                codes[name] = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                self.kill(*processes)
                raise NodeFault(
                    f"{name} did not stop within {timeout_s} s: {self.log_tail(name)}"
                ) from error
            self.nodes[name].process = None
        return codes

    def destroy(self, name: str) -> None:
        """Deletes the data folder of a node that does not run: its disk died."""
        node = self.nodes[name]
        if node.is_running:
            raise UsageError(f"{name} is running")
        shutil.rmtree(node.data_dir, ignore_errors=True)

    def wait_ready(self, *names: str, timeout_s: float = READY_S) -> None:
        """Waits until each named node, or all, can take writes."""
        for node in self._named(names):
            self.wait(
                lambda node=node: self._is_ready(node),  # type: ignore[misc]
                f"{node.name} is ready",
                timeout_s=timeout_s,
            )

    def wait(
        self, condition: Callable[[], T | None], what: str, *, timeout_s: float = READY_S
    ) -> T:
        """The first result of `condition` that counts as true; NodeFault when time is up or a node
        has ended that nobody stopped. Unreachable counts as not yet."""
        deadline = time.monotonic() + timeout_s
        last = "not yet"
        while time.monotonic() < deadline:
            self._check_alive()
            try:
                if result := condition():
                    return result
            except Unreachable as error:
                last = error.message
            time.sleep(_POLL_S)
        raise NodeFault(f"waited {timeout_s} s until {what}: {last}")

    def status(self, name: str) -> dict[str, Any]:
        """What the node says about itself and the cluster."""
        with self.nodes[name].client() as client:
            return dict(client.get("/v1/status").body)

    def make_token(self) -> Path:
        """The file of a token that may do everything; made the first time."""
        if not self.token_file.exists():
            with next(iter(self.nodes.values())).client() as client:
                token = client.write("POST", "/v1/acl/bootstrap", {}, retry=False).body["token"]
            write_atomic(self.token_file, token.encode() + b"\n")
        return self.token_file

    def log_tail(self, name: str) -> str:
        """The last lines that a node wrote."""
        try:
            lines = self.nodes[name].log_file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "no log"
        return "\n".join(lines[-_LOG_LINES:])

    def close(self) -> None:
        """Stops whatever still runs."""
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _named(self, names: tuple[str, ...]) -> list[LocalNode]:
        return [self.nodes[name] for name in names or self.nodes]

    def _check_alive(self) -> None:
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is not None:
                raise NodeFault(
                    f"{node.name} ended with code {node.process.returncode}:\n"
                    f"{self.log_tail(node.name)}"
                )

    def _is_ready(self, node: LocalNode) -> bool:
        with node.client() as client:
            try:
                client.get("/readyz")
            except Unreachable:
                raise
            except HeroctlError:
                return False
        return True

    def _configure(self, node: LocalNode, election_timeout_ms: int) -> None:
        """Writes server.yaml; JSON is YAML."""
        node.folder.mkdir(exist_ok=True, mode=0o700)
        config = {
            "cluster": {"name": self.name, "bootstrap_expect": len(self.nodes)},
            "node": {"name": node.name, "data_dir": str(node.data_dir)},
            "raft": {
                "listen": node.raft,
                "peers": dict(self._dialed),
                "election_timeout_ms": election_timeout_ms,
            },
            "api": {"listen": node.api, "socket": str(node.socket)},
            "backup": {"encryption_key_file": str(self.key_file)},
        }
        if self._tls:
            config["tls"] = self._certificate(node)
        write_atomic(node.config_file, json.dumps(config, indent=2).encode() + b"\n")

    def _certificate(self, node: LocalNode) -> dict[str, str]:
        """The tls block of a node, whose certificate is made the first time."""
        if not (self.tls_dir / f"{node.name}.crt").exists():
            issue(self.tls_dir, node.name)
        return {
            "ca_file": str(self.tls_dir / CA_CERTIFICATE),
            "cert_file": str(self.tls_dir / f"{node.name}.crt"),
            "key_file": str(self.tls_dir / f"{node.name}.key"),
        }


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 where nobody listens now. No other process is given the same ones while
    this one lives, so a node may stop and come back."""
    found: list[int] = []
    while len(found) < count:
        port = next(_OWN_PORTS)
        if _is_free(port):
            found.append(port)
    return found


def _own_ports() -> Iterator[int]:
    """The ports of one slice, again and again. A name without a file keeps the others away."""
    for first in _PORTS[::_SLICE]:
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0heroctl ports {first}")
            except OSError:
                continue
            yield from itertools.cycle(range(first, first + _SLICE))
    raise UsageError(f"{len(_PORTS) // _SLICE} processes of this machine have local clusters")


_OWN_PORTS: Final = _own_ports()


def _addresses(size: int, ports: Iterable[int] | None) -> list[dict[str, str]]:
    """Name and addresses of each node: from `ports` where all of them are free."""
    wanted = list(ports or ())[: 2 * size]
    if len(wanted) < 2 * size or not all(_is_free(port) for port in wanted):
        wanted = free_ports(2 * size)
    return [
        {"name": f"node-{i + 1}", "api": f"127.0.0.1:{api}", "raft": f"127.0.0.1:{raft}"}
        for i, (api, raft) in enumerate(zip(wanted[::2], wanted[1::2], strict=True))
    ]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _dies_with_us() -> list[str]:
    """A command in front that ends the node when we are killed, where the system has one."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv and os.name == "posix" else []
