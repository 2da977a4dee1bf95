"""Who is told what happens on the network."""

from __future__ import annotations

from typing import Any, Protocol

from .greeting import Greeting
from .handshake import Hello, Judgement


class Listener(Protocol):
    """Called from `Transport.poll`."""

    def my_hello(self) -> Hello: ...
    def met(self, address: str | None, theirs: Hello, judgement: Judgement) -> Judgement:
        """Another node said hello, on a connection to `address` or, None, one that it opened. What
        it is to us: `judgement`, or a refusal."""
        ...

    def unreachable(self, address: str, *, refused: bool) -> None: ...
    def opened(self, member_id: str) -> None: ...
    def closed(self, member_id: str) -> None: ...
    def peer_gone(self, member_id: str) -> None: ...
    def received(self, member_id: str, frame: list[Any]) -> str | None: ...
    def refused(self, what: str, reason: str) -> None: ...
    def met_other_key(self, theirs: Greeting) -> None:
        """A node that we dialed says that it has another secrets key. Nothing proves it."""
