"""Serves the table of routes over loopback TCP and a unix socket. The door of aiohttp.

A thread with its own event loop; everything that can block runs in a bounded pool of threads,
never on the loop. Knows sockets, headers and streams; what a route does is in routes.py.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

from aiohttp import web

from .. import limits, local_socket
from ..catalogue.access import Actor
from ..catalogue.watch import Change, Watch
from ..config.model import Limits, split_address
from ..errors import (
    Busy,
    CommandRejected,
    ConfigError,
    HeroctlError,
    NodeFault,
    Overloaded,
    UsageError,
)
from ..files import faults
from . import auth, event_stream, routes, wire
from .discreet import Discreet
from .port import Node, SavedSnapshot

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger("heroctl.api")
_http_log = logging.getLogger("heroctl.api.http")
_http_log.addFilter(Discreet())
_TRANSFERS: Final = 2  # snapshots and restores that run at a time
_WAITING_PER_THREAD: Final = 16
_EVENTS_AT_ONCE: Final = 100  # decoded in one go, on the loop
_EVENT_BYTES_AT_ONCE: Final = (
    256 * limits.KIB
)  # of their rows; as JSON they may be six times as many
_BOOKMARK_S: Final = 10.0  # so often a watcher hears that nothing has changed
_READ_S: Final = 30.0  # so long a watcher may take to read what was sent
_SHUTDOWN_S: Final = 5.0  # for answers under way when the server stops


class ApiServer:
    """The HTTP API of one node. start() and close() may be called from any thread, once each."""

    def __init__(
        self,
        node: Node,
        *,
        listen: str | None = None,
        socket_path: Path | None = None,
        limit: Limits | None = None,
    ) -> None:
        self._node = node
        self._listen = listen
        self._socket_path = socket_path
        self._limit = limit or Limits()
        self._pool = ThreadPoolExecutor(self._limit.api_threads, thread_name_prefix="api")
        self._transfers = ThreadPoolExecutor(_TRANSFERS, thread_name_prefix="transfer")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api", daemon=True)
        self._runner: web.AppRunner | None = None
        self._inode: int | None = None
        self._watches: set[Watch] = set()
        self._waiting = 0  # requests in the pool or before it; counted on the loop

    def start(self) -> None:
        """Listens. ConfigError for an address that cannot be had, Busy when another node has it."""
        sockets = self._open_sockets()
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(sockets), self._loop).result()

    def close(self) -> None:
        """Takes no new requests, lets those under way end, and gives the socket's name back.
        Watches are told to end: by themselves they never do."""
        for watch in tuple(self._watches):
            watch.end(NodeFault("this node is stopping", hint="watch another node"))
        if self._thread.is_alive():
            if self._runner is not None:
                asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._pool.shutdown(cancel_futures=True)
        self._transfers.shutdown(cancel_futures=True)
        if self._socket_path is not None and self._inode is not None:
            local_socket.remove(self._socket_path, self._inode)
            self._inode = None

    def __enter__(self) -> ApiServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_sockets(self) -> list[socket.socket]:
        opened: list[socket.socket] = []
        try:
            if self._listen is not None:
                opened.append(_listen_tcp(self._listen))
            if self._socket_path is not None:
                opened.append(local_socket.listen(self._socket_path))
                self._inode = self._socket_path.stat().st_ino
        except HeroctlError:
            for listener in opened:
                listener.close()
            raise
        return opened

    async def _serve(self, sockets: list[socket.socket]) -> None:
        app = web.Application(client_max_size=self._limit.api_body_bytes)
        for route in routes.ROUTES:
            app.router.add_route(route.method, route.path, self._handler(route))
        app.router.add_route("GET", "/v1/watch", self._guarded(self._watch))
        app.router.add_route("GET", "/v1/snapshot", self._guarded(self._snapshot))
        app.router.add_route("POST", "/v1/restore", self._guarded(self._restore))
        app.router.add_route("*", "/{anything:.*}", self._guarded(self._unknown))
        # No access log: a query may name what only its owner should know.
        self._runner = web.AppRunner(
            app, access_log=None, logger=_http_log, shutdown_timeout=_SHUTDOWN_S
        )
        await self._runner.setup()
        for listener in sockets:
            await web.SockSite(self._runner, listener).start()

    def _handler(self, route: routes.Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if route.is_open:  # health must be told also when every thread is busy
                return self._response(route.function(self._node, auth.NOBODY, _call(request, None)))
            data = await self._body(request) if route.takes_body else None

            def run() -> wire.Reply:
                actor = self._actor(request)
                body = None if data is None else wire.decode_body(data)
                return route.function(self._node, actor, _call(request, body))

            return self._response(await self._queued(run))

        return self._guarded(handle)

    async def _queued(self, function: Callable[[], T]) -> T:
        """What `function` returns, run by the next free thread; Overloaded when too many wait."""
        most = _WAITING_PER_THREAD * self._limit.api_threads
        if self._waiting >= most:
            raise Overloaded(f"{most} requests wait already")
        self._waiting += 1
        try:
            return await self._in(self._pool, function)
        finally:
            self._waiting -= 1

    def _guarded(self, handler: Handler) -> Handler:
        """`handler`, whose errors become problem documents."""

        async def run(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except HeroctlError as error:
                if error.http_status in (500, 507):  # what an operator has to mend
                    _log.warning("%s %s: %s", request.method, request.path, error)
                headers = {"WWW-Authenticate": "Bearer"} if error.http_status == 401 else {}
                reply = wire.Reply(
                    wire.problem(error),
                    status=error.http_status,
                    content_type=wire.PROBLEM_TYPE,
                    headers=headers,
                )
                return self._response(reply)

        return run

    async def _body(self, request: web.Request) -> bytes:
        """The bytes of a JSON body; refused by its size before it is read, and while it is read."""
        encoding = request.headers.get("Content-Encoding")
        told = request.content_type + (f" in {encoding}" if encoding else "")
        if told != "application/json":
            error = UsageError(f"the body is {told}; allowed: application/json")
            error.http_status = 415
            raise error
        size, most = request.content_length or 0, self._limit.api_body_bytes
        try:
            if size <= most:
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            size = max(size, most + 1)
        except web.RequestPayloadError as error:
            raise UsageError("the body is not encoded as its headers say") from error
        raise CommandRejected("too_large", f"the body has {size} bytes, the limit is {most}")

    def _actor(self, request: web.Request) -> Actor:
        """Who calls: the kernel's word on a unix socket, a token over TCP. May block."""
        channel = request.transport.get_extra_info("socket") if request.transport else None
        if channel is None:
            raise CommandRejected("denied", "the connection is closed")
        if channel.family == socket.AF_UNIX:
            return auth.local(local_socket.peer_uid(channel))
        source = request.remote or "tcp"
        return auth.bearer(self._node.acl, request.headers.get("Authorization"), source=source)

    def _response(self, reply: wire.Reply) -> web.Response:
        body = reply.body
        if not isinstance(body, bytes):
            body = wire.encode(body)
        return web.Response(
            body=body,
            status=reply.status,
            headers={**self._position(stale=reply.stale), **reply.headers},
            content_type=reply.content_type,
        )

    def _position(self, *, stale: bool) -> dict[str, str]:
        """Where this node's state stands, on every answer."""
        status = self._node.status()
        headers = {
            "X-Heroctl-Revision": str(status.revision),
            "X-Heroctl-Generation": str(status.generation),
            "X-Heroctl-Leader": status.leader or "",
            "Cache-Control": "no-store",
        }
        if stale and status.age_s is not None:
            headers["X-Heroctl-Age"] = f"{status.age_s:.3f}"
        return headers

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        raise CommandRejected("not_found", f"no route {request.method} {request.path}")

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        """A snapshot: written to the spool and verified there, then streamed with its digest."""

        call = _call(request, None)

        def save(folder: Path) -> tuple[Path, SavedSnapshot]:
            return routes.save_snapshot(self._node, self._actor(request), call, folder)

        async with self._spool() as folder:
            path, saved = await self._in(self._transfers, lambda: save(folder))
            response = web.StreamResponse(
                headers={
                    **self._position(stale=saved.stale),
                    "Content-Type": wire.SNAPSHOT_TYPE,
                    "Content-Length": str(saved.size_bytes),
                    "Repr-Digest": wire.repr_digest(saved.sha256),
                    "X-Heroctl-Snapshot": wire.encode(wire.summary(saved)).decode("ascii"),
                }
            )
            await response.prepare(request)
            with path.open("rb") as file:
                while chunk := await self._in(self._transfers, lambda: file.read(limits.MIB)):
                    await response.write(chunk)
            await response.write_eof()
            return response

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """Changes as server-sent events, from a cursor or from now on, until one side ends it."""
        since = request.query.get("since") or request.headers.get("Last-Event-ID")
        came = asyncio.Event()

        def notify() -> None:
            self._loop.call_soon_threadsafe(came.set)

        def open_watch() -> Watch:
            return self._node.watches.open(
                request.query.get("prefix", ""),
                since=since,
                actor=self._actor(request),
                notify=notify,
            )

        watch = await self._queued(open_watch)
        response = web.StreamResponse(
            headers={**self._position(stale=False), "Content-Type": event_stream.CONTENT_TYPE}
        )
        self._watches.add(watch)
        try:
            await response.prepare(request)
            try:
                await self._tell(request, response, watch, came)
            except HeroctlError as error:
                await asyncio.wait_for(response.write(event_stream.end(error)), _READ_S)
        except (ConnectionError, TimeoutError):  # it went away, or does not read
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._watches.discard(watch)
            await self._in(self._pool, watch.close)
        return response

    async def _tell(
        self, request: web.Request, response: web.StreamResponse, watch: Watch, came: asyncio.Event
    ) -> None:
        """Sends what a watch has until it ends, and that with its error."""
        told, checked_s = event_stream.bookmark(watch.cursor), self._loop.time()
        while told:
            await asyncio.wait_for(response.write(told), _READ_S)
            changes = await _next_changes(watch, came)
            if self._loop.time() >= checked_s + _BOOKMARK_S:
                await self._queued(lambda: self._actor(request))  # a token may have expired
                checked_s = self._loop.time()
            told = b"".join(map(event_stream.change, changes))
            told = told or event_stream.bookmark(watch.cursor)

    async def _restore(self, request: web.Request) -> web.StreamResponse:
        """A forced bootstrap from the archive in the body, which goes through the spool."""
        call = _call(request, None)
        routes.may_restore(await self._queued(lambda: self._actor(request)))
        async with self._spool() as folder:
            path = folder / "upload"
            with FileIO(path, "xb") as file:  # no buffer, whose rest would fail at the end
                async for chunk in request.content.iter_chunked(limits.MIB):
                    await self._in(self._transfers, partial(_write, file, chunk))
            reply = await self._in(self._transfers, lambda: routes.restore(self._node, call, path))
            return self._response(reply)

    @asynccontextmanager
    async def _spool(self) -> AsyncIterator[Path]:
        """An own folder in the spool, gone afterwards."""
        with faults(self._node.spool_dir):
            folder = TemporaryDirectory(prefix="api-", dir=self._node.spool_dir)
        try:
            yield Path(folder.name)
        finally:
            await self._in(self._transfers, folder.cleanup)

    async def _in(self, pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(pool, function)


async def _next_changes(watch: Watch, came: asyncio.Event) -> list[Change]:
    """The next changes that the watcher may see; none when there are none for a while."""
    try:
        async with asyncio.timeout(_BOOKMARK_S):
            while True:
                came.clear()
                if changes := watch.take(_EVENTS_AT_ONCE, _EVENT_BYTES_AT_ONCE):
                    return changes
                if not watch.wait(0):
                    await came.wait()
    except TimeoutError:
        return []


def _call(request: web.Request, body: Any) -> wire.Call:
    read = request.headers.get
    return wire.Call(
        names=dict(request.match_info),
        query=dict(request.query),
        body=body,
        request_id=wire.request_id(read("Idempotency-Key")),
        expect=wire.expectation(read("If-Match"), read("If-None-Match")),
    )


def _write(file: FileIO, chunk: bytes) -> None:
    """Appends all of the chunk; FileFault when there is no room for it."""
    left = memoryview(chunk)
    with faults(str(file.name)):
        while left:
            left = left[file.write(left) :]


def _listen_tcp(address: str) -> socket.socket:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Busy(
                f"another process listens at {address}", hint="stop it, or change api.listen"
            ) from error
        raise ConfigError(f"api.listen {address}: {os.strerror(error.errno or 0)}") from error
    return listener
