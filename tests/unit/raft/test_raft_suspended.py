"""What a node answers while it takes no part in its generation."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from heroctl_core.errors import ReadOnly
from heroctl_core.state.commands import Envelope, PutJob, encode
from heroctl_core.testing.simulator import World


def test_a_contested_node_does_not_call_for_a_forced_bootstrap() -> None:
    """Writes and reads end at once, with the reason and the way out: stop the others, start it
    first. The usual hint of a lost quorum would send the operator the wrong way."""
    world = World(seed=1, voters=1)
    host = next(iter(world.hosts.values()))
    for _ in range(200):
        world.step()
    node = host.node
    assert node is not None and node.leading
    node.suspend("node node-2 still serves the generation before the restore")
    put = Envelope(bytes(16), 1, "a", "b", PutJob("web", b"\x80", {}, 0))
    ended: list[Future[Any]] = [
        node.proposals.submit(encode(put), bytes(16), Future()),
        node.reads.submit(),
    ]
    node.turn()
    for future in ended:
        with pytest.raises(ReadOnly, match="node-2 still serves") as caught:
            future.result(0)
        hint = str(caught.value.hint)
        assert "started first" in hint and "force-bootstrap" not in hint
