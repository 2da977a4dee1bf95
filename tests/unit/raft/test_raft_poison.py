"""A peer that forwards what no node can apply is cut off; the log stays clean."""

from __future__ import annotations

from heroctl_core import codec
from heroctl_core.state.commands import Envelope, PutJob, encode
from heroctl_core.testing.simulator import World


def test_a_command_of_an_unknown_kind_never_enters_the_log() -> None:
    """It would stop every node that applies it, again after each restart."""
    world = World(seed=1, voters=1)
    host = next(iter(world.hosts.values()))
    for _ in range(200):
        world.step()
    node = host.node
    assert node is not None and node.leading
    poison = codec.pack([99, 1, bytes(16), 1, "a", "b", []])
    good = encode(Envelope(bytes(16), 1, "a", "b", PutJob("web", b"\x80", {}, 0)))
    last = node.log.entries[-1][1]
    assert "99" in str(node.receive("ff" * 16, ["prop", [good, poison]]))
    assert "msgpack" in str(node.receive("ff" * 16, ["prop", [b"rubbish"]]))
    for _ in range(50):
        world.step()
    assert host.node is node and node.log.entries[-1][1] == last
