"""Requests that are no HTTP, or lie about their body: a clear answer, and nothing in the log."""

from __future__ import annotations

import http.client
import logging
import socket

import pytest

from heroctl_core.server.discreet import Discreet
from heroctl_core.testing.memory_node import ServedNode

HEAD = b"PUT /v1/secrets/db HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def answer(served: ServedNode, request: bytes) -> bytes:
    """The first bytes of what the node says to bytes on a connection that then stays open."""
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(65536)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer heroctl_hunter2\x01\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer heroctl_hunter2\r\n\r\n",
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n{"value": "hunter2"}\r\n',
        b"GET http://[hunter2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_cannot_be_parsed_is_not_logged(
    served: ServedNode, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    """The log says that there was such a request, and not what was in it: a token, a secret."""
    with caplog.at_level(logging.DEBUG):
        assert b" 400 " in answer(served, request_bytes)
    written = logging.Formatter().format
    lines = [written(record) for record in caplog.records if record.name == "heroctl.api.http"]
    assert len(lines) == 1 and "Error handling request" in lines[0]
    assert "hunter2" not in "".join(written(record) for record in caplog.records)
    assert "\n" not in lines[0]


def test_a_connection_that_ends_is_not_logged() -> None:
    """A client that hangs up is its own matter; other errors are told by kind and place."""
    told = []
    for error in (ConnectionResetError("hunter2"), ValueError("hunter2")):
        try:
            raise error
        except (ConnectionError, ValueError) as caught:
            record = logging.LogRecord(
                "x", logging.ERROR, "", 0, "Unhandled", (), (type(caught), caught, None)
            )
        told.append((Discreet().filter(record), record.getMessage()))
    assert [kept for kept, _ in told] == [False, True]
    assert told[1][1].startswith("Unhandled: ValueError at test_server_hostile.py:")
    assert "hunter2" not in told[1][1]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x"])
def test_an_encoded_body_is_refused(served: ServedNode, encoding: str) -> None:
    """Nobody sends bodies so; one that is not what it says was a plain 500 once."""
    connection = http.client.HTTPConnection(served.address, timeout=10)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    headers["Authorization"] = f"Bearer {served.token()}"
    connection.request("PUT", "/v1/jobs/web", body=b'{"spec": {}}', headers=headers)
    response = connection.getresponse()
    said = response.read()
    connection.close()
    assert (response.status, f"application/json in {encoding}".encode() in said) == (415, True)


def test_a_body_that_says_it_is_too_long_is_refused_at_once(served: ServedNode) -> None:
    """The answer comes before the body does."""
    said = answer(served, HEAD + b"Content-Length: 99999999999\r\n\r\n{")
    assert said.startswith(b"HTTP/1.1 413 ") and b"has 99999999999 bytes" in said
