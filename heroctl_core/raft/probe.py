"""Asks addresses who answers there, without taking part: for a restore that must know whether the
cluster that it replaces still lives.

The probe introduces itself as a node with an empty folder and a random member id, reads the answer
and hangs up; nobody changes anything because of it.
"""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from .. import codec, limits
from ..errors import WrongKey
from .channel import FRAME_HEAD, NO_TAG
from .credentials import Credentials, certificate_of
from .greeting import NONCE_BYTES, Greeting, Introduction, Taken
from .handshake import Hello

_TIMEOUT_S: Final = 2.0
_AT_ONCE: Final = 8

log = logging.getLogger("heroctl.raft")


@dataclass(frozen=True, slots=True)
class Asker:
    """As whom the probe asks. `proof_keys`: key id → key of proofs, the most likely one first."""

    cluster_name: str
    node_name: str
    proof_keys: Mapping[str, bytes]
    credentials: Credentials | None = None


def probe(addresses: Sequence[str], asker: Asker) -> list[tuple[str, Hello]]:
    """(address, hello) of every node that answers within two seconds, in the order of addresses.
    WrongKey when a node of this cluster has a key that the asker lacks: it may well be serving."""
    if not asker.proof_keys:
        return []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda address: _ask(address, asker), addresses)
        return [(a, h) for a, h in zip(addresses, answers, strict=True) if h is not None]


def _ask(address: str, asker: Asker) -> Hello | None:
    try:
        answer = _converse(address, asker, next(iter(asker.proof_keys)))
        if answer.other_key is not None and answer.other_key.key_id in asker.proof_keys:
            answer = _converse(address, asker, answer.other_key.key_id)
    except (OSError, ValueError) as error:
        if not isinstance(error, ConnectionRefusedError | TimeoutError):
            log.warning("%s answers, but not as a node that this one can ask: %s", address, error)
        return None
    if answer.other_key is not None and answer.other_key.has_cluster:
        raise _wrong_key(address, answer.other_key)
    return answer.hello


def _wrong_key(address: str, theirs: Greeting) -> WrongKey:
    return WrongKey(
        f"node {theirs.name} at {address} has the secrets key {theirs.key_id}, which is not given, "
        "so nobody knows what it serves",
        hint="give that key too, or stop that node",
    )


def _converse(address: str, asker: Asker, key_id: str) -> Taken:
    """How the conversation with an address ends; OSError or ValueError when it does not."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT_S) as plain:
        plain.settimeout(_TIMEOUT_S)
        if asker.credentials is None:
            return _introduce(plain, asker, key_id)
        with asker.credentials.contexts.client.wrap_socket(plain) as sock:
            return _introduce(sock, asker, key_id)


def _introduce(sock: socket.socket, asker: Asker, key_id: str) -> Taken:
    mine = Hello(
        cluster_name=asker.cluster_name,
        cluster_id="",
        lineage=(),
        member_id=secrets.token_hex(16),
        boot_nonce=secrets.token_hex(8),
        name=asker.node_name,
        address="",
        key_id=key_id,
        expect=0,
    )
    shown = certificate_of(sock.getpeercert() or {}) if isinstance(sock, ssl.SSLSocket) else None
    introduction = Introduction(
        lambda: mine,
        asker.proof_keys[key_id],
        dialed=True,
        certificate=shown,
        nonce=secrets.token_bytes(NONCE_BYTES),
    )
    _send(sock, introduction.greet())
    while True:
        taken = introduction.take(_receive(sock))
        if taken.hello is not None or taken.refusal:
            return taken
        for reply in taken.replies:
            _send(sock, reply)


def _send(sock: socket.socket, frame: list[object]) -> None:
    body = codec.pack_frame(frame)
    sock.sendall(FRAME_HEAD.pack(len(body), NO_TAG) + body)


def _receive(sock: socket.socket) -> list[Any]:
    length, _ = FRAME_HEAD.unpack(_read(sock, FRAME_HEAD.size))
    if length > limits.FRAME_BYTES:
        raise ValueError("a frame that is too long")
    frame = codec.unpack(_read(sock, length))
    if not isinstance(frame, list) or not frame:
        raise ValueError("a frame that is no list")
    return frame


def _read(sock: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise ValueError("the connection ended in the middle of a frame")
        data += piece
    return bytes(data)
