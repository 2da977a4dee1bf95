"""Inputs that a hostile peer could send, for the frame decoder, the handshake and the engine.

Valid greetings, hellos and frames of every kind are spoiled: in their bytes, in their fields, and
in their bytes with a proof that fits again, as only one that has the key could send them. Whatever
comes, the receiving side must end with a ValueError, a reason, or a value; anything else is a bug.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from .. import codec
from ..errors import NodeFault
from ..raft.channel import FRAME_HEAD, NO_TAG, Channel, Stream
from ..raft.greeting import NONCE_BYTES, Introduction
from ..raft.handshake import Hello, judge
from ..raft.header import Header, check_hello
from ..raft.inbound import SHAPES
from ..raft.membership import Configuration, MemberSpec
from ..raft.port import Generation
from .crash_disk import PowerCut
from .simulator import World

KEY: Final = b"derived from the cluster's secrets key"
_WORLD_INPUTS: Final = 2_000  # a node that took this many is left for a new one
_ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**64 - 1, -(2**63), 0.5, float("nan")),
    *("", "a", "../../etc", "x" * 600, "\x00", b"", b"\x80", bytes(64), [], [[]], {}, {"a": 1}),
    *([[1, "first"]], [["a", b"b"]], {"format": 1}, [None] * 40),
)


def hello_of(member_id: str) -> Hello:
    """What a member of a small cluster says."""
    members = Configuration({member_id: MemberSpec("node", "127.0.0.1:7101", voter=True)})
    lineage = (Generation(1, "first"),)
    header = Header("c" * 32, "prod", lineage, members, "bootstrap", "2026-01-01T00:00:00Z")
    return Hello(
        cluster_name="prod",
        cluster_id=header.cluster_id,
        lineage=((1, "first"),),
        member_id=member_id,
        boot_nonce=f"boot of {member_id}",
        name=f"node-{member_id[:4]}",
        address="127.0.0.1:7101",
        key_id="key",
        expect=3,
        header=header.to_value(),
    )


class _Bytes(Stream):
    """A stream that gives what it was made of."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    def fileno(self) -> int:
        return 0

    def receive(self) -> bytes | None:
        data, self._data = self._data, None
        return data


@dataclass
class Attack:
    """Sends spoiled inputs from a seed; `outcomes` counts how they ended."""

    rng: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)
    _mine: Hello = field(default_factory=lambda: hello_of("a" * 32))
    _theirs: Hello = field(default_factory=lambda: hello_of("b" * 32))
    _world: World | None = None
    _world_inputs: int = 0

    def strike(self) -> None:
        """One input of a random kind; raises what no input may cause."""
        kinds: tuple[Callable[[], None], ...] = (
            self._rubbish,
            self._spoiled_greeting,
            self._spoiled_proof,
            self._spoiled_hello,
            self._proven_rubbish,
            self._frame_of_a_stranger,
            self._frame_of_a_peer,
        )
        self.rng.choice(kinds)()

    # -- strangers: nothing that they say may count

    def _rubbish(self) -> None:
        self._stranger(self.rng.randbytes(self.rng.randrange(200)))

    def _spoiled_greeting(self) -> None:
        self._stranger(self._spoil(_framed(self._introduction(dialed=True).greet())))

    def _spoiled_proof(self) -> None:
        greeting, answer = self._conversation(self._theirs.to_value())
        self._stranger(greeting + self._spoil(answer), said=self._theirs)

    def _frame_of_a_stranger(self) -> None:
        self._stranger(b"".join(_framed(self._frame()) for _ in range(self.rng.randrange(1, 4))))

    def _stranger(self, data: bytes, said: Hello | None = None) -> None:
        """The acceptor's side of a connection; any hello but the one that was said, if one was,
        would be a forgery."""
        hello = self._converse(data)
        if hello is not None and (said is None or hello.to_value() != said.to_value()):
            raise AssertionError(f"a stranger was believed: {data.hex()}")

    # -- who has the key: it is believed, but can break nothing

    def _spoiled_hello(self) -> None:
        value = self._theirs.to_value()
        for _ in range(self.rng.randrange(1, 4)):
            self._replace(value)
        self._converse(b"".join(self._conversation(value)))

    def _proven_rubbish(self) -> None:
        body = self._spoil(codec.pack_frame(self._theirs.to_value()))
        greeting, answer = self._conversation(body)
        self._converse(greeting + answer)

    def _frame_of_a_peer(self) -> None:
        if self._world is None or self._world_inputs >= _WORLD_INPUTS:
            self._world, self._world_inputs = _serving_world(self.rng.randrange(2**32)), 0
        self._world_inputs += 1
        node = self.rng.choice(self._world.nodes)
        data = codec.pack_frame(self._frame())
        try:
            frame = codec.unpack(self._spoil(data) if self.rng.random() < 0.5 else data)
            if isinstance(frame, list) and frame:
                sender = self.rng.choice(sorted(node.configuration.members))
                self.outcomes["cut off" if node.receive(sender, frame) else "taken"] += 1
        except ValueError:
            self.outcomes["refused"] += 1
        except PowerCut:  # of the simulated machine, which has its own faults
            self._world = None
        except NodeFault:  # what contradicts Raft itself stops the node, loudly
            self.outcomes["node stopped"] += 1
            self._world = None

    # -- the parts

    def _introduction(self, *, dialed: bool, nonce: bytes | None = None) -> Introduction:
        hello = self._theirs if dialed else self._mine
        return Introduction(
            lambda: hello,
            KEY,
            dialed=dialed,
            certificate=None,
            nonce=nonce or self.rng.randbytes(NONCE_BYTES),
        )

    def _conversation(self, value: object) -> tuple[bytes, bytes]:
        """Greeting and proven hello of a dialer, for the acceptor whose nonce is all zeros.
        `value` may be bytes: the hello as it is packed."""
        dialer = self._introduction(dialed=True)
        greeting = dialer.greet()
        acceptor = self._introduction(dialed=False, nonce=bytes(NONCE_BYTES))
        dialer.take(list(acceptor.greet()))
        body = value if isinstance(value, bytes) else codec.pack_frame(value)
        return _framed(greeting), _framed(["hello", body, dialer.proof_of(body)])

    def _converse(self, data: bytes) -> Hello | None:
        """What the acceptor's side makes of all that came on a connection."""
        channel = Channel(_Bytes(data), None, 0.0, "a peer")
        channel.introduction = self._introduction(dialed=False, nonce=bytes(NONCE_BYTES))
        try:
            channel.fill()
            while (frame := channel.next_frame()) is not None:
                value = codec.unpack(frame[1])
                if not isinstance(value, list) or not value:
                    raise ValueError("a frame that is no list")
                taken = channel.introduction.take(value)
                if taken.hello is not None:
                    check_hello(taken.hello)
                    relation = judge(self._mine, taken.hello).relation
                    self.outcomes[f"met: {relation.value}"] += 1
                    return taken.hello
                if taken.refusal:
                    self.outcomes["refused"] += 1
                    return None
        except ValueError:
            self.outcomes["cut off"] += 1
            return None
        self.outcomes["waits for more"] += 1
        return None

    def _frame(self) -> list[object]:
        kind = self.rng.choice(sorted(SHAPES))
        return [kind, *(self._value(shape) for shape in SHAPES[kind])]

    def _value(self, shape: object) -> object:
        """Mostly what the shape says, else anything."""
        rng = self.rng
        if rng.random() < 0.1:
            return rng.choice(_ODD)
        if isinstance(shape, list):
            return [self._value(shape[0]) for _ in range(rng.randrange(4))]
        if isinstance(shape, tuple):
            return [self._value(item) for item in shape]
        if shape is bool:
            return rng.random() < 0.5
        if shape is bytes:
            return rng.randbytes(rng.randrange(40))
        if shape is str:
            return rng.choice(["", "a" * 32, "b" * 64, "ü"])
        return rng.choice([0, 1, 2, 3, 5, 100, 2**40, 2**63 - 1])

    def _replace(self, value: dict[str, Any]) -> None:
        """One field of a map, or of a map in it, becomes something odd or goes."""
        name = self.rng.choice(sorted(value))
        if isinstance(value[name], dict) and value[name] and self.rng.random() < 0.7:
            value[name] = dict(value[name])
            if all(isinstance(key, str) for key in value[name]):
                self._replace(value[name])
        elif self.rng.random() < 0.1:
            del value[name]
            value["another"] = 1
        else:
            value[name] = self.rng.choice(_ODD)

    def _spoil(self, data: bytes) -> bytes:
        """Flipped, cut, doubled, put in, or another length."""
        rng, spoiled = self.rng, bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            at = rng.randrange(len(spoiled) or 1)
            what = rng.randrange(5)
            if what == 0 and spoiled:
                spoiled[at] ^= 1 << rng.randrange(8)
            elif what == 1:
                del spoiled[at:]
            elif what == 2:
                spoiled[at:at] = rng.randbytes(rng.randrange(1, 9))
            elif what == 3:
                spoiled[at:at] = spoiled[: rng.randrange(64)]
            elif len(spoiled) >= FRAME_HEAD.size:
                struct.pack_into(">I", spoiled, 0, rng.choice((0, 1, 2**16, 2**31, 2**32 - 1)))
        return bytes(spoiled)


def _framed(frame: list[object]) -> bytes:
    body = codec.pack_frame(frame)
    return FRAME_HEAD.pack(len(body), NO_TAG) + body


def _serving_world(seed: int) -> World:
    """Three simulated nodes of which one leads."""
    world = World(seed=seed, voters=3)
    for _ in range(20_000):
        world.step()
        if any(node.leading for node in world.nodes):
            return world
    raise AssertionError("nobody was elected")
