"""The client against nodes that misbehave: what is lost, what is repeated, what is refused."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from heroctl_core import errors
from heroctl_core.client import Client, first_reachable, path_of, with_query
from heroctl_core.errors import (
    CommandRejected,
    Damaged,
    HeroctlError,
    OutcomeUnknown,
    Unreachable,
    UsageError,
)

OK = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"revision":1}'
)


class ScriptedNode:
    """Answers the n-th connection with the n-th script: bytes to send, or None to hang up."""

    def __init__(self, *scripts: bytes | None) -> None:
        self.requests: list[bytes] = []
        self._scripts = scripts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for script in self._scripts:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.requests.append(connection.recv(65536))
                if script is not None:
                    connection.sendall(script)
        self._listener.close()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def node() -> Iterator[Callable[..., ScriptedNode]]:
    """Makes scripted nodes."""
    made: list[ScriptedNode] = []

    def make(*scripts: bytes | None) -> ScriptedNode:
        made.append(ScriptedNode(*scripts))
        return made[-1]

    yield make
    for each in made:
        each.close()


def problem(status: int, **told: object) -> bytes:
    """A response with a problem document."""
    body = json.dumps({"detail": "x", **told}).encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/problem+json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def key_of(request: bytes) -> bytes:
    """The Idempotency-Key of a request."""
    return request.split(b"Idempotency-Key: ")[1].split(b"\r\n")[0]


def test_a_lost_answer_is_asked_for_once_more_with_the_same_id(
    node: Callable[..., ScriptedNode],
) -> None:
    """The node then tells the first outcome again: no second effect, no error."""
    there = node(None, OK)
    assert Client(there.address).write("PUT", "/v1/jobs/a", {}).body == {"revision": 1}
    first, second = there.requests
    assert key_of(first) == key_of(second)


def test_an_answer_that_is_lost_twice_is_unknown(node: Callable[..., ScriptedNode]) -> None:
    """Nobody knows whether it was applied: never reported as failed."""
    there = node(None, None)
    with pytest.raises(OutcomeUnknown, match="request id") as caught:
        Client(there.address).write("PUT", "/v1/jobs/a", {})
    assert "repeat it with the same request id" in str(caught.value.hint)
    assert "is this the Raft port?" in str(caught.value.hint)


def test_a_node_that_dies_after_the_first_try_leaves_the_outcome_unknown(
    node: Callable[..., ScriptedNode],
) -> None:
    """The second try finds nobody; but the first may have been applied."""
    there = node(None)
    with pytest.raises(OutcomeUnknown):
        Client(there.address).write("DELETE", "/v1/jobs/a")


def test_a_write_that_must_not_be_repeated_is_not(node: Callable[..., ScriptedNode]) -> None:
    """A second answer could not show the secret of a new token."""
    there = node(None, OK)
    with pytest.raises(OutcomeUnknown):
        Client(there.address).write("POST", "/v1/acl/bootstrap", {}, retry=False)
    assert len(there.requests) == 1


def test_a_read_without_an_answer_is_unreachable(node: Callable[..., ScriptedNode]) -> None:
    """After one more try; reading has no effect to be unsure about."""
    there = node(None, None)
    with pytest.raises(Unreachable) as caught:
        Client(there.address).get("/v1/jobs")
    assert "is this the Raft port?" in str(caught.value.hint)
    assert len(there.requests) == 2


def test_silence_ends_at_the_deadline(node: Callable[..., ScriptedNode]) -> None:
    """A write that was sent and not answered in time is unknown, and not sent again."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(OutcomeUnknown):
            Client(address, timeout_s=0.05).write("PUT", "/v1/jobs/a", {})
        with pytest.raises(Unreachable):
            Client(address, timeout_s=0.05).get("/v1/jobs")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("read_only", errors.ReadOnly),
        ("no_leader", errors.NoLeader),
        ("overloaded", errors.Overloaded),
        ("outcome_unknown", errors.OutcomeUnknown),
        ("refused", errors.RecoveryError),
        ("wrong_key", errors.WrongKey),
        ("damaged", errors.Damaged),
        ("busy", errors.Busy),
        ("not_found", errors.CommandRejected),
    ],
)
def test_a_problem_document_becomes_the_error_that_it_describes(
    node: Callable[..., ScriptedNode], reason: str, kind: type[HeroctlError]
) -> None:
    """Class, message, hint and exit code are those of the node."""
    there = node(problem(409, reason=reason, detail="chunk 7 of 12", hint="do this"))
    with pytest.raises(kind) as caught:
        Client(there.address).get("/v1/jobs/a")
    error = caught.value
    assert (error.reason, error.message, error.hint) == (reason, "chunk 7 of 12", "do this")


def test_a_reason_of_a_newer_node_keeps_its_exit_code(node: Callable[..., ScriptedNode]) -> None:
    """An older command line passes on what it does not know."""
    there = node(problem(409, reason="paused", exit_code=9))
    with pytest.raises(HeroctlError) as caught:
        Client(there.address).get("/v1/jobs")
    assert (caught.value.reason, caught.value.exit_code) == ("paused", 9)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"reason": "x"}', b""])
def test_an_error_that_is_no_problem_document_is_an_error(
    node: Callable[..., ScriptedNode], body: bytes
) -> None:
    """Something else listens at that port: its status is told."""
    head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Length: {len(body)}\r\n\r\n"
    there = node(head.encode() + body)
    with pytest.raises(HeroctlError, match="502 Bad Gateway"):
        Client(there.address).get("/v1/jobs")


def test_a_download_that_breaks_off_is_damaged(node: Callable[..., ScriptedNode]) -> None:
    """However many bytes came."""
    there = node(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    with pytest.raises(Damaged, match="500 of 1000 bytes"):
        Client(there.address).download("/v1/snapshot", None, io.BytesIO())


def test_a_download_without_a_digest_is_refused(node: Callable[..., ScriptedNode]) -> None:
    """Nothing proves that it is what the node verified."""
    there = node(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
    with pytest.raises(Damaged, match="the node said none"):
        Client(there.address).download("/v1/snapshot", None, io.BytesIO())


def test_an_upload_without_an_answer_is_unknown_and_not_repeated(
    node: Callable[..., ScriptedNode],
) -> None:
    """A forced bootstrap may have begun."""
    there = node(None, OK)
    with pytest.raises(OutcomeUnknown):
        Client(there.address).upload("/v1/restore", {}, io.BytesIO(b"x" * 100), 100)
    assert len(there.requests) == 1


def test_the_first_node_that_answers_is_taken(node: Callable[..., ScriptedNode]) -> None:
    """Several addresses; none: all are named, with a hint."""
    there = node(OK)
    client = first_reachable(["127.0.0.1:1", "unix:/none", there.address])
    assert client.get("/v1/jobs").body == {"revision": 1}
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1.*unix:/none") as caught:
        first_reachable(["127.0.0.1:1", "unix:/none"])
    assert caught.value.exit_code == 3 and caught.value.hint


def test_only_loopback_is_reached_without_tls() -> None:
    """A token must not cross a network in clear text."""
    with pytest.raises(UsageError, match="needs TLS"):
        Client("192.0.2.1:7100", token="x")


def test_paths_and_queries_are_quoted() -> None:
    """Names may have every character."""
    assert path_of("jobs", "a/b c?") == "/v1/jobs/a%2Fb%20c%3F"
    assert with_query("/x", {"a": None, "b": True, "c": "d&e"}) == "/x?b=1&c=d%26e"
    assert with_query("/x", {"a": None}) == "/x"


def test_every_reason_has_one_class() -> None:
    """So that a problem document has one meaning."""
    seen: dict[str, type[HeroctlError]] = {}
    waiting = list(HeroctlError.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind is not CommandRejected:
            assert kind.reason not in seen, (kind, seen.get(kind.reason))
            seen[kind.reason] = kind
    assert not set(errors.REJECT_REASONS) & set(seen)


@pytest.mark.parametrize("token", ["heroctl_a\nb", "heroctl_a\x01", "heroctl_\u00e9"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_repeated(token: str) -> None:
    """A token file with two lines: the error says what is wrong and never shows the token."""
    with pytest.raises(UsageError, match="not one line of ASCII") as caught:
        Client("127.0.0.1:7100", token=token)
    assert "heroctl_" not in str(caught.value)


def test_a_name_that_is_no_text_is_refused() -> None:
    """Bytes of a command line that are no UTF-8 never become a path."""
    with pytest.raises(UsageError, match="is not UTF-8"):
        path_of("jobs", "web\udcff")
