"""Asks addresses who answers there, without taking part: for a restore that must know whether the
cluster that it replaces still lives.

The probe says hello as a node with an empty folder and a random member id, reads the answer and
hangs up; nobody changes anything because of it.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from .. import codec, limits
from .channel import FRAME_HEAD, NO_TAG
from .handshake import Hello, hello_from

_TIMEOUT_S: Final = 2.0
_AT_ONCE: Final = 8


def probe(addresses: Sequence[str], cluster_name: str) -> list[tuple[str, Hello]]:
    """(address, hello) of every node that answers within two seconds, in the order of addresses."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda address: _ask(address, cluster_name), addresses)
        return [(a, h) for a, h in zip(addresses, answers, strict=True) if h is not None]


def _ask(address: str, cluster_name: str) -> Hello | None:
    host, _, port = address.rpartition(":")
    hello = Hello(
        cluster_name=cluster_name,
        cluster_id="",
        lineage=(),
        member_id=secrets.token_hex(16),
        boot_nonce=secrets.token_hex(8),
        name="probe",
        address="",
        key_id="",
        expect=0,
    )
    body = codec.pack_frame(["hello", hello.to_value()])
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT_S) as sock:
            sock.settimeout(_TIMEOUT_S)
            sock.sendall(FRAME_HEAD.pack(len(body), NO_TAG) + body)
            length, _ = FRAME_HEAD.unpack(_read(sock, FRAME_HEAD.size))
            if length > limits.FRAME_BYTES:
                return None
            frame = codec.unpack(_read(sock, length))
            return hello_from(frame[1]) if isinstance(frame, list) and len(frame) == 2 else None
    except (OSError, ValueError):
        return None  # nobody, or nobody of ours, answers there


def _read(sock: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise ValueError("the connection ended in the middle of a frame")
        data += piece
    return bytes(data)
