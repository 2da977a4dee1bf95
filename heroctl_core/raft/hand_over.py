"""The orderly end of a node: another voter leads, and what waits here has reached it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from ..errors import HeroctlError
from .node import RaftNode
from .port import Order

_PATIENCE: Final = 2  # election timeouts that a stop may wait for what is under way
_MOST_S: Final = 5.0
_POLL_S: Final = 0.005

log = logging.getLogger("heroctl.raft")


def hand_over(node: RaftNode, call: Callable[[Callable[[], bool]], Future[bool]]) -> None:
    """Returns when this node neither leads nor has anything that waits, or when it has been tried
    for long enough. `call` runs a function on the engine's thread; nothing new may come in."""
    clock = node.clock
    patience_s = min(_MOST_S, _PATIENCE * node.timing.election_timeout_s)
    until_s = clock.monotonic_s() + patience_s
    try:
        if call(lambda: node.leading and len(node.configuration.voters) > 1).result():
            node.orders.submit(Order.STEP_DOWN, "").result(patience_s)
    except (HeroctlError, TimeoutError) as error:
        log.info("no other node leads from here: %s", error)
    while node.proposals.anything_waiting and clock.monotonic_s() < until_s:
        time.sleep(_POLL_S)
