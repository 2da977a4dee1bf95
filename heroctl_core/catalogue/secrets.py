"""Stored secrets: sealed here, before they are proposed; log, wire and archive hold cipher text."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .. import limits
from ..errors import CommandRejected
from ..state.commands import DeleteSecret, PutSecret
from .access import OPERATOR, Actor
from .reads import Consistency, Reader
from .resource import Resource
from .values import check_expect, check_name, invalid, shown, text_map
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
        document = shown("secret", self)
        del document["value"]
        if self.value is not None:
            try:
                document["value"] = self.value.decode()
            except UnicodeDecodeError:
                document["value_base64"] = base64.b64encode(self.value).decode()
        return document


class Secrets(Resource[Secret]):
    """Puts, gets, lists and deletes secrets; a list has no values. Any thread."""

    noun = right = "secret"
    table, deletion, value = "secrets", DeleteSecret, Secret
    collection = "secrets"

    def __init__(self, writer: Writer, reader: Reader, seals: Callable[[], Seals]) -> None:
        super().__init__(writer, reader)
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
        return self._write(command, actor, request_id)

    def get(
        self, name: str, *, consistency: Consistency = "linearizable", actor: Actor = OPERATOR
    ) -> Secret:
        """The secret with its value; CommandRejected not_found."""
        fields = self._row(name, consistency, actor)
        return replace(self.of_row(name, fields), value=self._seals().open(name, fields["sealed"]))
