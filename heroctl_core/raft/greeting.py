"""What two nodes say before they are peers, and how each proves that it has the key. Pure.

    dialer → acceptor   greet: protocol, cluster name, node name, key id, nonce
    acceptor → dialer   greet: the same of itself
    dialer → acceptor   hello and its proof
    acceptor → dialer   hello and its proof

A proof is an HMAC over the role of who makes it, both nonces and the hello, under a key derived
from the cluster's secrets key; so it proves possession of that key, covers what the hello says, is
of this connection only, and is of no use when it is sent back. A greeting proves nothing: all that
follows from it is that a connection ends, with a reason (docs/decisions/transport.md).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .. import codec
from .handshake import OLDEST_PROTOCOL, PROTOCOL, Hello, hello_from, spoken

NONCE_BYTES: Final = 32
PROOF_LABEL: Final = "heroctl raft handshake v1"  # the HKDF info of the key for proofs
_REASON_LENGTH: Final = 300
_TEXT_LENGTH: Final = 128


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whose a certificate is: a node of a cluster, or an authority when `node` is ""."""

    cluster: str
    node: str


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a node says first. Nobody has to believe it."""

    cluster_name: str
    name: str
    key_id: str
    nonce: bytes
    has_cluster: bool  # it is no empty node
    protocol: int = PROTOCOL
    oldest_protocol: int = OLDEST_PROTOCOL

    def to_frame(self) -> list[object]:
        """As it travels."""
        value = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return ["greet", value]


@dataclass(frozen=True, slots=True)
class Taken:
    """What follows from a frame: what to send, and either a proven hello, or a reason to end this
    connection, or neither. `other_key`: the greeting of one that has another key."""

    replies: tuple[list[object], ...] = ()
    hello: Hello | None = None
    refusal: str = ""
    other_key: Greeting | None = None


class Introduction:
    """One end of one connection until both are sure of each other."""

    def __init__(
        self,
        mine: Callable[[], Hello],
        key: bytes,
        *,
        dialed: bool,
        certificate: Certificate | None,
        nonce: bytes,
    ) -> None:
        """`mine`: what this node says of itself now; `key`: for proofs; `certificate`: what the
        other end showed, None without TLS; `nonce`: fresh random bytes."""
        self._mine = mine
        self._key = key
        self._dialed = dialed
        self._certificate = certificate
        self._nonce = nonce
        self._theirs: Greeting | None = None

    @property
    def name(self) -> str | None:
        """What the other node calls itself, once it said so."""
        return self._theirs.name if self._theirs else None

    def greet(self) -> list[object]:
        """The frame with our greeting."""
        mine = self._mine()
        return Greeting(
            mine.cluster_name,
            mine.name,
            mine.key_id,
            self._nonce,
            bool(mine.cluster_id),
            mine.protocol,
            mine.oldest_protocol,
        ).to_frame()

    def take(self, frame: list[Any]) -> Taken:
        """What follows from a frame of the other end; ValueError when it is none."""
        kind = frame[0]
        if len(frame) == 2 and kind == "greet" and self._theirs is None:
            return self._take_greeting(greeting_from(frame[1]))
        if len(frame) == 2 and kind == "refused":
            return self._take_refusal(frame[1])
        if len(frame) == 3 and kind == "hello" and self._theirs is not None:
            hello = self._proven(self._theirs, frame[1], frame[2])
            return Taken(() if self._dialed else (self._hello(),), hello)
        raise ValueError("no greeting" if self._theirs is None else "no hello")

    def _take_greeting(self, theirs: Greeting) -> Taken:
        self._theirs = theirs
        mine = self._mine()
        greeting: tuple[list[object], ...] = () if self._dialed else (self.greet(),)
        reason = refusal_of(mine, theirs, self._certificate)
        other_key = theirs if not reason and theirs.key_id != mine.key_id else None
        if other_key is not None:
            reason = f"its secrets key is {theirs.key_id}, ours {mine.key_id}"
        if reason:
            refused: list[object] = ["refused", reason[:_REASON_LENGTH]]
            return Taken((*greeting, refused), refusal=reason, other_key=other_key)
        return Taken((self._hello(),) if self._dialed else greeting)

    def _take_refusal(self, reason: object) -> Taken:
        """The other end says why it hangs up. Only whom we asked, or who showed a certificate, may
        put words into our log."""
        if not isinstance(reason, str) or not (self._dialed or self._certificate):
            raise ValueError("no greeting")
        shown = "".join(c if c.isprintable() else "?" for c in reason[:_REASON_LENGTH])
        return Taken(refusal=f"it refused this node: {shown}")

    def _hello(self) -> list[object]:
        body = codec.pack_frame(self._mine().to_value())
        return ["hello", body, self.proof_of(body)]

    def proof_of(self, body: bytes) -> bytes:
        """Our proof over the bytes of a hello, once the other end has greeted."""
        assert self._theirs is not None
        return self._proof(self._theirs, body, by_dialer=self._dialed)

    def frame_key(self, theirs: Hello) -> bytes | None:
        """The key that seals the frames of this connection, once both said hello; None where TLS
        does it, or where one of them is of a release that does not."""
        if self._certificate is not None or not (theirs.seals and self._mine().seals):
            return None
        assert self._theirs is not None
        return self._keyed(self._theirs, "frames", b"")

    def _proven(self, theirs: Greeting, body: object, proof: object) -> Hello:
        if not isinstance(body, bytes) or not isinstance(proof, bytes):
            raise ValueError("malformed hello: no bytes")
        if not hmac.compare_digest(proof, self._proof(theirs, body, by_dialer=not self._dialed)):
            raise ValueError(f"it does not have the secrets key {theirs.key_id}")
        hello = hello_from(codec.unpack(body))
        said = (hello.cluster_name, hello.name, hello.key_id)
        if said != (theirs.cluster_name, theirs.name, theirs.key_id):
            raise ValueError("malformed hello: its greeting said something else")
        return hello

    def _proof(self, theirs: Greeting, body: bytes, *, by_dialer: bool) -> bytes:
        return self._keyed(theirs, "dialer" if by_dialer else "acceptor", body)

    def _keyed(self, theirs: Greeting, use: str, body: bytes) -> bytes:
        nonces = (self._nonce, theirs.nonce) if self._dialed else (theirs.nonce, self._nonce)
        said = codec.pack_frame([use, *nonces, body])
        return hmac.digest(self._key, said, "sha256")


def greeting_from(value: object) -> Greeting:
    """The greeting in a frame; ValueError when it is none."""
    value = spoken(value)
    texts = [value.get(name) for name in ("cluster_name", "name", "key_id")]
    if not all(isinstance(text, str) and len(text) <= _TEXT_LENGTH for text in texts):
        raise ValueError("malformed greeting: a text")
    nonce, has_cluster = value.get("nonce"), value.get("has_cluster")
    if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES or type(has_cluster) is not bool:
        raise ValueError("malformed greeting: nonce or has_cluster")
    shown = ["".join(c if c.isprintable() else "?" for c in str(text)) for text in texts]
    return Greeting(shown[0], shown[1], shown[2], nonce, has_cluster)


def refusal_of(mine: Hello, theirs: Greeting, certificate: Certificate | None) -> str:
    """Why a node of that name is refused, as an operator should read it; "" when it is not."""
    if certificate is not None and certificate.cluster != mine.cluster_name:
        return f"its certificate is of cluster {certificate.cluster!r}, not {mine.cluster_name!r}"
    if certificate is not None and certificate.node != theirs.name:
        return f"its certificate is that of node {certificate.node!r}, it says {theirs.name!r}"
    if theirs.cluster_name != mine.cluster_name:
        return f"it belongs to cluster {theirs.cluster_name!r}, this is {mine.cluster_name!r}"
    return ""
