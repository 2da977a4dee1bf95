"""Talks to a node's HTTP API over TCP or its unix socket; used by the command line and by drills.

Standard library only. Foreign errors become ours here: nobody there is Unreachable, an answer that
got lost after a write is OutcomeUnknown, a problem document (RFC 9457) is the error it describes.
Must not know what the resources mean. One Client belongs to one thread.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol
from urllib.parse import quote, urlencode

from . import limits, local_socket
from .config.model import API_PORT, check_loopback, split_address
from .errors import (
    CommandRejected,
    Damaged,
    HeroctlError,
    OutcomeUnknown,
    Unreachable,
    UsageError,
)
from .problems import error_of

CONNECT_TIMEOUT_S: Final = 5.0
TIMEOUT_S: Final = 30.0
TRANSFER_TIMEOUT_S: Final = 600.0  # of silence, while a snapshot is made or restored
_LOST: Final = (http.client.HTTPException, ConnectionError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered: the decoded JSON body, and where its state stood."""

    body: Any
    revision: int | None
    generation: int | None
    leader: str | None
    age_s: float | None  # seconds since the node heard a quorum; None: the answer is not stale


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event (server/event_stream.py): put, delete or bookmark."""

    name: str
    cursor: str
    body: Any


@dataclass(frozen=True, slots=True)
class Received:
    """A finished download. `summary` is what the node says about it."""

    size_bytes: int
    sha256: str
    summary: Mapping[str, Any]


class Sink(Protocol):
    """Where a download goes."""

    def write(self, data: bytes, /) -> object: ...


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = local_socket.connect(self._path, self.timeout or CONNECT_TIMEOUT_S)


def new_request_id() -> str:
    """A fresh id, 32 hex digits, under which a write may be repeated without a second effect."""
    return secrets.token_hex(16)


class Client:
    """One node at `target`: `HOST:PORT`, `http://HOST:PORT` or `unix:PATH`.

    The token is sent over TCP only: on a unix socket the node knows who calls from the kernel.
    Raises UsageError for a target that is none, or that only TLS could make safe.
    """

    def __init__(
        self, target: str, *, token: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.target = target.removeprefix("http://").rstrip("/")
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self._token = None if self.is_local else token
        if not self.is_local:
            try:
                check_loopback(self.target)
            except ValueError as error:
                raise UsageError(f"address {error}") from error
            if token and not (token.isascii() and token.isprintable()):
                # Here, because http.client would repeat the token in its error.
                raise UsageError("the token is not one line of ASCII", hint="copy it again")

    @property
    def is_local(self) -> bool:
        """True over a unix socket: the same machine, and the caller known by its user id."""
        return self.target.startswith("unix:")

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Answer:
        """The answer to a read."""
        return self._ask("GET", with_query(path, query), None, {}, None)

    def text(self, path: str) -> str:
        """The body of an answer that is no JSON, as /metrics."""
        return str(self._ask("GET", path, None, {}, None).body)

    def write(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        expect: int | None = None,
        request_id: str | None = None,
        retry: bool = True,
    ) -> Answer:
        """The answer to a write; OutcomeUnknown, with its request id, when it got lost.

        A lost answer is asked for once more with the same id, unless `retry` is false: the answer
        to a new token holds a secret that a second answer could not repeat.
        """
        name = request_id or new_request_id()
        headers = {"Idempotency-Key": name, "Content-Type": "application/json"}
        if expect is not None:
            headers["If-Match"] = f'"{expect}"'
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            return self._ask(method, path, data, headers, name if retry else None)
        except OutcomeUnknown as error:
            message = f"{error.message}; request id {name}"
            raise OutcomeUnknown(message, hint=error.hint) from error

    def download(self, path: str, query: Mapping[str, object] | None, sink: Sink) -> Received:
        """Streams an answer into `sink`; Damaged when it is not what the node's digest says."""
        self.close()
        response = self._send("GET", with_query(path, query), None, {}, TRANSFER_TIMEOUT_S)
        try:
            if response.status >= 300:
                raise _problem(response, response.read())
            digest, count = hashlib.sha256(), 0
            while chunk := response.read(limits.MIB):
                digest.update(chunk)
                count += len(chunk)
                sink.write(chunk)
        except http.client.HTTPException as error:
            raise Damaged(f"the download broke off after {count} bytes") from error
        except (ConnectionError, TimeoutError) as error:
            raise Unreachable(f"{self.target} broke off the download: {error}") from error
        finally:
            self.close()
        # read() with a size does not complain about a body that ends early.
        size = response.headers.get("Content-Length", str(count))
        if size != str(count):
            raise Damaged(f"the download broke off after {count} of {size} bytes")
        told = response.headers.get("Repr-Digest", "")
        ours = repr_digest(digest.digest())
        if told != ours:
            raise Damaged(f"the download has the digest {ours}, the node said {told or 'none'}")
        summary = json.loads(response.headers.get("X-Heroctl-Snapshot", "{}"))
        return Received(count, digest.hexdigest(), summary)

    def events(self, path: str, query: Mapping[str, object] | None = None) -> Iterator[Event]:
        """Server-sent events, one by one, as they come. When the node ends them, the error that it
        gives; Unreachable when the connection breaks. Go on with the last cursor."""
        self.close()
        try:
            response = self._send("GET", with_query(path, query), None, {}, self._timeout_s)
            if response.status >= 300:
                raise _problem(response, response.read())
            fields: dict[str, str] = {}
            while line := response.readline(limits.EVENT_BYTES).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                    continue
                body = json.loads(fields["data"])
                if fields["event"] == "end":
                    raise error_of(body)
                yield Event(fields["event"], fields["id"], body)
                fields = {}
        except _LOST as error:
            raise Unreachable(f"{self.target} broke off: {_words(error)}") from error
        finally:
            self.close()
        raise Unreachable(f"{self.target} broke off")

    def upload(
        self, path: str, query: Mapping[str, object], source: BinaryIO, size_bytes: int
    ) -> Answer:
        """Sends `source` as the body of a POST; the node's answer. Never repeated."""
        self.close()
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size_bytes),
            "Idempotency-Key": new_request_id(),
        }
        chunks = iter(lambda: source.read(limits.MIB), b"")
        try:
            response = self._send(
                "POST", with_query(path, query), chunks, headers, TRANSFER_TIMEOUT_S
            )
            return _answer(response, response.read())
        except Unreachable:
            raise
        except _LOST as error:
            raise OutcomeUnknown(f"{self.target} broke off: {error}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Closes the connection; the next call opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        request_id: str | None,
    ) -> Answer:
        """One call; a connection that broke is opened once more when repeating is safe."""
        is_read = method == "GET"
        sent = False
        for last in (False, True):
            try:
                response = self._send(method, path, body, headers, self._timeout_s)
                return _answer(response, response.read())
            except Unreachable as error:
                if sent and not is_read:
                    raise OutcomeUnknown(f"no answer, and then {error.message}") from error
                raise
            except _LOST as error:
                self.close()
                sent = True
                lost = error
                if last or not (is_read or request_id) or isinstance(error, TimeoutError):
                    break
        kind = Unreachable if is_read else OutcomeUnknown
        message = f"{self.target} did not answer: {_words(lost)}"
        hints = [hint for hint in (kind.default_hint, self._port_hint(lost)) if hint]
        raise kind(message, hint="; ".join(hints) or None) from lost

    def _port_hint(self, lost: BaseException) -> str | None:
        """What may be wrong with an address where somebody hangs up without a word of HTTP."""
        hung_up = isinstance(lost, http.client.BadStatusLine | ConnectionResetError)
        if self.is_local or not hung_up:
            return None
        return f"is this the Raft port? The API listens on api.listen ({API_PORT})"

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> http.client.HTTPResponse:
        """The response, its body not yet read. Unreachable when nobody is there."""
        if self._connection is not None and self._connection.sock is None:
            self.close()  # the node closed it after its last answer
        connection = self._connection or self._connect(timeout_s)
        all_headers = {"Accept": "application/json", **headers}
        if self._token:
            all_headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, path, body=body, headers=all_headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a node that refuses a body early has answered before we were done
        return connection.getresponse()

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self.is_local:
            connection = _UnixConnection(self.target.removeprefix("unix:"), CONNECT_TIMEOUT_S)
        else:
            host, port = split_address(self.target)
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
        except PermissionError as error:
            raise CommandRejected(
                "denied",
                f"{self.target} belongs to another user",
                hint="run as root or as the server's user, or use --addr and a token",
            ) from error
        except OSError as error:
            raise Unreachable(f"no node answers at {self.target}: {_words(error)}") from error
        connection.sock.settimeout(timeout_s)
        self._connection = connection
        return connection


def first_reachable(
    targets: list[str], *, token: str | None = None, timeout_s: float = TIMEOUT_S
) -> Client:
    """A client of the first target where a node answers; Unreachable naming all of them."""
    reasons = []
    for target in targets:
        client = Client(target, token=token, timeout_s=timeout_s)
        try:
            client._connect(timeout_s)
        except Unreachable as error:
            reasons.append(error.message)
        else:
            return client
    raise Unreachable(
        "; ".join(reasons) or "no address of a node is known",
        hint="start it (heroctl server, heroctl dev), or name one: --addr HOST:PORT",
    )


def path_of(*parts: str) -> str:
    """An API path of parts, each quoted: names may have a slash in them."""
    try:
        return "/v1/" + "/".join(quote(part, safe="") for part in parts)
    except UnicodeEncodeError as error:  # bytes of the command line that are no text
        raise UsageError(f"the name {error.object!r} is not UTF-8") from error


def with_query(path: str, query: Mapping[str, object] | None) -> str:
    """`path` with a query; values that are None are left out, true is 1."""
    given = {k: int(v) if isinstance(v, bool) else v for k, v in (query or {}).items()}
    text = urlencode({k: v for k, v in given.items() if v is not None})
    return f"{path}?{text}" if text else path


def repr_digest(sha256: bytes) -> str:
    """The value of the Repr-Digest header (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def _answer(response: http.client.HTTPResponse, body: bytes) -> Answer:
    if response.status >= 300:
        raise _problem(response, body)
    is_json = response.headers.get_content_subtype() == "json"
    decoded: Any = json.loads(body) if is_json and body else body.decode()
    read = response.headers.get
    return Answer(
        decoded,
        _number(read("X-Heroctl-Revision"), int),
        _number(read("X-Heroctl-Generation"), int),
        read("X-Heroctl-Leader") or None,
        _number(read("X-Heroctl-Age"), float),
    )


def _number(text: str | None, kind: Callable[[str], Any]) -> Any:
    return None if text is None else kind(text)


def _problem(response: http.client.HTTPResponse, body: bytes) -> HeroctlError:
    """The error that a problem document describes."""
    try:
        return error_of(json.loads(body))
    except (ValueError, KeyError, TypeError):
        return HeroctlError(f"the node answered {response.status} {response.reason}")


def _words(error: BaseException) -> str:
    """A short, lower-case reason."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]
