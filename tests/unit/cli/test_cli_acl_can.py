"""`heroctl acl can`: the decision and the rule behind it, before somebody is surprised by it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heroctl_core.catalogue.access import Decision, Rule
from heroctl_core.testing.memory_node import ServedNode


@pytest.fixture(autouse=True)
def rights(served: ServedNode) -> None:
    acl = served.node.acl
    acl.put_policy("read-all", [Rule("node", "*", ("read",)), Rule("*", "*", ("read", "list"))])
    acl.put_policy("deploy", [Rule("job", "*", ("write",)), Rule("job", "db*", ("*",), "deny")])
    acl.put_token("ci", ["read-all", "deploy"])
    acl.put_token("old", ["read-all"], expires_ms=1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ci", "write", "job/web"), 0, "yes: rule 1 of policy deploy allows it\n"),
        (("ci", "read", "node/n1"), 0, "yes: rule 1 of policy read-all allows it\n"),
        (("ci", "read", "job/team/web"), 0, "yes: rule 2 of policy read-all allows it\n"),
        (("ci", "read", "job/db-1"), 5, "no: rule 2 of policy deploy denies it\n"),
        (("ci", "delete", "job/web"), 5, "no: no rule allows it\n"),
        (("ci", "restore", "snapshot/*"), 5, "no: no rule allows it\n"),
        (("old", "read", "job/web"), 5, "no: the token has expired\n"),
    ],
)
def test_the_rule_that_decides_is_named(
    served: ServedNode, cli: Any, words: tuple[str, ...], code: int, said: str
) -> None:
    """A deny before every allow; the code is that of a call that is denied."""
    done = cli("acl", "can", *words)
    assert (done.code, done.out) == (code, said)


def test_json_has_the_parts(served: ServedNode, cli: Any) -> None:
    """For a program."""
    assert json.loads(cli("acl", "can", "ci", "read", "job/db", "-o", "json").out) == {
        "allowed": False,
        "policy": "deploy",
        "rule": 2,
        "why": "rule 2 of policy deploy denies it",
    }


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ghost", "read", "job/web"), 6, "token ghost does not exist"),
        (("ci", "cook", "job/web"), 2, "'cook' is none of *, delete, list, read"),
        (("ci", "read", "cheese/web"), 2, "'cheese' is none of *, acl, ingress, job"),
        (("ci", "read", "job"), 2, "'job' is not KIND/NAME, as in job/web"),
    ],
)
def test_what_cannot_be_asked_says_so(
    served: ServedNode, cli: Any, words: tuple[str, ...], code: int, said: str
) -> None:
    """With the words that are allowed."""
    done = cli("acl", "can", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err


def test_only_who_may_read_the_token_may_ask(served: ServedNode) -> None:
    """The answer tells policies and rules."""
    client = served.client(served.token({"resource": "job", "name": "*", "actions": ["*"]}))
    query = {"token": "ci", "action": "read", "resource": "job", "name": "web"}
    with pytest.raises(Exception, match="may not read acl ci"):
        client.get("/v1/acl/can", query)


def test_the_decision_is_the_one_that_counts(served: ServedNode) -> None:
    """`may` and `decide` are one."""
    acl = served.node.acl
    assert acl.can("ci", "write", "job", "web") == Decision(allowed=True, policy="deploy", rule=1)
    text = acl.put_token("new", ["deploy"]).text
    assert text is not None
    actor = acl.authenticate(text)
    for name in ("web", "db", "db-1", "x"):
        assert actor.may("write", "job", name) == acl.can("new", "write", "job", name).allowed
