"""A network between real nodes that can be cut, slowed down and broken, each direction for itself.

One proxy stands in front of each node's Raft port, all of them in one thread. Who dials is looked
up in the kernel's table of sockets (Linux), so it works without root and below TLS. A cut link
holds bytes back as TCP does until the network is whole again: what was under way arrives late. New
connections over it stay silent.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_CHUNK: Final = 65_536
_CHUNKS: Final = 64  # under way on one slow connection
_STARTED_S: Final = 10.0
_BROKEN: Final = (OSError, EOFError)

Pids = Callable[[], Mapping[int, str]]


@dataclass(slots=True)
class _Link:
    """One direction between two nodes."""

    delay_s: float = 0.0
    whole: asyncio.Event = field(default_factory=asyncio.Event)


class LinkProxy:
    """Connections between nodes. Any thread may call the public methods; close() ends all."""

    breaks = True  # connections can be broken

    def __init__(self, targets: Mapping[str, str], pids: Pids) -> None:
        """`targets`: node name to its Raft address. `pids`: the nodes' processes as they are now.
        `addresses` says where to dial instead."""
        self.addresses: dict[str, str] = {}
        self._targets = dict(targets)
        self._pids = pids
        self._links = {(a, b): _Link() for a in targets for b in targets if a != b}
        self._writers: set[asyncio.StreamWriter] = set()
        self._rng = random.Random()  # jitter only: when what arrives is never the same anyway
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="link-proxy", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_STARTED_S)

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Nothing more arrives from any of `sources` at any of `targets`."""
        for link in self._between(sources, targets):
            self._loop.call_soon_threadsafe(link.whole.clear)

    def slow(self, sources: Iterable[str], targets: Iterable[str], delay_s: float) -> None:
        """What goes from `sources` to `targets` takes about so long."""
        for link in self._between(sources, targets):
            link.delay_s = delay_s

    def heal(self) -> None:
        """Every link is whole and fast; what was held back arrives now."""
        for link in self._links.values():
            link.delay_s = 0.0
            self._loop.call_soon_threadsafe(link.whole.set)

    def reset(self) -> None:
        """Breaks every connection; what was held back is lost."""
        self._loop.call_soon_threadsafe(self._abort)

    def close(self) -> None:
        """Ends every connection and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _between(self, sources: Iterable[str], targets: Iterable[str]) -> list[_Link]:
        wanted = {(a, b) for a in sources for b in list(targets)}
        return [link for pair, link in self._links.items() if pair in wanted]

    # -- in the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _listen(self) -> None:
        for link in self._links.values():
            link.whole.set()
        for name in self._targets:

            async def serve(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name
            ) -> None:
                await self._serve(name, reader, writer)

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            self.addresses[name] = f"127.0.0.1:{port}"

    async def _serve(
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        try:
            source = dialer(writer.get_extra_info("peername")[1], self._pids())
            if source is None or source == target:
                return  # gone already, or itself: its own address is no link
            there, back = self._links[source, target], self._links[target, source]
            await there.whole.wait()
            host, _, port = self._targets[target].rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            self._writers.add(far_writer)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(there, reader, far_writer))
                    both.create_task(self._pump(back, far_reader, writer))
            finally:
                self._drop(far_writer)
        except* _BROKEN:
            pass  # one of the two ends is gone: so is the other
        finally:
            self._drop(writer)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carries bytes until one end closes; then it raises, which ends the other direction."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)

        async def take() -> None:
            data = b"first"
            while data:
                try:
                    data = await reader.read(_CHUNK)
                except OSError:
                    data = b""
                due = self._loop.time() + link.delay_s * self._rng.uniform(0.5, 1.5)
                await waiting.put((due, data))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, data = await waiting.get()
                if (left := due - self._loop.time()) > 0:
                    await asyncio.sleep(left)
                await link.whole.wait()
                if not data:
                    raise EOFError
                writer.write(data)
                await writer.drain()
        finally:
            taking.cancel()

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()


def dialer(port: int, pids: Mapping[int, str]) -> str | None:
    """The name of the process that has the local end of a connection from `port` of 127.0.0.1."""
    inode = _inode(port)
    for pid, name in pids.items() if inode else ():
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return name
            except OSError:
                continue  # closed meanwhile
    return None


def _inode(port: int) -> str | None:
    """The socket whose local port is `port`, as proc(5) shows it; None when there is none."""
    local = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == local and fields[9] != "0":
            return fields[9]
    return None
