"""The engines of this process: a fork must not keep a port or a connection of a parent that is
gone, so every engine is told when there is one."""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet


class Engine(Protocol):
    """What has descriptors of its own."""

    def leave_to_parent(self) -> None: ...


_ENGINES: Final[WeakSet[Engine]] = WeakSet()


def watch(engine: Engine) -> None:
    """From now on `engine` is told in each fork, as long as anybody else knows it."""
    _ENGINES.add(engine)


def _leave_sockets_to_parent() -> None:
    for engine in list(_ENGINES):
        engine.leave_to_parent()


os.register_at_fork(after_in_child=_leave_sockets_to_parent)
