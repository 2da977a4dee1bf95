"""Addresses of members: resolved beside the engine's thread, and listened on.

A name server may take half a minute to answer or never do; the engine must not wait for it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from ..config.model import split_address
from ..errors import ConfigError

Target = tuple[int, Any]  # family and socket address

_AT_ONCE: Final = 16  # look-ups under way; the others wait for their next turn


class Resolver:
    """Finds socket addresses without waiting. `wake` is called, on another thread, when an answer
    has come."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._asked: set[str] = set()
        self._answers: dict[str, list[Target] | OSError] = {}

    def look_up(self, address: str) -> list[Target] | None:
        """Where `address` is, or None when the answer is not there yet: ask again after `wake`.
        OSError when it means nothing. An answer is given once, then it is asked anew."""
        if is_numeric(address):
            return resolve(address)
        if address in self._answers:
            answer = self._answers.pop(address)
            if isinstance(answer, OSError):
                raise answer
            return answer
        if address not in self._asked and len(self._asked) < _AT_ONCE:
            self._asked.add(address)
            threading.Thread(
                target=self._ask, args=(address,), name="heroctl-resolve", daemon=True
            ).start()
        return None

    def _ask(self, address: str) -> None:
        try:
            self._answers[address] = resolve(address)
        except OSError as error:
            self._answers[address] = error
        self._asked.discard(address)
        self._wake()


def is_numeric(address: str) -> bool:
    """Whether no name server is needed for HOST:PORT; also for what is no address at all."""
    host, colon, _ = address.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return not (colon and host)
    return True


def resolve(address: str) -> list[Target]:
    """Where HOST:PORT is, at least one place; OSError when it means nothing. May take long."""
    host, _, port = address.rpartition(":")
    try:
        if port != "0":  # a listener may leave the choice to the system
            split_address(address)
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except ValueError as error:  # also a host that no encoding can hold
        raise OSError(errno.EINVAL, str(error)) from error
    return [(family, target) for family, _, _, _, target in found]


def listen(address: str, *, anywhere: bool) -> socket.socket:
    """A bound socket; only on loopback unless members prove who they are by certificates."""
    try:
        family, target = resolve(address)[0]
        server = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        text = error.strerror or str(error)
        raise ConfigError(f"raft.listen {address!r} is no address: {text}") from error
    if not anywhere and not ipaddress.ip_address(target[0]).is_loopback:
        server.close()
        raise ConfigError(
            f"raft.listen {address!r} is not a loopback address",
            hint="without tls: the Raft listener binds only to loopback, as in 127.0.0.1:7101",
        )
    server.setblocking(False)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(target)
    except OSError as error:
        server.close()
        hint = "another process uses it; see: ss -ltnp"
        if error.errno == errno.EADDRNOTAVAIL:
            hint = "this machine does not have that address; see: ip address"
        raise ConfigError(
            f"raft.listen {address!r} cannot be bound: {error.strerror}", hint=hint
        ) from error
    return server
