"""What an actor may hand on: nobody gives, changes or takes away rights that they lack themselves.

So the right to write some policies or tokens is no way to every right. Kubernetes decides the same
for roles and bindings. Globs are compared without guessing: where it is not plain that one name
pattern is within the other, it counts as not within.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Final

from ..errors import CommandRejected
from ..state.acl import POLICY_PREFIX, TOKEN_PREFIX, checked_rule
from ..state.commands import Command, DeletePolicy, DeleteToken, PutPolicy, PutToken
from ..state.rows import Refused, label
from .access import Actor, Rule, rules_of

Find = Callable[[str], dict[str, Any] | None]  # a decoded row of the table `acl`, by key

_HINT: Final = "ask somebody who has these rights, or the operator of a node"


def excess(actor: Actor, rules: Sequence[Rule]) -> Rule | None:
    """The first of `rules` that lets its holder do what the actor may not, None for none."""
    if actor.operator:
        return None
    own = [rule for policy in actor.policies for rule in policy.rules]
    allows = [rule for rule in own if rule.effect == "allow"]
    kept = [rule for rule in rules if rule.effect == "deny"]
    lost = [r for r in own if r.effect == "deny" and not any(_covers(k, r) for k in kept)]
    for rule in rules:
        if rule.effect == "allow":
            parts = [replace(rule, actions=(action,)) for action in rule.actions]
            has_all = all(any(_covers(mine, part) for mine in allows) for part in parts)
            if not has_all or any(_overlap(rule, deny) for deny in lost):
                return rule
    return None


def checked(actor: Actor, command: Command, find: Find) -> Command:
    """The command, bound to the row that it was judged by; CommandRejected denied when it gives,
    changes or takes away rights that the actor lacks."""
    if actor.operator:
        return command
    if isinstance(command, PutPolicy | DeletePolicy):
        key = noun = POLICY_PREFIX + str(command.name)
        old = find(key)
        # What it denied counts too: without its denials somebody may do more than before.
        before = [replace(rule, effect="allow") for rule in rules_of(old["rules"] if old else [])]
        after = _new_rules(command) if isinstance(command, PutPolicy) else ()
    elif isinstance(command, PutToken | DeleteToken):
        key = TOKEN_PREFIX + str(command.accessor)
        old = find(key)
        noun = TOKEN_PREFIX + str(old["name"] if old else getattr(command, "name", ""))
        before = _held(old["policies"] if old else [], find)
        after = tuple(_held(command.policies, find)) if isinstance(command, PutToken) else ()
    else:
        return command
    for rules in (before, after):
        rule = excess(actor, rules)
        if rule is not None:
            right = f"{', '.join(rule.actions)} {rule.resource} {rule.name}"
            message = f"{label('acl', noun)} is about a right that {actor.name} lacks: {right}"
            raise CommandRejected("denied", message, hint=_HINT)
    return _bound(command, noun, old["revision"] if old else 0)


def _bound(
    command: PutPolicy | DeletePolicy | PutToken | DeleteToken, noun: str, seen: int
) -> Command:
    """The command for the row at revision `seen` only: another one was not judged."""
    if command.expect not in (None, seen):
        raise CommandRejected(
            "conflict", f"{label('acl', noun)} is at revision {seen}, not at {command.expect}"
        )
    return replace(command, expect=seen)


def _new_rules(command: PutPolicy) -> tuple[Rule, ...]:
    try:
        return rules_of(
            checked_rule(f"policy {command.name}, rule {i}", rule)
            for i, rule in enumerate(command.rules, 1)
        )
    except Refused as refusal:
        raise CommandRejected(refusal.reason, refusal.message) from refusal


def _held(policies: Iterable[str], find: Find) -> list[Rule]:
    """All rules of a token's policies."""
    found: list[Rule] = []
    for policy in policies:
        row = find(f"{POLICY_PREFIX}{policy}")
        if row is None:
            raise CommandRejected("invalid", f"policy {str(policy)[:40]} does not exist")
        found += rules_of(row["rules"])
    return found


def _covers(wide: Rule, narrow: Rule) -> bool:
    """True when `wide` certainly says something about all that `narrow` does."""
    return (
        wide.resource in ("*", narrow.resource)
        and ("*" in wide.actions or set(narrow.actions) <= set(wide.actions))
        and _name_within(narrow.name, wide.name)
    )


def _name_within(narrow: str, wide: str) -> bool:
    """True when every name that fits `narrow` fits `wide`.

    A glob of * and ? fits, read as text, a glob of literals and * only if the latter's * take in
    all of its wild parts. So other globs must be equal.
    """
    if wide in ("*", narrow):
        return True
    comparable = _is_literal(narrow) or not ("[" in narrow or "[" in wide or "?" in wide)
    return comparable and fnmatchcase(narrow, wide)


def _overlap(one: Rule, other: Rule) -> bool:
    """False when no call is certainly meant by both."""
    return (
        ("*" in (one.resource, other.resource) or one.resource == other.resource)
        and bool({"*"} & {*one.actions, *other.actions} or set(one.actions) & set(other.actions))
        and (not _is_literal(one.name) or fnmatchcase(one.name, other.name))
        and (not _is_literal(other.name) or fnmatchcase(other.name, one.name))
    )


def _is_literal(name: str) -> bool:
    return not any(wild in name for wild in "*?[")
