"""Nobody hands on rights that they lack, or changes who has them: policies and tokens."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest

from heroctl_core.catalogue.access import OPERATOR, Actor, Policy, Rule
from heroctl_core.catalogue.acl import accessor_of
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.catalogue.grants import excess
from heroctl_core.errors import CommandRejected
from heroctl_core.state.acl import ACTIONS
from heroctl_core.state.commands import DeleteToken, PutPolicy, PutToken

EVERYTHING = Rule("*", "*", ("*",))
ACL_OF_CI = Rule("acl", "ci-*", ("*",))
JOBS_OF_CI = Rule("job", "ci-*", ("read", "write"))
DENY_PAY = Rule("job", "ci-pay", ("*",), "deny")


def actor(*rules: Rule) -> Actor:
    return Actor("bot", (Policy("p", rules),))


@pytest.mark.parametrize(
    ("own", "given", "is_within"),
    [
        ([JOBS_OF_CI], [], True),
        ([JOBS_OF_CI], [JOBS_OF_CI], True),
        ([JOBS_OF_CI], [Rule("job", "ci-web", ("read",))], True),
        ([JOBS_OF_CI], [Rule("job", "ci-*-?", ("write",))], True),
        ([JOBS_OF_CI], [Rule("job", "*", ("read",))], False),
        ([JOBS_OF_CI], [Rule("job", "ci", ("read",))], False),
        ([JOBS_OF_CI], [Rule("job", "ci-[ab]", ("read",))], False),  # not plain: refused
        ([JOBS_OF_CI], [Rule("job", "ci-web", ("delete",))], False),
        ([JOBS_OF_CI], [Rule("job", "ci-web", ("*",))], False),
        ([JOBS_OF_CI], [Rule("*", "ci-web", ("read",))], False),
        ([JOBS_OF_CI], [EVERYTHING], False),
        ([JOBS_OF_CI], [Rule("job", "*", ("*",), "deny")], True),  # takes away only
        ([Rule("job", "c?", ("*",))], [Rule("job", "c*", ("read",))], False),
        ([Rule("job", "c?", ("*",))], [Rule("job", "ca", ("read",))], True),
        ([Rule("job", "[ab]", ("*",))], [Rule("job", "[ab]", ("read",))], True),
        ([Rule("job", "ci-*", ("read",)), Rule("*", "*", ("write",))], [JOBS_OF_CI], True),
        ([EVERYTHING], [EVERYTHING, DENY_PAY], True),
        ([EVERYTHING, DENY_PAY], [EVERYTHING], False),
        ([EVERYTHING, DENY_PAY], [EVERYTHING, DENY_PAY], True),
        ([EVERYTHING, DENY_PAY], [EVERYTHING, Rule("job", "ci-*", ("*",), "deny")], True),
        ([EVERYTHING, DENY_PAY], [Rule("job", "ci-web", ("read",))], True),
        ([EVERYTHING, DENY_PAY], [Rule("job", "ci-*", ("read",))], False),
        ([EVERYTHING, DENY_PAY], [Rule("job", "web-?", ("read",))], True),
        ([EVERYTHING, DENY_PAY], [Rule("secret", "*", ("read",))], True),
        ([], [Rule("job", "x", ("read",))], False),
    ],
)
def test_what_is_given_must_be_within_what_the_actor_has(
    own: list[Rule], given: list[Rule], is_within: bool
) -> None:
    """Every allow needs an own one that covers it; an own deny has to come along."""
    assert (excess(actor(*own), given) is None) is is_within
    assert excess(OPERATOR, given) is None


def test_no_glob_that_counts_as_within_reaches_further() -> None:
    """All globs of up to three signs, against all names of up to three letters."""
    globs = ["".join(p) for n in (1, 2, 3) for p in product("ab*?", repeat=n)]
    globs += ["[ab]", "[b]*", "*[a]", "a]", "[!a]", "*b]", "?]"]
    names = ["".join(p) for n in (1, 2, 3) for p in product("ab]", repeat=n)]
    fits = {glob: {name for name in names if fnmatchcase(name, glob)} for glob in globs}
    passed = 0
    for wide in globs:
        holder = actor(Rule("job", wide, ("read",)))
        for narrow in globs:
            if excess(holder, [Rule("job", narrow, ("read",))]) is None:
                assert fits[narrow] <= fits[wide], (wide, narrow)
                passed += 1
    assert passed > len(globs)


def test_an_own_deny_is_never_shaken_off() -> None:
    """Whatever allow is let through, no name that the actor is denied fits it."""
    globs = ["a", "b", "a*", "*b", "?", "??", "[ab]", "*", "a?", "ba"]
    names = ["".join(p) for n in (1, 2, 3) for p in product("ab", repeat=n)]
    for denied in globs:
        holder = actor(EVERYTHING, Rule("job", denied, ("read",), "deny"))
        for given in globs:
            for actions in (("read",), ("*",)):
                if excess(holder, [Rule("job", given, actions)]) is None:
                    fit = [n for n in names if fnmatchcase(n, given)]
                    assert all(holder.may("read", "job", name) for name in fit), (denied, given)
    assert excess(holder, [Rule("job", "zz", tuple(sorted(ACTIONS)))]) is None


@pytest.fixture
def ci(catalogue: Catalogue) -> Actor:
    """May write acl and jobs below ci-, in a cluster with an operator's token and policy."""
    catalogue.acl.bootstrap()
    catalogue.acl.put_policy("ci-strong", [EVERYTHING])
    catalogue.acl.put_token("ci-root", ["ci-strong"])
    catalogue.acl.put_policy("ci-jobs", [JOBS_OF_CI])
    catalogue.acl.put_policy("ci-fence", [Rule("secret", "*", ("*",), "deny")])
    return actor(ACL_OF_CI, JOBS_OF_CI)


Calls = list[tuple[str, Callable[[Catalogue, Actor], Any]]]

REFUSED: Calls = [
    ("token of the operator", lambda c, a: c.acl.put_token("ci-me", ["operator"], actor=a)),
    ("one of two policies", lambda c, a: c.acl.put_token(
        "ci-me", ["ci-jobs", "ci-strong"], actor=a)),
    ("a strong policy", lambda c, a: c.acl.put_policy("ci-own", [EVERYTHING], actor=a)),
    ("its own policy, stronger", lambda c, a: c.acl.put_policy("ci-jobs", [EVERYTHING], actor=a)),
    ("a weaker strong policy", lambda c, a: c.acl.put_policy("ci-strong", [], actor=a)),
    ("a strong policy away", lambda c, a: c.acl.delete_policy("ci-strong", actor=a)),
    ("a denial away", lambda c, a: c.acl.put_policy("ci-fence", [], actor=a)),
    ("a denial deleted", lambda c, a: c.acl.delete_policy("ci-fence", actor=a)),
    ("a stronger token, weaker", lambda c, a: c.acl.put_token("ci-root", ["ci-jobs"], actor=a)),
    ("a stronger token, for ever", lambda c, a: c.acl.put_token("ci-root", ["ci-strong"], actor=a)),
    ("a stronger token away", lambda c, a: c.acl.delete_token("ci-root", actor=a)),
    ("a new secret for a stronger token", lambda c, a: c.submit(
        PutToken(accessor_of("ci-root"), "ci-root", b"h" * 32, []), a)),
    ("a submitted policy", lambda c, a: c.submit(PutPolicy("ci-own", [EVERYTHING.to_json()]), a)),
    ("a submitted deletion", lambda c, a: c.submit(
        DeleteToken(accessor_of("ci-root")), actor(Rule("acl", "*", ("*",))))),
]  # fmt: skip


@pytest.mark.parametrize("call", [call for _, call in REFUSED], ids=[name for name, _ in REFUSED])
def test_the_right_to_write_acl_is_no_way_to_other_rights(
    catalogue: Catalogue, ci: Actor, call: Callable[[Catalogue, Actor], Any]
) -> None:
    """Denied, with the right that is lacking; nothing was written."""
    before = catalogue.reader.view("stale").revision
    with pytest.raises(CommandRejected, match="is about a right that bot lacks: ") as caught:
        call(catalogue, ci)
    assert caught.value.reason == "denied" and caught.value.hint
    assert catalogue.reader.view("stale").revision == before


def test_who_may_write_acl_hands_on_what_they_have(catalogue: Catalogue, ci: Actor) -> None:
    """Policies and tokens within the own rights are made, changed and deleted."""
    acl = catalogue.acl
    acl.put_policy("ci-web", [Rule("job", "ci-web", ("write",))], actor=ci)
    acl.put_policy("ci-web", [Rule("job", "ci-web", ("read",))], actor=ci)
    made = acl.put_token("ci-bot", ["ci-web"], actor=ci)
    assert made.text is not None
    acl.put_token("ci-bot", ["ci-web", "ci-jobs"], actor=ci)
    assert acl.authenticate(made.text).may("write", "job", "ci-db")
    acl.delete_token("ci-bot", actor=ci)
    acl.delete_policy("ci-web", actor=ci)
    with pytest.raises(CommandRejected, match="policy ci-none does not exist") as caught:
        acl.put_token("ci-bot", ["ci-none"], actor=ci)
    assert caught.value.reason == "invalid"
    with pytest.raises(CommandRejected, match="rule 1: effect is 'maybe'") as caught:
        acl.put_policy("ci-x", [{**JOBS_OF_CI.to_json(), "effect": "maybe"}], actor=ci)
    assert caught.value.reason == "invalid"


def test_a_holder_of_everything_hands_on_everything(catalogue: Catalogue, ci: Actor) -> None:
    """The first token needs no operator of the machine beside it."""
    first = actor(EVERYTHING)
    assert catalogue.acl.put_token("ci-root2", ["operator", "ci-strong"], actor=first).text
    catalogue.acl.delete_token("operator", actor=first)


def test_only_the_row_that_was_judged_is_written(
    catalogue: Catalogue, ci: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that becomes stronger in between is a conflict, also with a guessed revision."""
    acl = catalogue.acl
    revision = acl.get_policy("ci-jobs").revision
    with pytest.raises(CommandRejected, match=f"is at revision {revision}, not at 77") as caught:
        acl.put_policy("ci-jobs", [], expect=77, actor=ci)
    assert caught.value.reason == "conflict"
    write = catalogue.writer._replicator.write

    def late(command: bytes, request_id: bytes, timeout_s: float) -> Any:
        monkeypatch.undo()
        acl.put_policy("ci-jobs", [EVERYTHING])
        return write(command, request_id, timeout_s)

    monkeypatch.setattr(catalogue.writer._replicator, "write", late)
    with pytest.raises(CommandRejected) as caught:
        acl.put_policy("ci-jobs", [], actor=ci)
    assert caught.value.reason == "conflict"
    assert acl.get_policy("ci-jobs").rules == (EVERYTHING,)
