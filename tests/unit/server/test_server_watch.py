"""Watching over HTTP: server-sent events from a real server, until one side ends it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest

from heroctl_core import limits
from heroctl_core.client import Client, Event
from heroctl_core.errors import (
    CommandRejected,
    Compacted,
    EpochChanged,
    HeroctlError,
    NodeFault,
    RightsChanged,
    SlowConsumer,
)
from heroctl_core.server import http as server_http
from heroctl_core.state import events
from heroctl_core.testing.memory_node import ServedNode

LONG_S = 10.0


def changes(stream: Iterator[Event], count: int) -> list[Event]:
    """The next `count` events that are no bookmarks."""
    return list(islice((e for e in stream if e.name != "bookmark"), count))


def opened(client: Client, **query: str) -> Iterator[Event]:
    """A stream whose first bookmark has come: what happens from now on will come too."""
    stream = client.events("/v1/watch", query)
    assert next(stream).name == "bookmark"
    return stream


def test_changes_come_as_documents(served: ServedNode) -> None:
    """With the value that a read gives, and a cursor to go on from."""
    client = served.client()
    stream = opened(served.client(), prefix="jobs/")
    client.write("PUT", "/v1/jobs/web", {"spec": {"image": "web:2"}})
    shown = client.get("/v1/jobs/web").body
    client.write("PUT", "/v1/secrets/db", {"value": "fake"})
    client.write("DELETE", "/v1/jobs/web")
    put, gone = changes(stream, 2)
    assert (put.name, put.body["kind"], put.body["name"]) == ("put", "job", "web")
    assert put.body["value"] == shown
    assert put.cursor == put.body["cursor"] == "1.1"
    assert (gone.name, gone.body["value"], gone.cursor) == ("delete", None, "1.3")


def test_a_watcher_goes_on_from_its_cursor(served: ServedNode) -> None:
    """In the query, or as a browser says it that connects again."""
    client = served.client()
    for name in ("a", "b", "c"):
        client.write("PUT", f"/v1/jobs/{name}", {"spec": {}})
    again = served.client().events("/v1/watch", {"prefix": "jobs/", "since": "1.1"})
    assert [e.body["name"] for e in changes(again, 2)] == ["b", "c"]
    connection = http.client.HTTPConnection(served.address, timeout=LONG_S)
    token = served.token()
    connection.request(
        "GET", "/v1/watch", headers={"Authorization": f"Bearer {token}", "Last-Event-ID": "1.2"}
    )
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "text/event-stream"
    lines: list[bytes] = []
    while not lines or not lines[-1].startswith(b"data: ") or b'"c"' not in lines[-1]:
        lines.append(response.readline())
    assert b"event: put\n" in lines
    connection.close()


@pytest.mark.parametrize(
    ("query", "reason", "status"),
    [
        ({"prefix": "jobs/", "since": "soon"}, "invalid", 422),
        ({"prefix": "nothing/"}, "invalid", 422),
        ({"prefix": "jobs/", "since": "7.1"}, "epoch_changed", 410),
    ],
)
def test_what_cannot_be_watched_is_a_problem(
    served: ServedNode, query: dict[str, str], reason: str, status: int
) -> None:
    """Before the stream begins."""
    with pytest.raises(HeroctlError) as caught:
        next(served.client().events("/v1/watch", query))
    assert (caught.value.reason, caught.value.http_status) == (reason, status)


def test_a_forgotten_cursor_is_said(served: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way out."""
    monkeypatch.setattr(limits, "WATCH_EVENTS", 10)
    monkeypatch.setattr(events, "_CHUNK_EVENTS", 5)
    for number in range(40):
        served.node.jobs.put(f"job-{number}", {})
    with pytest.raises(Compacted) as caught:
        next(served.client().events("/v1/watch", {"since": "1.1"}))
    assert "list what it watches" in str(caught.value.hint)


def test_a_token_watches_what_it_may_see(served: ServedNode) -> None:
    """Nothing without one; with one, rows that it may not see do not come."""
    with pytest.raises(CommandRejected) as caught:
        next(Client(served.address).events("/v1/watch", {"prefix": "jobs/"}))
    assert caught.value.reason == "denied"
    token = served.token({"resource": "job", "name": "web*", "actions": ["read"]})
    with pytest.raises(CommandRejected, match="may not list secret"):
        next(served.client(token).events("/v1/watch", {"prefix": "secrets/"}))
    stream = opened(served.client(token))
    for name in ("hidden", "web-1", "hidden-too", "web-2"):
        served.node.jobs.put(name, {})
    assert [e.body["name"] for e in changes(stream, 2)] == ["web-1", "web-2"]


def test_a_restore_ends_the_stream_with_its_reason(served: ServedNode) -> None:
    """As an event, behind what was there before."""
    stream = opened(served.client(), prefix="jobs/")
    served.node.jobs.put("web", {})
    assert [e.body["name"] for e in changes(stream, 1)] == ["web"]
    machine = served.node.replicator.machine
    load = served.node.replicator.call(lambda: machine.load([], revision=90, epoch=2, time_ms=1))
    load.result(LONG_S)
    with pytest.raises(EpochChanged, match="restored"):
        list(stream)


def test_a_token_that_is_gone_watches_nothing_more(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted: at once. Expired: when the next bookmark is due."""
    text = served.token()
    stream = opened(served.client(text), prefix="jobs/")
    served.node.acl.delete_token("test")
    with pytest.raises(RightsChanged):
        list(stream)
    with pytest.raises(CommandRejected, match="not valid"):
        next(served.client(text).events("/v1/watch"))
    monkeypatch.setattr(server_http, "_BOOKMARK_S", 0.01)
    short = served.node.acl.put_token("short", ["test"], expires_ms=int(time.time() * 1000) + 300)
    assert short.text is not None
    stream = opened(served.client(short.text), prefix="jobs/")
    with pytest.raises(CommandRejected, match="expired"):
        list(stream)


def test_a_quiet_stream_has_bookmarks(served: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """They keep the connection, and move the cursor past what does not concern the watcher."""
    monkeypatch.setattr(server_http, "_BOOKMARK_S", 0.01)
    stream = opened(served.client(), prefix="ingress/")
    served.node.jobs.put("web", {})
    cursors = (e.cursor for e in islice(stream, 500) if e.name == "bookmark")
    assert "1.1" in cursors


def test_a_watcher_that_does_not_read_is_hung_up_on(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket is full; the server gives up on it, and on nobody else."""
    monkeypatch.setattr(server_http, "_READ_S", 0.5)
    host, _, port = served.address.partition(":")
    slow = socket.create_connection((host, int(port)))
    slow.settimeout(LONG_S)
    token = served.token()
    head = f"GET /v1/watch?prefix=jobs/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    slow.sendall(f"{head}\r\n".encode())
    assert slow.recv(100).startswith(b"HTTP/1.1 200")
    quick = opened(served.client(), prefix="jobs/")
    spec = {"filling": "x" * 100_000}
    with ThreadPoolExecutor(1) as pool:
        reads = pool.submit(changes, quick, 120)
        for number in range(120):
            served.node.jobs.put(f"job-{number % 3}", spec)
        assert len(reads.result(LONG_S)) == 120
    deadline_s = time.monotonic() + LONG_S
    while len(served.server._watches) > 1:  # nobody reads what was sent
        assert time.monotonic() < deadline_s
        served.client().get("/v1/status")
    received = 0
    try:
        while data := slow.recv(1_000_000):
            received += len(data)
    except ConnectionError:
        pass
    assert received < 120 * 100_000
    slow.close()


def test_a_watcher_that_falls_behind_is_told_so(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More changes wait than a watch may have: the stream ends with the reason."""
    monkeypatch.setattr(limits, "WATCH_QUEUE", 20)
    stream = opened(served.client(), prefix="jobs/")
    spec = {"filling": "x" * 100_000}
    for number in range(200):  # faster than the loop can send them
        served.node.jobs.put(f"job-{number % 3}", spec)
    with pytest.raises(SlowConsumer):
        list(stream)


def test_a_server_that_stops_ends_its_streams(served: ServedNode) -> None:
    """At once, with a word; it does not wait for watchers that never end by themselves."""
    stream = opened(served.client(), prefix="jobs/")
    with ThreadPoolExecutor(1) as pool:
        ends = pool.submit(lambda: list(stream))
        served.server.close()
        assert isinstance(ends.exception(LONG_S), NodeFault)


def test_many_watchers_over_http(served: ServedNode) -> None:
    """All see the same, in the same order."""
    streams = [opened(served.client(), prefix="jobs/") for _ in range(50)]
    for number in range(20):
        served.node.jobs.put(f"job-{number}", {})
    seen: list[list[Any]] = [[e.cursor for e in changes(s, 20)] for s in streams]
    assert seen == [[f"1.{n}" for n in range(1, 21)]] * 50
    assert json.dumps(seen[0])
