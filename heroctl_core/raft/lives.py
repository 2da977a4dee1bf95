"""Tells a node that was started again from a data folder that was copied.

Both show one member id with two boot nonces. A process that ended never says hello again; when an
older nonce speaks after a newer one, two of them live, and then neither is trusted: each would hold
other entries and vote for itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from .handshake import Judgement, Relation

_KEPT_S: Final = 10.0  # both are refused for this long after they were heard in turn
_KEPT: Final = 256  # members that are remembered
_NONCES: Final = 8  # of one member
COPIED: Final = Judgement(
    Relation.REFUSED,
    "two live processes have one member id: a data folder was copied; stop one of them for good",
)


@dataclass(slots=True)
class _Member:
    nonces: deque[str] = field(default_factory=lambda: deque(maxlen=_NONCES))  # newest last
    refused_until_s: float = 0.0


class Lives:
    """The processes that were heard under each member id."""

    def __init__(self) -> None:
        self._members: dict[Hashable, _Member] = {}

    def judge(self, who: Hashable, nonce: str, judgement: Judgement, now_s: float) -> Judgement:
        """`judgement`, or COPIED while two processes are `who`."""
        member = self._members.pop(who, None) or _Member()
        self._members[who] = member
        if len(self._members) > _KEPT:
            self._members.pop(next(iter(self._members)))
        if nonce in member.nonces:
            if member.nonces[-1] != nonce:
                member.refused_until_s = now_s + _KEPT_S
            member.nonces.remove(nonce)
        member.nonces.append(nonce)
        return COPIED if now_s < member.refused_until_s else judgement
