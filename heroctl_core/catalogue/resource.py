"""What every kind of named resource has: get, list and delete; how a row becomes a value.

A kind adds its own put, and a value class whose fields are called like those of the row.
"""

from __future__ import annotations

import builtins
from typing import ClassVar, Generic

from ..errors import CommandRejected
from ..state import commands as c
from .access import OPERATOR, Actor
from .reads import Consistency, Fields, Reader, may_list
from .values import V, check_expect, check_name, value_of
from .writes import Writer, Written

Deletion = (
    c.DeleteJob | c.DeleteSecret | c.DeletePolicy | c.DeleteToken | c.DeleteIngress | c.DeleteNode
)


class Resource(Generic[V]):
    """Gets, lists and deletes the rows of one kind. Any thread."""

    noun: ClassVar[str]  # in messages, as in "job web"
    right: ClassVar[str]  # in rules
    table: ClassVar[str]
    collection: ClassVar[str]  # the table as users see it, as in jobs/web
    prefix: ClassVar[str] = ""  # of the keys in the table
    keyed_by_name: ClassVar[bool] = True
    deletion: ClassVar[type[Deletion]]
    value: type[V]

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    def get(
        self, name: str, *, consistency: Consistency = "linearizable", actor: Actor = OPERATOR
    ) -> V:
        """The one of that name; CommandRejected not_found."""
        return self.of_row(name, self._row(name, consistency, actor))

    def list(
        self,
        prefix: str = "",
        *,
        limit: int | None = None,
        after: str | None = None,
        consistency: Consistency = "linearizable",
        actor: Actor = OPERATOR,
    ) -> builtins.list[V]:
        """Those that the actor may see, by name, behind the name `after`."""
        may_list(actor, self.right)

        def make(key: str, fields: Fields) -> V | None:
            name = key.removeprefix(self.prefix)
            return self.of_row(name, fields) if actor.may_see(self.right, name) else None

        start = None if after is None else self.prefix + after
        return self._reader.page(self.table, self.prefix + prefix, start, limit, consistency, make)

    def delete(
        self,
        name: str,
        *,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Drops the one of that name. CommandRejected not_found, and conflict while others need it
        or when it is not at revision `expect`."""
        self._check("delete", name, expect, actor)
        return self._write(self.deletion(self._id(name), expect), actor, request_id)

    def delete_command(self, name: str, *, expect: int | None = None) -> c.Command:
        """The validated command, for submit and transactions."""
        check_name(self.noun, name)
        check_expect(expect)
        return self.deletion(self._id(name), expect)

    def expectation(self, name: str, revision: int) -> c.Expectation:
        """A part of a transaction: the row must be at that revision; 0: it must not exist."""
        check_name(self.noun, name)
        check_expect(revision)
        return c.Expectation(self.table, self.prefix + self._id(name), revision)

    def _check(self, action: str, name: str, expect: int | None, actor: Actor) -> None:
        """What is checked first in every write: the right, so that nobody learns more than that."""
        actor.check(action, self.right, str(name))
        check_name(self.noun, name)
        check_expect(expect)

    def _write(self, command: c.Command, actor: Actor, request_id: bytes | None) -> Written:
        return self._writer.write(command, actor, request_id)

    def _row(self, name: str, consistency: Consistency, actor: Actor) -> Fields:
        actor.check("read", self.right, name)
        fields = self._reader.find(self.table, self.prefix + self._id(name), consistency)
        if fields is None:
            raise CommandRejected("not_found", f"{self.noun} {name} does not exist")
        return fields

    def _id(self, name: str) -> str:
        """What a key has behind its prefix."""
        return name

    def name_of(self, key: str, row: bytes | None) -> str | None:
        """The name of the row under a key; None when it is gone and nobody can tell."""
        return key.removeprefix(self.prefix)

    def of_row(self, name: str, fields: Fields) -> V:
        """The value of a decoded row."""
        return value_of(self.value, {**fields, "name": name})
