"""The addresses that a node keeps connections to: when each is tried again. No sockets here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .channel import Channel

_RETRY_S: Final = (0.05, 0.1, 0.2, 0.4, 0.5)
_PARKED_S: Final = 30.0  # until an address is tried again that leads to where we are already
_LONGEST_S: Final = 60.0


@dataclass(slots=True)
class Dial:
    """One address."""

    next_s: float = 0.0
    tries: int = 0
    channel: Channel | None = None
    parked_at: str | None = None  # the member that another address reached first
    resolving: bool = False  # a name server is asked

    def try_again(self, now_s: float) -> int:
        """Counts a try, and says how many there were before."""
        self.next_s = now_s + _RETRY_S[min(self.tries, len(_RETRY_S) - 1)]
        self.parked_at = None
        self.tries += 1
        return self.tries - 1


class Dials:
    """All of them."""

    def __init__(self) -> None:
        self._dials: dict[str, Dial] = {}

    @property
    def any_resolving(self) -> bool:
        """Whether a name server is asked for some address."""
        return any(dial.resolving for dial in self._dials.values())

    def want(self, addresses: set[str]) -> list[Channel]:
        """Keeps these addresses from now on; the connections that are not wanted any more."""
        for address in addresses - self._dials.keys():
            self._dials[address] = Dial()
        gone = [self._dials.pop(address) for address in self._dials.keys() - addresses]
        return [dial.channel for dial in gone if dial.channel is not None]

    def due(self, now_s: float) -> Iterator[tuple[str, Dial]]:
        """What should be tried now."""
        for address, dial in list(self._dials.items()):
            if dial.channel is None and dial.next_s <= now_s:
                yield address, dial

    def wait_s(self, now_s: float) -> float:
        """Until something is due; whoever resolves wakes the loop."""
        dials = self._dials.values()
        waits = [d.next_s - now_s for d in dials if d.channel is None and not d.resolving]
        return max(0.001, min(waits, default=_LONGEST_S))

    def all_due(self) -> None:
        """Tries every address at once."""
        for dial in self._dials.values():
            dial.next_s, dial.tries = 0.0, 0

    def reached(self, channel: Channel) -> None:
        """A peer answered there."""
        if dial := self._dials.get(channel.address or ""):
            dial.tries = 0

    def park(self, channel: Channel, member_id: str, now_s: float) -> None:
        """Leaves a second address of a process alone that we reach already, or of this one."""
        if dial := self._dials.get(channel.address or ""):
            dial.next_s, dial.parked_at = now_s + _PARKED_S, member_id

    def closed(self, channel: Channel) -> None:
        """A connection that we made has ended."""
        if (dial := self._dials.get(channel.address or "")) and dial.channel is channel:
            dial.channel = None

    def lost(self, member_id: str) -> None:
        """A member is not reached any more: perhaps another address still leads to it."""
        for dial in self._dials.values():
            if dial.parked_at == member_id:
                dial.next_s = 0.0
