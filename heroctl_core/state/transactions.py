"""Several writes as one: all of them have an effect, with one revision, or none has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .. import limits
from .commands import EXPECT
from .rows import Refused, Rows, check_name, label

Rule = Callable[[Rows, list[Any]], None]

_EXPECTED: Final = frozenset({"ingress", "jobs", "nodes", "secrets"})


def transact(rows: Rows, body: list[Any], rules: Mapping[int, Rule]) -> None:
    """Does all of [[[kind, body], ...]], each by its rule; `rules` has those that may be part of
    it. A row is written at most once. Refuses with the number of the operation."""
    (operations,) = body
    if type(operations) is not list or not operations:
        raise Refused("invalid", "a transaction must be a list of operations that is not empty")
    if len(operations) > limits.TRANSACTION_OPERATIONS:
        raise Refused(
            "too_large",
            f"the transaction has {len(operations)} operations, the limit is "
            f"{limits.TRANSACTION_OPERATIONS}",
        )
    with rows.undone_when_refused():
        for number, operation in enumerate(operations, 1):
            try:
                _operate(rows, operation, rules)
                _check_once(rows)
            except Refused as refusal:
                raise Refused(refusal.reason, f"operation {number}: {refusal.message}") from refusal


def _operate(rows: Rows, operation: object, rules: Mapping[int, Rule]) -> None:
    if type(operation) is not list or len(operation) != 2 or type(operation[1]) is not list:
        raise Refused("invalid", "an operation must be a kind and a list")
    kind, body = operation
    if kind == EXPECT:
        _expect(rows, body)
        return
    rule = rules.get(kind) if type(kind) is int else None
    if rule is None:
        raise Refused("invalid", f"a command of kind {kind!r} cannot be part of a transaction")
    rule(rows, body)


def _expect(rows: Rows, body: list[Any]) -> None:
    """Refuses unless a row is at that revision; 0: it must not exist."""
    if len(body) != 3 or body[0] not in _EXPECTED or body[2] is None:
        raise Refused("invalid", "an expectation must be a table, a name and a revision")
    table, key, revision = body
    check_name(table, key)
    if any((table, key) == event[1:3] for event in rows.events):
        raise Refused("invalid", f"{label(table, key)} is written by this transaction")
    rows.current(table, key, revision)


def _check_once(rows: Rows) -> None:
    if rows.events:
        _, kind, key, _ = rows.events[-1]
        if any((kind, key) == event[1:3] for event in rows.events[:-1]):
            raise Refused("invalid", f"{label(kind, key)} is written twice")
