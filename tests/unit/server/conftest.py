"""A served node without disk, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from heroctl_core.client import Client
from heroctl_core.config.model import Limits
from heroctl_core.server.http import ApiServer
from heroctl_core.testing.local_cluster import free_ports
from heroctl_core.testing.memory_node import MemoryNode


@dataclass
class Served:
    """A node, its server, and how to reach it."""

    node: MemoryNode
    server: ApiServer
    address: str
    socket: Path
    client: Callable[..., Client]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """One served node; clients that the test asked for are closed."""
    spool = tmp_path / "spool"
    spool.mkdir()
    node = MemoryNode(spool)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    socket = tmp_path / "api.sock"
    clients: list[Client] = []

    def client(token: str | None = None, *, tcp: bool = False) -> Client:
        clients.append(Client(address if tcp or token else f"unix:{socket}", token=token))
        return clients[-1]

    limit = Limits(api_body_bytes=200_000, api_threads=4)
    server = ApiServer(node, listen=address, socket_path=socket, limit=limit)
    with server:
        yield Served(node, server, address, socket, client)
        for each in clients:
            each.close()
