"""One frozen dataclass for each command, and the envelope that carries it through the log.

A kind number is given once and never re-used. The body of a command is the list of its fields in
order, so fields are only ever added by a new version, which is proposed only when every voter
knows it. `expect` is None (do not care), 0 (must not exist) or the revision that the row must have.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final

from ..codec import pack, unpack

VERSION: Final = 1  # of every body so far
SCHEMA: Final = 2  # rises by one with every release that knows more commands than the one before
REQUEST_ID_BYTES: Final = 16


_STAMP_BYTES: Final = 6  # of a request id, before its 10 random bytes
_STAMP_RANGE_MS: Final = 7 * 24 * 3600 * 1000


def new_request_id(time_ms: int, random: bytes) -> bytes:
    """A request id that carries when it was made (as UUIDv7 does), from 10 random bytes.

    So a retry has the stamp of the first try by itself, and can be refused when its outcome is
    not kept any more, instead of being applied twice.
    """
    return time_ms.to_bytes(_STAMP_BYTES) + random[: REQUEST_ID_BYTES - _STAMP_BYTES]


def request_stamp_ms(request_id: bytes, now_ms: int) -> int:
    """The stamp in a request id, or `now_ms` for an id of 16 random bytes that carries none."""
    stamp_ms = int.from_bytes(request_id[:_STAMP_BYTES])
    return stamp_ms if abs(stamp_ms - now_ms) <= _STAMP_RANGE_MS else now_ms


EXPECT: Final = 0  # in place of a kind number, in a part of a Transaction


class UnknownKind(ValueError):
    """A command kind or version that this release does not know."""


@dataclass(frozen=True, slots=True)
class PutJob:
    """Write a job; `spec` is canonical msgpack."""

    name: str
    spec: bytes
    labels: dict[str, str]
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Drop a job that no ingress points at."""

    name: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class PutSecret:
    """Write a secret; `sealed` is cipher text."""

    name: str
    sealed: bytes
    metadata: dict[str, str]
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteSecret:
    """Drop a secret."""

    name: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class PutPolicy:
    """Write a policy; each rule has resource, name, actions and effect."""

    name: str
    rules: list[dict[str, Any]]
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class DeletePolicy:
    """Drop a policy that no token uses."""

    name: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class PutToken:
    """Write a token; `secret_hash` is sha256 of its secret."""

    accessor: str
    name: str
    secret_hash: bytes
    policies: list[str]
    expires_ms: int | None = None
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteToken:
    """Drop a token: revoke it."""

    accessor: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class PutIngress:
    """Write an ingress route; `spec` has host, path, job, port and tls."""

    name: str
    spec: dict[str, Any]
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteIngress:
    """Drop an ingress route."""

    name: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class PutNode:
    """Write a catalogued node."""

    name: str
    address: str
    labels: dict[str, str]
    resources: dict[str, int | float]
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteNode:
    """Drop a catalogued node."""

    name: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class AppendMetrics:
    """Add samples: a list of [series, labels, [[time_ms, value], ...]]."""

    samples: list[list[Any]]


@dataclass(frozen=True, slots=True)
class ExpireMetrics:
    """Drop metric blocks that end at or before `before_ms`."""

    before_ms: int


@dataclass(frozen=True, slots=True)
class PutKeyring:
    """Write the wrapped keyring."""

    wrapped: bytes
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteMetrics:
    """Drop every series of that name that has these labels."""

    series: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Transaction:
    """Write several rows, all or none: [[kind, body], ...], and expectations of others
    (state/transactions.py)."""

    operations: list[list[Any]]


Command = (
    PutJob
    | DeleteJob
    | PutSecret
    | DeleteSecret
    | PutPolicy
    | DeletePolicy
    | PutToken
    | DeleteToken
    | PutIngress
    | DeleteIngress
    | PutNode
    | DeleteNode
    | AppendMetrics
    | ExpireMetrics
    | PutKeyring
    | DeleteMetrics
    | Transaction
)

KINDS: Final[dict[int, type[Command]]] = {
    1: PutJob,
    2: DeleteJob,
    3: PutSecret,
    4: DeleteSecret,
    5: PutPolicy,
    6: DeletePolicy,
    7: PutToken,
    8: DeleteToken,
    9: PutIngress,
    10: DeleteIngress,
    11: PutNode,
    12: DeleteNode,
    13: AppendMetrics,
    14: ExpireMetrics,
    15: PutKeyring,
    16: DeleteMetrics,
    17: Transaction,
}
_NUMBERS: Final = {command: number for number, command in KINDS.items()}
FIELD_COUNTS: Final = {number: len(fields(command)) for number, command in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A command with who asks, from where, since when, and the id that makes a retry safe."""

    request_id: bytes  # 16 random bytes
    request_ms: int  # when the request was made, by the clock of the node that took it
    actor: str
    source: str
    command: Command


# Field values in order; attrgetter with one name gives the bare value.
_BODIES: Final = {
    command: attrgetter(*(field.name for field in fields(command))) for command in KINDS.values()
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """A part of a Transaction that writes nothing: a row must be at `revision`, 0: not exist."""

    table: str
    key: str
    revision: int


def operation(command: Command | Expectation) -> list[Any]:
    """The command or expectation as a part of a Transaction."""
    if isinstance(command, Expectation):
        return [EXPECT, [command.table, command.key, command.revision]]
    number = _NUMBERS[type(command)]
    values = _BODIES[type(command)](command)
    return [number, [values] if FIELD_COUNTS[number] == 1 else list(values)]


def part_of(operation: list[Any]) -> Command:
    """The command again; KeyError or TypeError for what `operation` did not make."""
    kind, body = operation
    return KINDS[kind](*body)


def encode(envelope: Envelope) -> bytes:
    """The bytes that travel in the log: msgpack of [kind, version, id, ms, actor, source, body].

    Raises TypeError or OverflowError for values that msgpack cannot hold.
    """
    number, body = operation(envelope.command)
    return pack(
        [
            number,
            VERSION,
            envelope.request_id,
            envelope.request_ms,
            envelope.actor,
            envelope.source,
            body,
        ]
    )


# (kind, version) → the schema that brought it; what is not here was there from the beginning.
_SINCE: Final[dict[tuple[int, int], int]] = {(17, 1): 2}


def schema_of(data: bytes) -> int:
    """The schema that a node must know to apply an envelope that `encode` made."""
    return _SINCE.get((data[1], data[2]), 1)


def request_id_of(data: bytes) -> bytes:
    """The request id of an envelope that `encode` made, without decoding it: it stands behind one
    byte each for the list, the kind and the version, and two for its own length."""
    return data[5:21]


def open_envelope(data: bytes) -> list[Any]:
    """The seven parts of an envelope, types checked; for the machine, which needs no dataclass.

    ValueError for bytes that are no envelope, UnknownKind for a kind or version from elsewhere.
    """
    parts = unpack(data)
    if type(parts) is not list or len(parts) != 7:
        raise ValueError("not an envelope of seven parts")
    kind, version, request_id, request_ms, actor, source, body = parts
    if (
        type(kind) is not int
        or type(version) is not int
        or type(request_id) is not bytes
        or len(request_id) != REQUEST_ID_BYTES
        or type(request_ms) is not int
        or type(actor) is not str
        or type(source) is not str
    ):
        raise ValueError("an envelope with parts of a wrong type")
    count = FIELD_COUNTS.get(kind)
    if count is None or version != VERSION:
        raise UnknownKind(f"command kind {kind} version {version} is not known here")
    if type(body) is not list or len(body) != count:
        raise ValueError(f"command kind {kind} needs a list of {count} fields")
    return parts


def decode(data: bytes) -> Envelope:
    """The envelope in `data`; ValueError or UnknownKind. The machine checks the field types."""
    kind, _, request_id, request_ms, actor, source, body = open_envelope(data)
    return Envelope(request_id, request_ms, actor, source, KINDS[kind](*body))
