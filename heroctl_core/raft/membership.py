"""Who belongs to the cluster: the configuration in the log, and the next single change. Pure.

One voter is added or removed at a time (Raft thesis 4.1). An entry of the log carries the whole
configuration; the newest one in the log counts, committed or not. It also says who was removed, and
where: a node that was away learns from it why nobody talks to it any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from .. import codec

KEPT_REMOVED: Final = 64  # the newest removed members that a configuration remembers
_REMOVED: Final = "removed"  # beside the member ids, which are hex


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """What the configuration says of one member."""

    name: str
    address: str  # host:port where its Raft listener is reached
    voter: bool


@dataclass(frozen=True, slots=True)
class Configuration:
    """Members by member id. Equal values encode to equal bytes. `removed` has former members, with
    the index of the entry that removed them."""

    members: Mapping[str, MemberSpec]
    removed: Mapping[str, int] = field(default_factory=dict)
    voters: frozenset[str] = field(init=False, repr=False, compare=False)  # asked in every turn

    def __post_init__(self) -> None:
        voters = frozenset(m for m, spec in self.members.items() if spec.voter)
        object.__setattr__(self, "voters", voters)

    @property
    def quorum(self) -> int:
        """How many voters are a majority."""
        return len(self.voters) // 2 + 1

    def is_quorum(self, members: Iterable[str]) -> bool:
        """Whether `members` hold a majority of the voters."""
        return len(self.voters & set(members)) >= self.quorum

    def with_member(self, member_id: str, spec: MemberSpec) -> Configuration:
        return replace(self, members={**self.members, member_id: spec})

    def without(self, member_id: str, index: int) -> Configuration:
        """This one without a member, which the entry at `index` removes."""
        members = {m: s for m, s in self.members.items() if m != member_id}
        removed = sorted({**self.removed, member_id: index}.items(), key=lambda item: item[1])
        return Configuration(members, dict(removed[-KEPT_REMOVED:]))

    def find(self, name_or_id: str) -> str | None:
        """The id of the member of that name or id."""
        if name_or_id in self.members:
            return name_or_id
        return next((m for m, s in self.members.items() if s.name == name_or_id), None)

    def to_value(self) -> dict[str, dict[str, Any]]:
        """Plain maps, as header.json and hello frames carry it."""
        value: dict[str, dict[str, Any]] = {
            m: {"address": s.address, "name": s.name, "voter": s.voter}
            for m, s in sorted(self.members.items())
        }
        if self.removed:
            value[_REMOVED] = dict(sorted(self.removed.items()))
        return value

    def encode(self) -> bytes:
        return codec.pack(self.to_value())


EMPTY = Configuration({})


def from_value(value: Mapping[str, Mapping[str, Any]]) -> Configuration:
    """The configuration in plain maps; ValueError when it is none."""
    try:
        members = {
            str(m): MemberSpec(str(s["name"]), str(s["address"]), bool(s["voter"]))
            for m, s in sorted(value.items())
            if m != _REMOVED
        }
        removed = {str(m): int(index) for m, index in value.get(_REMOVED, {}).items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no configuration: {error!r}") from error
    return Configuration(members, removed)


def decode(data: bytes) -> Configuration:
    """The configuration in the bytes of a log entry or dump; ValueError when it is none."""
    value = codec.unpack(data)
    if not isinstance(value, dict):
        raise ValueError("no configuration: not a map")
    return from_value(value)


def is_configuration(data: bytes) -> bool:
    """Whether `decode` would take the bytes."""
    try:
        decode(data)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that the leader reaches, member or not, and what it says of itself."""

    name: str
    address: str
    version: str = ""


def next_change(
    current: Configuration,
    candidates: Mapping[str, Candidate],
    caught_up: frozenset[str],
    connected: frozenset[str],
    index: int,
) -> Configuration | None:
    """The next single change that brings the cluster nearer to what it should be, or None; `index`
    is where it would be.

    A learner that has caught up becomes a voter; a member that calls itself otherwise, or is
    reached elsewhere, keeps its identity. A candidate whose node name belongs to a member that is
    not connected replaces it: the old member goes first, because the same disk cannot be both
    (contracts.md, "Identity"). Then the candidate learns. Who was removed never comes back.
    """
    for member_id, spec in sorted(current.members.items()):
        if not spec.voter and member_id in caught_up and member_id in connected:
            return current.with_member(member_id, replace(spec, voter=True))
    by_name = {spec.name: m for m, spec in current.members.items()}
    for member_id, candidate in sorted(candidates.items()):
        old = by_name.get(candidate.name)
        if known := current.members.get(member_id):
            told = replace(known, name=candidate.name, address=candidate.address)
            if told != known and old in (None, member_id):
                return current.with_member(member_id, told)
        elif member_id in current.removed:
            continue
        elif old is None:
            spec = MemberSpec(candidate.name, candidate.address, voter=False)
            return current.with_member(member_id, spec)
        elif old not in connected and len(current.members) > 1:
            return current.without(old, index)
    return None


class ConfigurationLog:
    """The configurations that the log holds: the one in force is the newest, committed or not
    (Raft thesis 4.1), also after a restart, a truncation and a snapshot (rows 1 and 2)."""

    def __init__(self, index: int, configuration: Configuration) -> None:
        """Begins with the configuration that was in force at `index`."""
        self._entries: list[tuple[int, Configuration]] = [(index, configuration)]

    @property
    def newest(self) -> Configuration:
        return self._entries[-1][1]

    @property
    def newest_index(self) -> int:
        return self._entries[-1][0]

    def at(self, index: int) -> Configuration:
        """The one in force at `index`, which a dump of that index carries."""
        return [c for at, c in self._entries if at <= index][-1]

    def appended(self, index: int, data: bytes) -> None:
        """A membership entry was appended."""
        self._entries.append((index, decode(data)))

    def truncated(self, index: int) -> bool:
        """Entries from `index` on are gone; True when a configuration went with them."""
        before = len(self._entries)
        while len(self._entries) > 1 and self._entries[-1][0] >= index:
            self._entries.pop()
        return len(self._entries) != before

    def forget_below(self, index: int) -> None:
        """A dump at `index` is the new start."""
        older = [entry for entry in self._entries if entry[0] <= index]
        self._entries = [older[-1], *(e for e in self._entries if e[0] > index)]
