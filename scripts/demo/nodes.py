"""Three nodes of one cluster: real `heroctl server` processes on this machine."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heroctl_core.client import Client
from heroctl_core.config.model import SOCKET_NAME
from heroctl_core.errors import HeroctlError

from .screen import CommandFailed, run, short

CLUSTER = "marigold"
HEROCTL = Path(sys.executable).with_name("heroctl")
PATIENCE_S = 60.0
CONFIG = """\
cluster:
  name: {cluster}
node:
  name: {name}
  data_dir: {data_dir}
raft:
  listen: 127.0.0.1:{raft_port}
  peers: {{{peers}}}
api:
  listen: 127.0.0.1:{api_port}
backup:
  encryption_key_file: {key}
"""


@dataclass(slots=True)
class Node:
    """One node: its configuration, its data folder, and its process while it runs."""

    name: str
    config: Path
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def heroctl(
        self,
        *words: str | Path,
        stdin: str | None = None,
        shown: str | None = None,
        last_line_only: bool = False,
    ) -> None:
        """Runs `heroctl` on this node before everybody's eyes."""
        environment = {"HEROCTL_CONFIG": str(self.config)}
        run(HEROCTL, words, environment, stdin=stdin, shown=shown, last_line_only=last_line_only)

    @property
    def start_command(self) -> str:
        """How a person starts this node."""
        return f"heroctl server --config {short(self.config)} &"

    def start(self) -> None:
        """Starts the process; its words go to the node's log file."""
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for the story, which then stops its nodes in order.
            self.process = subprocess.Popen(
                [HEROCTL, "server", "--config", self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self, number: signal.Signals) -> None:
        """Sends a signal and waits for the end; harmless when nothing runs."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            raise CommandFailed(f"{self.name} did not stop, see {short(self.log)}") from error
        self.process = None

    def wipe(self) -> None:
        """Deletes the data folder."""
        shutil.rmtree(self.data_dir)

    def client(self) -> Client:
        """A client over the node's socket."""
        return Client(f"unix:{self.data_dir / SOCKET_NAME}")

    def status(self) -> dict[str, Any]:
        """What the node says about itself; HeroctlError while it does not answer."""
        with self.client() as client:
            body: dict[str, Any] = client.get("/v1/status").body
        return body


def make_nodes(folder: Path, count: int = 3) -> list[Node]:
    """Configured nodes that were never started, in an empty folder with the key in it."""
    names = [f"node-{number}" for number in range(1, count + 1)]
    ports = _free_ports(2 * count)
    raft, api = ports[:count], ports[count:]
    nodes = []
    for index, name in enumerate(names):
        peers = [f"{n}: '127.0.0.1:{p}'" for n, p in zip(names, raft, strict=True) if n != name]
        node = Node(name, folder / f"{name}.yaml", folder / name, folder / f"{name}.log")
        node.config.write_text(
            CONFIG.format(
                cluster=CLUSTER,
                name=name,
                data_dir=node.data_dir,
                raft_port=raft[index],
                peers=", ".join(peers),
                api_port=api[index],
                key=folder / "backup.key",
            ),
            encoding="utf-8",
        )
        nodes.append(node)
    return nodes


def wait_for(nodes: list[Node], is_true: Callable[[dict[str, Any]], bool], what: str) -> None:
    """Returns when every node's status fits; CommandFailed with the last look when none comes."""
    deadline = time.monotonic() + PATIENCE_S
    for node in nodes:
        seen = "it never answered"
        while True:
            if node.process is not None and node.process.poll() is not None:
                raise CommandFailed(
                    f"{node.name} ended with exit code {node.process.returncode}, see"
                    f" {short(node.log)}:\n{_tail(node.log)}"
                )
            try:
                status = node.status()
                if is_true(status):
                    break
                seen = str(status)
            except HeroctlError as error:
                seen = str(error)
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"{node.name}: no {what} after {PATIENCE_S:.0f} s; the last look: {seen}"
                )
            time.sleep(0.02)


def _tail(path: Path, lines: int = 12) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now; different ones."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
