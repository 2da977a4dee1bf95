"""The way of one write: rights, envelope, proposal, outcome."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from .. import limits
from ..codec import unpack
from ..errors import CommandRejected, OutcomeUnknown
from ..raft.port import Replicator
from ..state.acl import TOKEN_PREFIX
from ..state.commands import (
    REQUEST_ID_BYTES,
    Command,
    DeleteToken,
    Envelope,
    encode,
    new_request_id,
    request_stamp_ms,
)
from ..state.outcome import Outcome, Rejected
from .access import Actor, check_command
from .grants import checked

DEADLINE_S: Final = 5.0
# The engine ends every write at its own deadline and knows better than we what became of it.
_GRACE_S: Final = 1.0
_IDS_DRAWN: Final = 256


@dataclass(frozen=True, slots=True)
class Written:
    """A write that is on a quorum. `revision` is the state's revision right after it, and the one
    that the row now has: the next `expect`."""

    revision: int

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        return {"revision": self.revision}


class Writer:
    """Proposes commands for actors. Any thread."""

    def __init__(
        self,
        replicator: Replicator,
        entropy: Callable[[int], bytes],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._replicator = replicator
        self._entropy = entropy
        self._randoms: list[bytes] = []
        self._deadline_s = deadline_s

    def new_request_id(self) -> bytes:
        """An id for one write and all its retries."""
        return new_request_id(self._replicator.time_ms(), self._random())

    def _random(self) -> bytes:
        """Random bytes for one id. Many are asked for at a time: the call gives other threads the
        interpreter, and writers that come together would wait in line for it twice."""
        while True:
            try:
                return self._randoms.pop()
            except IndexError:
                drawn = self._entropy(_IDS_DRAWN * REQUEST_ID_BYTES)
                starts = range(0, len(drawn), REQUEST_ID_BYTES)
                self._randoms += [drawn[at : at + REQUEST_ID_BYTES] for at in starts]

    def submit(
        self, command: Command, actor: Actor, request_id: bytes | None = None
    ) -> Future[Outcome]:
        """The future of a command; it fails as Replicator.propose says.

        Raises CommandRejected when the actor may not, or the command cannot be sent at all, and
        Overloaded when too many writes wait. The command's fields must be valid; the state
        checks them again and refuses what is not.
        """
        request_id = self.new_request_id() if request_id is None else request_id
        return self._replicator.propose(self._encoded(command, actor, request_id), request_id)

    def _encoded(self, command: Command, actor: Actor, request_id: bytes) -> bytes:
        """The envelope, once it is clear that the actor may send it."""
        check_command(actor, command, self._token_name(command))
        command = checked(actor, command, self._acl_row)
        if len(request_id) != REQUEST_ID_BYTES:
            raise CommandRejected(
                "invalid", f"a request id of {len(request_id)} bytes, not {REQUEST_ID_BYTES}"
            )
        stamp_ms = request_stamp_ms(request_id, self._replicator.time_ms())
        return _bytes_of(Envelope(request_id, stamp_ms, actor.name, actor.source, command))

    def write(self, command: Command, actor: Actor, request_id: bytes | None = None) -> Written:
        """Waits for the outcome. Fails with CommandRejected, or as Replicator.propose says."""
        request_id = self.new_request_id() if request_id is None else request_id
        envelope = self._encoded(command, actor, request_id)
        try:
            outcome = self._replicator.write(envelope, request_id, self._deadline_s + _GRACE_S)
        except TimeoutError as error:
            raise OutcomeUnknown(
                f"no outcome within {self._deadline_s:g} s, request id {request_id.hex()}"
            ) from error
        if isinstance(outcome, Rejected):
            raise CommandRejected(outcome.reason, outcome.message)
        return Written(outcome.revision)

    def _token_name(self, command: Command) -> str | None:
        if not isinstance(command, DeleteToken):
            return None
        row = self._acl_row(TOKEN_PREFIX + command.accessor)
        return None if row is None else str(row["name"])

    def _acl_row(self, key: str) -> dict[str, Any] | None:
        row = self._replicator.machine.get("acl", key)
        return None if row is None else unpack(row)


def _bytes_of(envelope: Envelope) -> bytes:
    try:
        data = encode(envelope)
    except (TypeError, ValueError, OverflowError) as error:
        raise CommandRejected("invalid", f"the command cannot be encoded: {error}") from error
    if len(data) > limits.ENTRY_BYTES:
        raise CommandRejected(
            "too_large", f"the command has {len(data)} bytes, the limit is {limits.ENTRY_BYTES}"
        )
    return data
