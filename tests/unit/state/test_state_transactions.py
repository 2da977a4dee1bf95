"""Transactions: everything with one revision, or nothing and no trace of it."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl_core import limits
from heroctl_core.state.commands import (
    AppendMetrics,
    Command,
    DeleteIngress,
    DeleteJob,
    Envelope,
    PutIngress,
    PutJob,
    PutKeyring,
    PutNode,
    PutPolicy,
    PutSecret,
    Transaction,
    encode,
    operation,
    part_of,
)
from heroctl_core.state.invariants import violations
from heroctl_core.state.machine import StateMachine
from heroctl_core.state.outcome import Applied, Outcome, Rejected, Stamp

SPEC = {"host": "shop.example.org", "job": "web", "path": "/", "port": 80, "tls": True}


class Machine:
    """A machine, with commands as the log brings them."""

    def __init__(self) -> None:
        self.state = StateMachine()
        self._number = 0

    def apply(self, command: Command) -> Outcome:
        self._number += 1
        envelope = Envelope(self._number.to_bytes(16), 1000, "operator", "test", command)
        return self.state.apply(encode(envelope), Stamp(self._number, 1000))

    def all(self, *parts: Command | list[Any]) -> Outcome:
        """The outcome of a transaction of commands, and of operations as they are."""
        return self.apply(Transaction([p if isinstance(p, list) else operation(p) for p in parts]))

    def trace(self) -> object:
        """All that a refused transaction must leave as it was."""
        rows = self.state._rows
        return (
            list(self.state.view().rows()),
            self.state.fingerprints(),
            self.state.revision,
            rows.total,
            rows.events,
            dict(rows.job_references.counts),
            dict(rows.policy_references.counts),
            len(self.state.history),
        )


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    made.apply(PutJob("web", b"\x80", {}))
    made.apply(PutJob("old", b"\x80", {}))
    made.apply(PutIngress("shop", SPEC))
    return made


def refused(outcome: Outcome) -> Rejected:
    assert isinstance(outcome, Rejected)
    return outcome


def test_all_of_it_has_one_revision(machine: Machine) -> None:
    """Later operations see earlier ones; watchers get all events of the revision together."""
    before = machine.state.revision
    outcome = machine.all(
        PutJob("cart", b"\x80", {}),
        PutIngress("cart", {**SPEC, "job": "cart"}),
        PutSecret("db", b"sealed", {}),
        PutNode("node-1", "10.0.0.1:1", {}, {}),
        DeleteJob("old"),
    )
    assert outcome == Applied(before + 1)
    assert machine.state.revision == before + 1
    told = machine.state.history.after(before, 100)
    assert [(revision, kind, key, row is None) for revision, kind, key, row in told] == [
        (before + 1, "jobs", "cart", False),
        (before + 1, "ingress", "cart", False),
        (before + 1, "secrets", "db", False),
        (before + 1, "nodes", "node-1", False),
        (before + 1, "jobs", "old", True),
    ]
    assert violations(machine.state.view()) == []
    assert refused(machine.apply(DeleteJob("cart"))).reason == "conflict", "it is referred to"


@pytest.mark.parametrize(
    ("last", "reason", "words"),
    [
        (PutJob("web", b"\x80", {}, 99), "conflict", "operation 5: job web is at revision 1, not"),
        (DeleteJob("web"), "conflict", "operation 5: job web is used by"),
        (DeleteJob("ghost"), "not_found", "operation 5: job ghost does not exist"),
        (PutJob("../x", b"\x80", {}), "invalid", "operation 5: job name"),
        (PutIngress("i", {**SPEC, "job": "ghost"}), "invalid", "operation 5: ingress i: job ghost"),
        ([0, ["jobs", "web", 2]], "conflict", "operation 5: job web is at revision 1, not at 2"),
        ([0, ["jobs", "web", 0]], "conflict", "operation 5: job web exists already"),
        ([0, ["jobs", "web", None]], "invalid", "operation 5: an expectation must be"),
        ([0, ["keyring", "keyring", 1]], "invalid", "operation 5: an expectation must be"),
        (PutJob("cart", b"\x80", {}), "invalid", "operation 5: job cart is written twice"),
        ([0, ["jobs", "cart", 1]], "invalid", "operation 5: job cart is written by this"),
        (PutKeyring(b"x"), "invalid", "operation 5: a command of kind 15 cannot be part"),
        (PutPolicy("p", []), "invalid", "operation 5: a command of kind 5 cannot be part"),
        (AppendMetrics([]), "invalid", "operation 5: a command of kind 13 cannot be part"),
        (Transaction([]), "invalid", "operation 5: a command of kind 17 cannot be part"),
        ([1], "invalid", "operation 5: an operation must be a kind and a list"),
        (["1", []], "invalid", "operation 5: a command of kind '1' cannot be part"),
    ],
)
def test_nothing_is_left_of_a_refused_one(
    machine: Machine, last: Command | list[Any], reason: str, words: str
) -> None:
    """Rows, references, events, revision and fingerprints are as before."""
    before = machine.trace()
    outcome = refused(
        machine.all(
            PutJob("cart", b"\x80", {}),
            PutIngress("cart", {**SPEC, "job": "cart"}),
            DeleteIngress("shop"),
            DeleteJob("old"),
            last,
        )
        if not isinstance(last, DeleteJob) or last.name != "web"
        else machine.all(
            PutJob("cart", b"\x80", {}),
            PutIngress("cart", {**SPEC, "job": "cart"}),
            PutJob("web", b"\x81\xa1a\x01", {}),
            DeleteJob("old"),
            last,
        )
    )
    assert outcome.reason == reason
    assert outcome.message.startswith(words)
    assert machine.trace() == before
    assert violations(machine.state.view()) == []
    assert isinstance(machine.apply(DeleteIngress("shop")), Applied)
    assert isinstance(machine.apply(DeleteJob("web")), Applied)


def test_expectations_hold_without_a_write(machine: Machine) -> None:
    """Of rows that are there, at their revision, and of rows that are not."""
    outcome = machine.all(
        [0, ["jobs", "web", 1]], [0, ["secrets", "db", 0]], PutJob("cart", b"\x80", {}, 0)
    )
    assert isinstance(outcome, Applied)


@pytest.mark.parametrize("operations", [[], None, {}, [[]], [None], [[1, {}]], "x"])
def test_what_is_no_transaction_is_refused(machine: Machine, operations: Any) -> None:
    """As a value, on every node alike."""
    before = machine.trace()
    assert refused(machine.apply(Transaction(operations))).reason == "invalid"
    assert machine.trace() == before


@pytest.mark.parametrize("more", [0, 1])
def test_operations_are_bounded(machine: Machine, more: int) -> None:
    """At the limit, and one above it."""
    count = limits.TRANSACTION_OPERATIONS + more
    outcome = machine.all(*(PutJob(f"job-{n}", b"\x80", {}) for n in range(count)))
    if more:
        assert refused(outcome).reason == "too_large"
    else:
        assert isinstance(outcome, Applied)
    assert machine.state.count("jobs") == 2 + (0 if more else count)


def test_the_limit_of_rows_holds(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is as before when there was no room for all."""
    monkeypatch.setattr(limits, "ROWS", 5)
    before = machine.trace()
    outcome = machine.all(*(PutJob(f"job-{n}", b"\x80", {}) for n in range(3)))
    assert refused(outcome).reason == "too_large"
    assert machine.trace() == before
    assert isinstance(machine.all(*(PutJob(f"job-{n}", b"\x80", {}) for n in range(2))), Applied)


def test_an_operation_is_the_command_again() -> None:
    """For rights, which are checked before anything is proposed."""
    for command in (PutJob("web", b"\x80", {"a": "b"}, 3), DeleteJob("web"), DeleteIngress("i", 2)):
        assert part_of(operation(command)) == command
