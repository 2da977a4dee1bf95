"""Stored secrets: sealed here, before they are proposed; log, wire and archive hold cipher text."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .. import limits
from ..errors import CommandRejected
from ..state.commands import DeleteSecret, PutSecret
from .access import OPERATOR, Actor
from .reads import Consistency, Fields, Reader, may_list
from .values import check_expect, check_name, invalid, row_times, text_map
from .writes import Writer, Written


class Seals(Protocol):
    """What seals and opens values (crypto/sealed.py). The name is bound to the sealed value."""

    def seal(self, name: str, value: bytes) -> bytes:
        """The cipher text of a value."""
        ...

    def open(self, name: str, sealed: bytes) -> bytes:
        """The value again."""
        ...


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret as it was at `revision`; `value` is None in a list, and never in repr."""

    name: str
    metadata: dict[str, str]
    version: int
    revision: int
    created_ms: int
    modified_ms: int
    value: bytes | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The secret as the API shows it; with its value, as text or base64, when it was read."""
        shown: dict[str, Any] = {
            "kind": "secret",
            "name": self.name,
            "metadata": self.metadata,
            "version": self.version,
            "revision": self.revision,
            "created_ms": self.created_ms,
            "modified_ms": self.modified_ms,
        }
        if self.value is not None:
            try:
                shown["value"] = self.value.decode()
            except UnicodeDecodeError:
                shown["value_base64"] = base64.b64encode(self.value).decode()
        return shown


class Secrets:
    """Puts, gets, lists and deletes secrets. Any thread."""

    def __init__(self, writer: Writer, reader: Reader, seals: Callable[[], Seals]) -> None:
        self._writer = writer
        self._reader = reader
        self._seals = seals

    def put_command(
        self,
        name: str,
        value: bytes | str,
        *,
        metadata: Mapping[str, str] | None = None,
        expect: int | None = None,
    ) -> PutSecret:
        """The validated command with the sealed value, for submit."""
        check_name("secret", name)
        check_expect(expect)
        metadata = text_map(f"metadata of secret {name}", metadata)
        plain = value.encode() if isinstance(value, str) else value
        if not isinstance(plain, bytes):
            raise invalid(f"value of secret {name} is a {type(plain).__name__}: quote this")
        if len(plain) > limits.ROW_BYTES:
            raise CommandRejected(
                "too_large",
                f"value of secret {name} has {len(plain)} bytes, the limit is {limits.ROW_BYTES}",
            )
        return PutSecret(name, self._seals().seal(name, plain), metadata, expect)

    def put(
        self,
        name: str,
        value: bytes | str,
        *,
        metadata: Mapping[str, str] | None = None,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Seals and writes a secret."""
        actor.check("write", "secret", str(name))
        command = self.put_command(name, value, metadata=metadata, expect=expect)
        return self._writer.write(command, actor, request_id)

    def get(
        self, name: str, *, consistency: Consistency = "linearizable", actor: Actor = OPERATOR
    ) -> Secret:
        """The secret with its value; CommandRejected not_found."""
        actor.check("read", "secret", name)
        fields = self._reader.get("secrets", name, consistency)
        return _secret(name, fields, self._seals().open(name, fields["sealed"]))

    def list(
        self,
        prefix: str = "",
        *,
        limit: int | None = None,
        after: str | None = None,
        consistency: Consistency = "linearizable",
        actor: Actor = OPERATOR,
    ) -> list[Secret]:
        """The secrets that the actor may see, by name, without their values."""
        may_list(actor, "secret")

        def make(name: str, fields: Fields) -> Secret | None:
            return _secret(name, fields, None) if actor.may_see("secret", name) else None

        return self._reader.page("secrets", prefix, after, limit, consistency, make)

    def delete(
        self,
        name: str,
        *,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Drops a secret."""
        actor.check("delete", "secret", str(name))
        check_name("secret", name)
        check_expect(expect)
        return self._writer.write(DeleteSecret(name, expect), actor, request_id)


def _secret(name: str, fields: Fields, value: bytes | None) -> Secret:
    return Secret(
        name=name,
        metadata=fields["metadata"],
        version=fields["version"],
        value=value,
        **row_times(fields),
    )
