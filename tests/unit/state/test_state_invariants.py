"""Each invariant is found when it is broken, and nothing is found in a sound state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heroctl_core.codec import pack, pack_canonical, unpack
from heroctl_core.state.commands import (
    AppendMetrics,
    Command,
    Envelope,
    PutIngress,
    PutJob,
    PutKeyring,
    PutNode,
    PutPolicy,
    PutSecret,
    PutToken,
    encode,
)
from heroctl_core.state.invariants import violations
from heroctl_core.state.machine import StateMachine, View
from heroctl_core.state.outcome import Applied, Stamp

NOW_MS = 1_700_000_000_000
SPEC = {"host": "shop.example.org", "path": "/", "job": "web", "port": 8080, "tls": True}
COMMANDS: list[Command] = [
    PutJob("web", pack_canonical({"image": "a", "ports": [1]}), {}),
    PutSecret("db", b"sealed", {}),
    PutPolicy("ci", []),
    PutToken("t1", "ci", b"h" * 32, ["ci"]),
    PutIngress("shop", SPEC),
    PutNode("n", "10.0.0.1", {}, {"cpu": 4}),
    PutKeyring(b"wrapped"),
    AppendMetrics([["cpu", {"node": "n"}, [[NOW_MS, 1], [NOW_MS + 1, 2]]]]),
]


@pytest.fixture
def machine() -> StateMachine:
    machine = StateMachine()
    for i, command in enumerate(COMMANDS):
        envelope = Envelope(i.to_bytes(16), NOW_MS, "operator", "test", command)
        assert isinstance(machine.apply(encode(envelope), Stamp(i, NOW_MS)), Applied)
    return machine


def reloaded(view: View, **changed: bytes | None) -> list[str]:
    """The violations after rows of kinds were replaced (or dropped) by `changed`."""
    rows = []
    for kind, key, row in view.rows():
        name = key.partition("/")[0] if kind == "acl" else kind
        new = changed.get(name, row)
        if new is not None:
            rows.append((kind, key, new))
    machine = StateMachine()
    machine.load(rows, revision=view.revision, epoch=1, time_ms=view.time_ms)
    return violations(machine.view())


def test_a_sound_state_has_no_violations(machine: StateMachine) -> None:
    """Rows of every kind, and an extension's opaque rows, are sound."""
    rows = [*machine.view().rows(), ("ext-x", "../any key", b"\xc1")]
    machine.load(rows, revision=8, epoch=1, time_ms=NOW_MS)
    assert violations(machine.view()) == []


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        ("jobs", {"spec": b"\x82\xa1b\x01\xa1a\x01"}, "job web: the spec is not canonical"),
        ("jobs", {"spec": b"\x81\xa1a\xcd\x00\x01"}, "job web: the spec is not canonical"),
        ("jobs", {"spec": b"\x91\xcb\x7f\xf8" + bytes(6)}, "job web: the spec is not canonical"),
        ("jobs", {"spec": b"\x91\xcf" + b"\xff" * 8}, "job web: the spec is not canonical"),
        ("jobs", {"spec": b"\xd4\x01\x00"}, "job web: the spec is not canonical"),
        ("jobs", {"spec": b"\x81\xc4\x01a\x01"}, "job web: the spec is not canonical"),
        ("jobs", {"spec": b"\xc1"}, "job web: the spec cannot be read"),
        ("jobs", {"revision": 99}, "job web: its revision 99 does not fit the state's 8"),
        ("jobs", {"created_revision": 0}, "job web: its revision 1 does not fit"),
        ("jobs", {"modified_ms": NOW_MS + 1}, "job web: its times do not fit the state's time"),
        ("jobs", {"version": "1"}, "job web: its stamp is not made of integers"),
        ("jobs", {"extra": 1}, "job web: the row's fields are not those of its kind"),
        ("secrets", {"sealed": "plain"}, "secret db: the value is not sealed"),
        ("ingress", {"job": "gone"}, "ingress shop: its job gone does not exist"),
        ("token", {"policies": ["gone"]}, "token t1: its policy gone does not exist"),
        ("policy", {"rules": {}}, "policy ci: its rules are no list"),
        ("metrics", {"count": 3}, "2 samples, 3 were counted"),
        ("metrics", {"series": "mem"}, "its key does not fit its series and labels"),
        ("metrics", {"last_ms": 0}, "its last time is not that of its last sample"),
        ("metrics", {"points": b"\x00\x00"}, "its times do not rise within its block"),
        ("metrics", {"points": b"\x80"}, "points end within a sample"),
    ],
)
def test_a_changed_row_is_found(
    machine: StateMachine, kind: str, change: dict[str, Any], sentence: str
) -> None:
    """Each field that contradicts the rest gives a sentence that names the row."""
    view = machine.view()
    row = next(row for k, key, row in view.rows() if kind in (k, key.partition("/")[0]))
    found = reloaded(view, **{kind: pack_canonical({**unpack(row), **change})})
    assert any(sentence in line for line in found), found


def test_bytes_that_are_no_row_are_found(machine: StateMachine) -> None:
    """Rows that cannot be read, or are in another order than the canonical one."""
    view = machine.view()
    fields = unpack(view.get("nodes", "n") or b"")
    backwards = pack({key: fields[key] for key in sorted(fields, reverse=True)})
    assert reloaded(view, nodes=backwards) == ["node n: the row is not canonical"]
    assert reloaded(view, nodes=b"\xc1")[0].startswith("node n: the row cannot be read")
    assert reloaded(view, nodes=pack([])) == ["node n: the row's fields are not those of its kind"]


def test_a_missing_row_is_found(machine: StateMachine) -> None:
    """What points at a row that is gone is a violation."""
    assert reloaded(machine.view(), jobs=None) == ["ingress shop: its job web does not exist"]
    assert reloaded(machine.view(), policy=None) == ["token t1: its policy ci does not exist"]


def test_a_bad_name_is_found(machine: StateMachine) -> None:
    """A row under a name that leaves a folder is a violation."""
    row = machine.get("jobs", "web") or b""
    other = StateMachine()
    other.load([("jobs", "../web", row)], revision=8, epoch=1, time_ms=NOW_MS)
    assert violations(other.view()) == ['job ../web: its name has ".." in it']


def test_a_wrong_count_or_fingerprint_is_found(machine: StateMachine) -> None:
    """The counters are counted again, not believed."""
    view = machine.view()
    table = view.tables["jobs"]
    counted = {**view.tables, "jobs": replace(table, count=2)}
    summed = {**view.tables, "jobs": replace(table, fingerprint=0)}
    assert violations(replace(view, tables=counted)) == ["jobs: 1 rows, but 2 are counted"]
    assert violations(replace(view, tables=summed)) == [
        "jobs: the fingerprint does not fit the rows"
    ]
