"""The rules of each kind of row: what is refused, why, and what points at what."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl_core.codec import unpack
from heroctl_core.state.commands import (
    Command,
    DeleteIngress,
    DeleteJob,
    DeleteNode,
    DeletePolicy,
    DeleteSecret,
    DeleteToken,
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
from heroctl_core.state.machine import StateMachine
from heroctl_core.state.names import name_fault
from heroctl_core.state.outcome import Applied, Outcome, Rejected, Stamp

NOW_MS = 1_700_000_000_000
RULE = {"resource": "job", "name": "web-*", "actions": ["write", "read"], "effect": "allow"}
SPEC = {"host": "shop.example.org", "path": "/", "job": "web", "port": 8080, "tls": True}
HASH = b"h" * 32


class Sender:
    def __init__(self, *commands: Command) -> None:
        self.machine = StateMachine()
        self.sent = 0
        for command in commands:
            assert isinstance(self.send(command), Applied)

    def send(self, command: Command) -> Outcome:
        self.sent += 1
        envelope = Envelope(self.sent.to_bytes(16), NOW_MS, "operator", "test", command)
        return self.machine.apply(encode(envelope), Stamp(self.sent, NOW_MS))

    def refused(self, command: Command) -> tuple[str, str]:
        outcome = self.send(command)
        assert isinstance(outcome, Rejected)
        return outcome.reason, outcome.message

    def row(self, kind: str, key: str) -> dict[str, Any]:
        row = self.machine.get(kind, key)
        assert row is not None
        fields: dict[str, Any] = unpack(row)
        return fields


def web() -> PutJob:
    return PutJob("web", b"\x80", {})


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        (None, "is no text but NoneType"),
        (b"web", "is no text but bytes"),
        ("x" * 253, None),
        ("x" * 254, "has 254 bytes, the limit is 253"),
        ("é" * 126, None),
        ("é" * 127, "has 254 bytes, the limit is 253"),
        ("/etc/passwd", 'begins with "/"'),
        ("..", 'has ".." in it'),
        ("a/../b", 'has ".." in it'),
        ("a..b", 'has ".." in it'),
        (".", 'has the segment "."'),
        ("a/./b", 'has the segment "."'),
        ("a//b", 'has the segment ""'),
        ("a/", 'has the segment ""'),
        ("a\\b", "has a backslash in it"),
        ("a\nb", "has a control or invisible character"),
        ("a\x7f", "has a control or invisible character"),
        ("a\u202eb", "has a control or invisible character"),
        (" a", "has a space at the edge of a segment"),
        ("a /b", "has a space at the edge of a segment"),
        ("a.", None),
        (".hidden", None),
        ("web", None),
        ("team/shop/web-1.2_x", None),
        ("größe", None),
        ("two words", None),
        ("web\n", "has a control or invisible character"),
    ],
)
def test_names(name: object, fault: str | None) -> None:
    """A name is text that stays in its folder, or there is a reason why not."""
    assert name_fault(name) == fault


@pytest.mark.parametrize(
    "command",
    [
        PutJob("../x", b"\x80", {}),
        PutSecret("../x", b"s", {}),
        PutPolicy("../x", []),
        PutToken("t", "../x", HASH, []),
        PutIngress("../x", SPEC),
        PutNode("../x", "10.0.0.1", {}, {}),
        DeleteJob("../x"),
        DeleteSecret("../x"),
        DeletePolicy("../x"),
        DeleteIngress("../x"),
        DeleteNode("../x"),
    ],
)
def test_every_kind_checks_its_name(command: Command) -> None:
    """A name that would leave a folder is refused by every command that takes a name."""
    reason, message = Sender(web()).refused(command)
    assert reason == "invalid"
    assert message.endswith("name '../x' has \"..\" in it")


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (PutSecret("db", b"sealed", {"owner": "x"}), ("secrets", "db")),
        (PutPolicy("ci", [RULE]), ("acl", "policy/ci")),
        (PutIngress("shop", SPEC), ("ingress", "shop")),
        (PutNode("node-1", "10.0.0.1", {"zone": "a"}, {"cpu": 1.5}), ("nodes", "node-1")),
        (PutKeyring(b"wrapped"), ("keyring", "keyring")),
        (PutToken("t1", "ci", HASH, []), ("acl", "token/t1")),
    ],
)
def test_every_put_writes_a_row_that_a_second_put_changes(
    command: Command, key: tuple[str, str]
) -> None:
    """The row has a stamp, and keeps its creation when it is put again."""
    sender = Sender(web(), command)
    assert sender.row(*key)["version"] == 1
    sender.send(command)
    row = sender.row(*key)
    assert (row["version"], row["created_revision"], row["revision"]) == (2, 2, 3)


@pytest.mark.parametrize(
    ("put", "delete", "key"),
    [
        (PutSecret("db", b"sealed", {}), DeleteSecret("db"), ("secrets", "db")),
        (PutPolicy("ci", []), DeletePolicy("ci"), ("acl", "policy/ci")),
        (PutToken("t1", "ci", HASH, []), DeleteToken("t1"), ("acl", "token/t1")),
        (PutIngress("shop", SPEC), DeleteIngress("shop"), ("ingress", "shop")),
        (PutNode("n", "10.0.0.1", {}, {}), DeleteNode("n"), ("nodes", "n")),
    ],
)
def test_every_delete_drops_its_row_once(
    put: Command, delete: Command, key: tuple[str, str]
) -> None:
    """The second delete is not_found and names what it looked for."""
    sender = Sender(web(), put)
    assert sender.send(delete) == Applied(3)
    assert sender.machine.get(*key) is None
    reason, message = sender.refused(delete)
    assert reason == "not_found"
    assert message.endswith("does not exist")


def test_labels_are_kept_in_canonical_order() -> None:
    """Equal labels in another order give the same bytes."""
    one = Sender(PutJob("web", b"\x80", {"a": "1", "b": "2"}))
    two = Sender(PutJob("web", b"\x80", {"b": "2", "a": "1"}))
    assert one.machine.get("jobs", "web") == two.machine.get("jobs", "web")


@pytest.mark.parametrize("labels", [None, [], {"a": 1}, {"": "x"}])
def test_labels_must_be_text(labels: Any) -> None:
    """Labels and metadata map text to text."""
    sender = Sender()
    assert sender.refused(PutJob("web", b"\x80", labels))[0] == "invalid"
    assert sender.refused(PutSecret("db", b"s", labels))[0] == "invalid"
    assert sender.refused(PutNode("n", "10.0.0.1", labels, {}))[0] == "invalid"


@pytest.mark.parametrize("sealed", [b"", None, "text"])
def test_blobs_must_be_bytes(sealed: Any) -> None:
    """A spec, a sealed value and a keyring are bytes and not empty."""
    sender = Sender()
    assert sender.refused(PutJob("web", sealed, {}))[0] == "invalid"
    assert sender.refused(PutSecret("db", sealed, {}))[0] == "invalid"
    assert sender.refused(PutKeyring(sealed))[0] == "invalid"


def test_an_ingress_needs_its_job() -> None:
    """A route to a job that does not exist is refused."""
    expected = ("invalid", "ingress shop: job web does not exist")
    assert Sender().refused(PutIngress("shop", SPEC)) == expected


def test_a_job_that_an_ingress_uses_stays() -> None:
    """Deleting it is a conflict that names the first ingress, until no ingress points at it."""
    sender = Sender(web(), PutJob("api", b"\x80", {}))
    sender.send(PutIngress("shop", SPEC))
    sender.send(PutIngress("b2b", SPEC))
    assert sender.refused(DeleteJob("web")) == ("conflict", "job web is used by ingress b2b")
    sender.send(PutIngress("b2b", {**SPEC, "job": "api"}))
    assert sender.refused(DeleteJob("web")) == ("conflict", "job web is used by ingress shop")
    sender.send(DeleteIngress("shop"))
    assert isinstance(sender.send(DeleteJob("web")), Applied)
    assert sender.refused(DeleteJob("api")) == ("conflict", "job api is used by ingress b2b")


def test_references_survive_a_load() -> None:
    """After rows were loaded a used job and a used policy are still kept."""
    sender = Sender(web(), PutPolicy("ci", [RULE]), PutToken("t1", "ci", HASH, ["ci"]))
    sender.send(PutIngress("shop", SPEC))
    rows = list(sender.machine.view().rows())
    sender.machine.load(rows, revision=9, epoch=1, time_ms=NOW_MS)
    assert sender.refused(DeleteJob("web")) == ("conflict", "job web is used by ingress shop")
    assert sender.refused(DeletePolicy("ci")) == ("conflict", "policy ci is used by token t1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"host": ""}, "host must be text"),
        ({"host": "a b"}, "host 'a b' is no host name"),
        ({"host": "a..b"}, "host 'a..b' is no host name"),
        ({"path": "x"}, 'must begin with "/"'),
        ({"path": "/a b"}, "be plain ASCII"),
        ({"job": 3}, "job name 3 is no text but int"),
        ({"port": 0}, "port is 0, allowed: 1 to 65535"),
        ({"port": 65536}, "port is 65536, allowed: 1 to 65535"),
        ({"port": True}, "port is True, allowed: 1 to 65535"),
        ({"tls": 1}, "tls must be true or false"),
        ({"color": "red"}, "must have the fields host, job, path, port, tls"),
    ],
)
def test_ingress_fields(change: dict[str, Any], message: str) -> None:
    """Each field of a route is checked and named."""
    reason, found = Sender(web()).refused(PutIngress("shop", {**SPEC, **change}))
    assert reason == "invalid"
    assert message in found


@pytest.mark.parametrize("port", [1, 65535])
@pytest.mark.parametrize("host", ["*", "*.example.org", "localhost"])
def test_ingress_edges(port: int, host: str) -> None:
    """The first and last port and the forms of a host are taken."""
    assert isinstance(
        Sender(web()).send(PutIngress("shop", {**SPEC, "port": port, "host": host})), Applied
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resource": "jobs"}, "resource is 'jobs', allowed: *, acl, "),
        ({"effect": "maybe"}, "effect is 'maybe', allowed: allow, deny"),
        ({"actions": []}, "actions must be a list that is not empty"),
        ({"actions": ["fly"]}, "action is 'fly', allowed: *, delete, "),
        ({"actions": [["read"]]}, "action is ['read'], allowed"),
        ({"name": ""}, "name must be text"),
        ({"extra": 1}, "must have the fields actions, effect, name, resource"),
    ],
)
def test_rules_are_checked_word_by_word(change: dict[str, Any], message: str) -> None:
    """A rule that nobody can decide on is refused, with its number."""
    reason, found = Sender().refused(PutPolicy("ci", [RULE, {**RULE, **change}]))
    assert reason == "invalid"
    assert found.startswith("policy ci, rule 2")
    assert message in found


def test_rules_are_stored_in_canonical_form() -> None:
    """Actions are sorted and once each."""
    sender = Sender(PutPolicy("ci", [{**RULE, "actions": ["write", "read", "read"]}]))
    assert sender.row("acl", "policy/ci")["rules"] == [{**RULE, "actions": ["read", "write"]}]


def test_a_token_needs_its_policies() -> None:
    """A token for a policy that does not exist is refused."""
    expected = ("invalid", "token t1: policy ci does not exist")
    assert Sender().refused(PutToken("t1", "x", HASH, ["ci"])) == expected


def test_a_policy_that_a_token_uses_stays() -> None:
    """Deleting it is a conflict that names the token, until no token uses it."""
    sender = Sender(PutPolicy("ci", [RULE]), PutPolicy("ro", [RULE]))
    sender.send(PutToken("t1", "x", HASH, ["ci", "ci"]))
    assert sender.refused(DeletePolicy("ci")) == ("conflict", "policy ci is used by token t1")
    sender.send(PutToken("t1", "x", HASH, ["ro"]))
    assert isinstance(sender.send(DeletePolicy("ci")), Applied)
    sender.send(DeleteToken("t1"))
    assert isinstance(sender.send(DeletePolicy("ro")), Applied)


@pytest.mark.parametrize(
    "command",
    [
        PutToken("", "x", HASH, []),
        PutToken("A1", "x", HASH, []),
        PutToken("a_b", "x", HASH, []),
        PutToken("a" * 65, "x", HASH, []),
        PutToken("t", "x", HASH[:-1], []),
        PutToken("t", "x", HASH, [], -1),
        PutToken("t", "x", HASH, [], True),
        DeleteToken("../x"),
    ],
)
def test_token_fields(command: Command) -> None:
    """Accessor, hash and expiry have exact forms."""
    assert Sender().refused(command)[0] == "invalid"


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpu": "16"}, "resource 'cpu' must be a number"),
        ({"cpu": True}, "resource 'cpu' must be a number"),
        ({"cpu": float("nan")}, "resource cpu is nan, which JSON cannot hold"),
        ({"cpu": 2**63}, "resource cpu is beyond 64 bits"),
        (None, "resources must be a map of text to numbers"),
    ],
)
def test_node_resources(resources: Any, message: str) -> None:
    """Resources are finite numbers by name."""
    expected = ("invalid", f"node n: {message}")
    assert Sender().refused(PutNode("n", "10.0.0.1", {}, resources)) == expected


@pytest.mark.parametrize("address", ["", None, "a\nb", "x" * 254])
def test_node_addresses(address: Any) -> None:
    """An address is a line of text within the limit."""
    assert Sender().refused(PutNode("n", address, {}, {}))[0] == "invalid"
