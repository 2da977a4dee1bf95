"""The way of one read: a barrier when it must not be stale, then this node's rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

from ..codec import unpack
from ..errors import CommandRejected, NoLeader, UsageError
from ..raft.port import Replicator
from ..state.machine import View
from .access import Actor

Consistency = Literal["linearizable", "stale"]
Fields = dict[str, Any]
T = TypeVar("T")

DEADLINE_S: Final = 5.0
_GRACE_S: Final = 1.0


class Reader:
    """Reads rows for actors. Any thread."""

    def __init__(self, replicator: Replicator, deadline_s: float = DEADLINE_S) -> None:
        self._replicator = replicator
        self._deadline_s = deadline_s

    def barrier(self, consistency: Consistency) -> None:
        """Returns when this node shows every write that was acknowledged before the call; at once
        for "stale". Raises ReadOnly or NoLeader."""
        if consistency == "stale":
            return
        if consistency != "linearizable":
            raise UsageError(f'consistency is {consistency!r}, allowed: "linearizable", "stale"')
        try:
            self._replicator.read_barrier().result(self._deadline_s + _GRACE_S)
        except TimeoutError as error:
            raise NoLeader(f"no leader confirmed the read within {self._deadline_s:g} s") from error

    def find(self, kind: str, key: str, consistency: Consistency) -> Fields | None:
        """The decoded row, or None."""
        self.barrier(consistency)
        row = self._replicator.machine.get(kind, key)
        return None if row is None else unpack(row)

    def view(self, consistency: Consistency) -> View:
        """Everything at one revision."""
        self.barrier(consistency)
        return self._replicator.call(self._replicator.machine.view).result(self._deadline_s)

    def page(
        self,
        kind: str,
        prefix: str,
        after: str | None,
        limit: int | None,
        consistency: Consistency,
        make: Callable[[str, Fields], T | None],
    ) -> list[T]:
        """The first `limit` values that `make` gives for the rows behind `after`, by key."""
        check_limit(limit)
        found: list[T] = []
        for key, row in self.view(consistency).by_name(kind, prefix, after):
            value = make(key, unpack(row))
            if value is not None:
                found.append(value)
                if len(found) == limit:
                    break
        return found


def check_limit(limit: object) -> None:
    """Raises UsageError for a limit that is no number from 1 (None: no limit)."""
    if limit is not None and (type(limit) is not int or limit < 1):
        raise UsageError(f"limit is {limit!r}, not a number from 1")


def may_list_any(actor: Actor, resource: str) -> bool:
    """Whether some rule lets the actor see something of a resource."""
    return actor.operator or any(
        rule.effect == "allow" and rule.sees(resource)
        for policy in actor.policies
        for rule in policy.rules
    )


def may_list(actor: Actor, resource: str) -> None:
    """Raises CommandRejected denied for an actor whom no rule lets see anything of a resource."""
    if may_list_any(actor, resource):
        return
    raise CommandRejected("denied", f"{actor.name} may not list {resource}")
