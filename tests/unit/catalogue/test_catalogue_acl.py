"""Rights: rules, tokens, the first token, and that every call checks them."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import pytest

from heroctl_core.catalogue.access import OPERATOR, Actor, Policy, Rule
from heroctl_core.catalogue.acl import accessor_of, token_text
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.errors import CommandRejected
from heroctl_core.state.commands import (
    KINDS,
    AppendMetrics,
    Command,
    DeleteIngress,
    DeleteJob,
    DeleteMetrics,
    DeleteNode,
    DeletePolicy,
    DeleteSecret,
    DeleteToken,
    Expectation,
    ExpireMetrics,
    PutIngress,
    PutJob,
    PutKeyring,
    PutNode,
    PutPolicy,
    PutSecret,
    PutToken,
    Transaction,
    operation,
)
from heroctl_core.testing.clock import ManualClock
from heroctl_core.testing.replicator import InMemoryReplicator

NOBODY = Actor("nobody")


def actor(*rules: Rule) -> Actor:
    return Actor("ci", (Policy("p", rules),))


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ([], False),
        ([Rule("job", "web-1", ("read",))], True),
        ([Rule("job", "web-*", ("read", "write"))], True),
        ([Rule("*", "*", ("*",))], True),
        ([Rule("job", "web-?", ("*",))], True),
        ([Rule("job", "web-[0-9]", ("read",))], True),
        ([Rule("job", "WEB-1", ("read",))], False),
        ([Rule("job", "web", ("read",))], False),
        ([Rule("secret", "*", ("read",))], False),
        ([Rule("job", "*", ("write", "list", "delete"))], False),
        ([Rule("*", "*", ("*",)), Rule("job", "web-1", ("read",), "deny")], False),
        ([Rule("job", "web-1", ("read",), "deny"), Rule("*", "*", ("*",))], False),
        ([Rule("*", "*", ("*",)), Rule("job", "web-1", ("write",), "deny")], True),
        ([Rule("job", "web-1", ("read",), "deny")], False),
    ],
)
def test_rules_decide(rules: list[Rule], allowed: bool) -> None:
    """Reading job web-1: one allow is needed, one deny is enough against all allows."""
    assert actor(*rules).may("read", "job", "web-1") is allowed
    split = Actor("ci", tuple(Policy(str(i), (rule,)) for i, rule in enumerate(rules)))
    assert split.may("read", "job", "web-1") is allowed


def test_an_operator_may_everything() -> None:
    """The operator of the machine needs no policy."""
    assert OPERATOR.may("restore", "snapshot", "*")
    OPERATOR.check("delete", "acl", "operator")


COMMANDS: list[tuple[Command, str, str, str]] = [
    (PutJob("web", b"\x80", {}), "write", "job", "web"),
    (DeleteJob("web"), "delete", "job", "web"),
    (PutSecret("db", b"s", {}), "write", "secret", "db"),
    (DeleteSecret("db"), "delete", "secret", "db"),
    (PutPolicy("ci", []), "write", "acl", "ci"),
    (DeletePolicy("ci"), "delete", "acl", "ci"),
    (PutToken("t1", "bot", b"h" * 32, []), "write", "acl", "bot"),
    (DeleteToken("t1"), "delete", "acl", "t1"),
    (PutIngress("shop", {}), "write", "ingress", "shop"),
    (DeleteIngress("shop"), "delete", "ingress", "shop"),
    (PutNode("n1", "a", {}, {}), "write", "node", "n1"),
    (DeleteNode("n1"), "delete", "node", "n1"),
    (AppendMetrics([["cpu", {}, [[1, 1]]]]), "write", "metrics", "cpu"),
    (ExpireMetrics(1), "delete", "metrics", "*"),
    (PutKeyring(b"k"), "write", "operator", "*"),
    (DeleteMetrics("cpu", {}), "delete", "metrics", "cpu"),
    (Transaction([operation(PutJob("web", b"\x80", {}))]), "write", "job", "web"),
    (Transaction([operation(Expectation("nodes", "n1", 0))]), "read", "node", "n1"),
]


def test_every_command_is_in_the_table() -> None:
    """No kind of command is without a right."""
    assert {type(command) for command, *_ in COMMANDS} == set(KINDS.values())


@pytest.mark.parametrize(("command", "action", "resource", "name"), COMMANDS)
def test_submit_checks_the_right_of_each_command(
    catalogue: Catalogue, command: Command, action: str, resource: str, name: str
) -> None:
    """Just that right is enough, everything else but that right is not."""
    with pytest.raises(CommandRejected) as caught:
        catalogue.submit(command, NOBODY)
    assert caught.value.reason == "denied"
    assert caught.value.message == f"nobody may not {action} {resource} {name}"
    all_but = actor(Rule("*", "*", ("*",)), Rule(resource, name, (action,), "deny"))
    with pytest.raises(CommandRejected):
        catalogue.submit(command, all_but)
    catalogue.submit(command, actor(Rule(resource, name, (action,)))).result()


def test_samples_of_several_series_need_the_right_for_each(catalogue: Catalogue) -> None:
    """One series that the actor may not write is enough to refuse the command."""
    command = AppendMetrics([["cpu", {}, [[1, 1]]], ["mem", {}, [[1, 1]]]])
    with pytest.raises(CommandRejected, match="may not write metrics mem"):
        catalogue.submit(command, actor(Rule("metrics", "cpu", ("write",))))


def test_nobody_may_call_anything(catalogue: Catalogue) -> None:
    """Each call of each facade checks, also before it says whether a row exists."""
    c = catalogue
    calls = [
        lambda: c.jobs.put("web", {}, actor=NOBODY),
        lambda: c.jobs.get("web", actor=NOBODY),
        lambda: c.jobs.list(actor=NOBODY),
        lambda: c.jobs.delete("web", actor=NOBODY),
        lambda: c.secrets.put("db", b"x", actor=NOBODY),
        lambda: c.secrets.get("db", actor=NOBODY),
        lambda: c.secrets.list(actor=NOBODY),
        lambda: c.secrets.delete("db", actor=NOBODY),
        lambda: c.ingress.put("s", host="h", job="web", port=1, actor=NOBODY),
        lambda: c.ingress.get("s", actor=NOBODY),
        lambda: c.ingress.list(actor=NOBODY),
        lambda: c.ingress.delete("s", actor=NOBODY),
        lambda: c.nodes.put("n", address="a", actor=NOBODY),
        lambda: c.nodes.get("n", actor=NOBODY),
        lambda: c.nodes.list(actor=NOBODY),
        lambda: c.nodes.delete("n", actor=NOBODY),
        lambda: c.metrics.append("cpu", [(1, 1)], actor=NOBODY),
        lambda: c.metrics.get("cpu", actor=NOBODY),
        lambda: c.metrics.list(actor=NOBODY),
        lambda: c.metrics.delete("cpu", actor=NOBODY),
        lambda: c.metrics.expire(1, actor=NOBODY),
        lambda: c.acl.put_policy("p", [], actor=NOBODY),
        lambda: c.acl.get_policy("p", actor=NOBODY),
        lambda: c.acl.list_policies(actor=NOBODY),
        lambda: c.acl.delete_policy("p", actor=NOBODY),
        lambda: c.acl.put_token("t", [], actor=NOBODY),
        lambda: c.acl.get_token("t", actor=NOBODY),
        lambda: c.acl.list_tokens(actor=NOBODY),
        lambda: c.acl.delete_token("t", actor=NOBODY),
        lambda: c.acl.bootstrap(actor=NOBODY),
    ]
    for i, call in enumerate(calls):
        with pytest.raises(CommandRejected) as caught:
            call()
        assert caught.value.reason == "denied", i


def test_a_list_shows_what_the_actor_may_see(catalogue: Catalogue) -> None:
    """Rows that may be neither listed nor read are left out, also from the count of a page."""
    for name in ("api", "web-1", "web-2", "web-3"):
        catalogue.jobs.put(name, {})
    reader = actor(Rule("job", "web-*", ("read",)), Rule("job", "web-2", ("*",), "deny"))
    assert [job.name for job in catalogue.jobs.list(actor=reader)] == ["web-1", "web-3"]
    assert [job.name for job in catalogue.jobs.list(actor=reader, limit=2)] == ["web-1", "web-3"]
    lister = actor(Rule("secret", "*", ("list",)))
    catalogue.secrets.put("db", b"x")
    assert [secret.name for secret in catalogue.secrets.list(actor=lister)] == ["db"]
    with pytest.raises(CommandRejected):
        catalogue.secrets.get("db", actor=lister)


@pytest.mark.parametrize(
    "resource", ["job", "secret", "ingress", "node", "metrics", "policy", "token"]
)
def test_every_list_leaves_out_what_may_not_be_seen(
    catalogue: Catalogue, clock: ManualClock, resource: str
) -> None:
    """A list is a way to read, whatever the kind is; a deny of one name holds there too."""
    c = catalogue
    c.jobs.put("used", {})
    for name in ("hidden", "shown"):
        c.jobs.put(name, {})
        c.secrets.put(name, b"x")
        c.ingress.put(name, host=f"{name}.example.org", job="used", port=80)
        c.nodes.put(name, address="a")
        c.metrics.append(name, [(clock.time_ms(), 1.0)])
        c.acl.put_policy(name, [])
        c.acl.put_token(name, [])
    right = "acl" if resource in ("policy", "token") else resource
    reader = actor(Rule(right, "*", ("list", "read")), Rule(right, "hidden", ("*",), "deny"))
    lists: dict[str, Any] = {
        "job": c.jobs.list, "secret": c.secrets.list, "ingress": c.ingress.list,
        "node": c.nodes.list, "metrics": c.metrics.list,
        "policy": c.acl.list_policies, "token": c.acl.list_tokens,
    }  # fmt: skip
    shown = {getattr(item, "name", None) or item.series for item in lists[resource](actor=reader)}
    assert shown - {"used"} == {"shown"}


def test_a_policy_comes_back(catalogue: Catalogue) -> None:
    """Rules as values or as maps; effect is allow when it is not said."""
    rules = [
        {"resource": "job", "name": "web-*", "actions": ["write", "read"]},
        Rule("job", "web-9", ("*",), "deny"),
    ]
    catalogue.acl.put_policy("ci", rules)
    policy = catalogue.acl.get_policy("ci")
    assert policy.rules == (
        Rule("job", "web-*", ("read", "write"), "allow"),
        Rule("job", "web-9", ("*",), "deny"),
    )
    assert policy.to_json()["rules"][1]["effect"] == "deny"
    catalogue.acl.put_policy("ops", [])
    assert [each.name for each in catalogue.acl.list_policies()] == ["ci", "ops"]
    assert [each.name for each in catalogue.acl.list_policies(after="ci")] == ["ops"]
    catalogue.acl.delete_policy("ci")
    assert [each.name for each in catalogue.acl.list_policies("o")] == ["ops"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("*", "rules of policy ci must be a list"),
        (None, "rules of policy ci must be a list"),
        ([3], "policy ci, rule 1 is a int, not a map"),
        ([{"resource": "job"}], "policy ci, rule 1 must have the fields"),
        ([{"resource": "job", "names": "*"}], "policy ci, rule 1 has the unknown field names"),
    ],
)
def test_rules_are_maps_with_known_fields(catalogue: Catalogue, rules: Any, message: str) -> None:
    """A typing mistake in a rule is refused and does not become a rule that fits nothing."""
    with pytest.raises(CommandRejected) as caught:
        catalogue.acl.put_policy("ci", rules)
    assert caught.value.reason == "invalid"
    assert caught.value.message.startswith(message)


def test_a_token_opens_what_its_policies_allow(catalogue: Catalogue) -> None:
    """The text is shown once; the actor has the policies as they are now."""
    catalogue.acl.put_policy("ci", [Rule("job", "web-*", ("read", "write"))])
    made = catalogue.acl.put_token("bot", ["ci"])
    assert made.text is not None
    assert re.fullmatch(r"heroctl_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", made.text)
    assert made.text not in repr(made)
    bot = catalogue.acl.authenticate(made.text, source="10.0.0.9")
    assert (bot.name, bot.source, bot.operator) == ("bot", "10.0.0.9", False)
    catalogue.jobs.put("web-1", {}, actor=bot)
    with pytest.raises(CommandRejected, match="bot may not write job api"):
        catalogue.jobs.put("api", {}, actor=bot)
    catalogue.acl.put_policy("ci", [])
    bot = catalogue.acl.authenticate(made.text)
    assert not bot.may("read", "job", "web-1")


def test_only_the_hash_of_a_token_is_kept(
    catalogue: Catalogue, replicator: InMemoryReplicator
) -> None:
    """Neither the text nor its secret is in the state."""
    made = catalogue.acl.put_token("bot", [])
    assert made.text is not None
    secret = made.text.rpartition("_")[2].encode()
    row = replicator.machine.get("acl", f"token/{made.accessor}")
    assert row is not None
    assert secret not in row


def test_a_token_is_changed_under_its_name(catalogue: Catalogue) -> None:
    """A second put changes policies and expiry, keeps the secret and shows no text."""
    catalogue.acl.put_policy("ci", [])
    made = catalogue.acl.put_token("bot", [])
    again = catalogue.acl.put_token("bot", ["ci"])
    assert again.text is None
    assert made.text is not None
    assert [each.name for each in catalogue.acl.authenticate(made.text).policies] == ["ci"]
    assert catalogue.acl.get_token("bot").policies == ("ci",)
    assert [token.name for token in catalogue.acl.list_tokens()] == ["bot"]


def test_a_retry_never_shows_a_text_that_opens_nothing(
    catalogue: Catalogue, replicator: InMemoryReplicator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When an earlier try made the token with another secret, the retry says that it is lost."""
    request_id = catalogue.writer.new_request_id()
    find = catalogue.reader.find
    catalogue.acl.put_token("bot", [], request_id=request_id)
    seen: list[str] = []

    def find_late(kind: str, key: str, consistency: Any) -> Any:
        """The row as the retry sees it when its first try is still on its way."""
        seen.append(consistency)
        return find(kind, key, consistency) if consistency == "stale" else None

    monkeypatch.setattr(catalogue.reader, "find", find_late)
    with pytest.raises(CommandRejected, match="made by an earlier try") as caught:
        catalogue.acl.put_token("bot", [], request_id=request_id)
    assert caught.value.reason == "conflict"
    assert seen == ["linearizable", "stale"]


def test_a_token_expires_to_the_millisecond(catalogue: Catalogue, clock: ManualClock) -> None:
    """It opens until its time and not at it; the message says when that was."""
    made = catalogue.acl.put_token("bot", [], expires_ms=clock.time_ms() + 2)
    assert made.text is not None
    clock.advance(0.001)
    catalogue.acl.authenticate(made.text)
    clock.advance(0.001)
    with pytest.raises(CommandRejected, match="token bot expired at 2023-11-14T22:13:20Z"):
        catalogue.acl.authenticate(made.text)


def test_a_revoked_token_opens_nothing(catalogue: Catalogue) -> None:
    """After delete the text is not valid, and a new token of that name has another text."""
    made = catalogue.acl.put_token("bot", [])
    catalogue.acl.delete_token("bot")
    assert made.text is not None
    with pytest.raises(CommandRejected, match="the token is not valid"):
        catalogue.acl.authenticate(made.text)
    again = catalogue.acl.put_token("bot", [])
    assert again.text not in (None, made.text)
    with pytest.raises(CommandRejected, match="the token is not valid"):
        catalogue.acl.authenticate(made.text)


def test_wrong_texts_are_denied_alike(catalogue: Catalogue) -> None:
    """The answer does not tell a wrong accessor from a wrong secret or a wrong form."""
    made = catalogue.acl.put_token("bot", [])
    assert made.text is not None
    texts = [
        "",
        "heroctl",
        "heroctl_" + "a" * 16,
        token_text(made.accessor, bytes(32)),
        token_text("0" * 16, b"x" * 32),
        made.text[:-1],
        made.text + "A",
        made.text + "\n",
        made.text.upper(),
        "heroctl_ci/../x_" + "A" * 43,
    ]
    for text in texts:
        with pytest.raises(CommandRejected) as caught:
            catalogue.acl.authenticate(text)
        assert (caught.value.reason, caught.value.message) == ("denied", "the token is not valid")


def test_tokens_are_recognised_without_a_quorum(
    catalogue: Catalogue, replicator: InMemoryReplicator
) -> None:
    """In READ_ONLY a token still opens stale reads."""
    made = catalogue.acl.put_token("bot", [])
    replicator.go_read_only()
    assert made.text is not None
    assert catalogue.acl.authenticate(made.text).name == "bot"


def test_the_first_token_is_made_once(catalogue: Catalogue) -> None:
    """It may do everything; a second bootstrap is a conflict and changes nothing."""
    made = catalogue.acl.bootstrap()
    assert made.text is not None
    first = catalogue.acl.authenticate(made.text)
    assert first.may("restore", "snapshot", "any")
    assert not first.operator
    with pytest.raises(CommandRejected) as caught:
        catalogue.acl.bootstrap()
    assert caught.value.reason == "conflict"
    assert caught.value.hint is not None
    catalogue.acl.authenticate(made.text)


def test_a_bootstrap_that_was_killed_goes_on(catalogue: Catalogue) -> None:
    """A policy without its token, left by a kill in between, does not block the next try."""
    catalogue.acl.put_policy("operator", [])
    made = catalogue.acl.bootstrap()
    assert made.text is not None
    assert catalogue.acl.authenticate(made.text).may("write", "job", "web")


def test_delete_of_a_token_needs_the_right_for_its_name(catalogue: Catalogue) -> None:
    """Rules speak of names; a submitted command with the bare accessor is judged by the name."""
    catalogue.acl.put_token("bot", [])
    command = DeleteToken(accessor_of("bot"))
    with pytest.raises(CommandRejected, match="ci may not delete acl bot"):
        catalogue.submit(command, actor(Rule("acl", "other", ("*",))))
    catalogue.submit(command, actor(Rule("acl", "bot", ("delete",)))).result()


def test_accessors_follow_from_names() -> None:
    """Fixed for ever: tokens in old archives are found by it."""
    assert accessor_of("ci") == sha256(b"heroctl token ci").hexdigest()[:16]
    assert accessor_of("ci") != accessor_of("cj")
