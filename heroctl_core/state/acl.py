"""The rules of policies and tokens, which share the table `acl`.

A token's row holds the hash of its secret, never the secret. Who may do what is decided in the
catalogue; here a policy only has to be one that can be decided on.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ..codec import unpack
from .rows import (
    Refused,
    Rows,
    check_name,
    checked_text,
    decode_row,
    label,
)

POLICY_PREFIX: Final = "policy/"
TOKEN_PREFIX: Final = "token/"  # noqa: S105 – a key, not a password

RESOURCES: Final = frozenset(
    {"*", "acl", "ingress", "job", "metrics", "node", "operator", "secret", "snapshot"}
)
ACTIONS: Final = frozenset({"*", "delete", "list", "read", "restore", "save", "write"})
EFFECTS: Final = frozenset({"allow", "deny"})

_RULE_FIELDS: Final = {"actions", "effect", "name", "resource"}
_ACCESSOR: Final = re.compile(r"[a-z0-9]{1,64}")
_HASH_BYTES: Final = 32


def put_policy(rows: Rows, body: list[Any]) -> None:
    """Writes a policy: [name, rules, expect]."""
    name, rules, expect = body
    check_name("policy", name)
    if type(rules) is not list:
        raise Refused("invalid", f"policy {name}: rules must be a list")
    checked = [checked_rule(f"policy {name}, rule {i}", rule) for i, rule in enumerate(rules, 1)]
    key = POLICY_PREFIX + name
    fields = {"rules": checked}
    rows.put("acl", key, rows.stamped(rows.current("acl", key, expect), fields))


def delete_policy(rows: Rows, body: list[Any]) -> None:
    """Drops a policy that no token uses: [name, expect]."""
    name, expect = body
    check_name("policy", name)
    rows.existing("acl", POLICY_PREFIX + name, expect)
    if name in rows.policy_references:
        raise Refused("conflict", f"policy {name} is used by {label('acl', _user(rows, name))}")
    rows.delete("acl", POLICY_PREFIX + name)


def put_token(rows: Rows, body: list[Any]) -> None:
    """Writes a token: [accessor, name, secret_hash, policies, expires_ms, expect]."""
    accessor, name, secret_hash, policies, expires_ms, expect = body
    _check_accessor(accessor)
    check_name("token", name)
    if type(secret_hash) is not bytes or len(secret_hash) != _HASH_BYTES:
        raise Refused("invalid", f"token {accessor}: secret_hash must be {_HASH_BYTES} bytes")
    if expires_ms is not None and (type(expires_ms) is not int or expires_ms < 0):
        raise Refused("invalid", f"token {accessor}: expires_ms must be milliseconds since 1970")
    policies = _checked_policies(rows, accessor, policies)
    key = TOKEN_PREFIX + accessor
    old = rows.current("acl", key, expect)
    fields = {
        "expires_ms": expires_ms,
        "name": name,
        "policies": policies,
        "secret_hash": secret_hash,
    }
    rows.put("acl", key, rows.stamped(old, fields))
    _refer(rows, old["policies"] if old else [], policies)


def delete_token(rows: Rows, body: list[Any]) -> None:
    """Drops a token: [accessor, expect]."""
    accessor, expect = body
    _check_accessor(accessor)
    old = rows.existing("acl", TOKEN_PREFIX + accessor, expect)
    rows.delete("acl", TOKEN_PREFIX + accessor)
    _refer(rows, old["policies"], [])


def rebuild_policy_references(rows: Rows) -> None:
    """Counts the uses of policies anew, after rows came from an archive or a dump."""
    for shard in rows.tables["acl"].shards:
        for key, row in shard.items():
            if key.startswith(TOKEN_PREFIX):
                _refer(rows, [], decode_row("acl", key, row)["policies"])


def _refer(rows: Rows, before: list[str], after: list[str]) -> None:
    for policy in before:
        rows.policy_references.drop(policy)
    for policy in after:
        rows.policy_references.add(policy)


def _checked_policies(rows: Rows, accessor: str, policies: object) -> list[str]:
    if type(policies) is not list:
        raise Refused("invalid", f"token {accessor}: policies must be a list")
    for policy in policies:
        check_name("policy", policy)
        if rows.tables["acl"].get(POLICY_PREFIX + policy) is None:
            raise Refused("invalid", f"token {accessor}: policy {policy} does not exist")
    return sorted(set(policies))


def _check_accessor(accessor: object) -> None:
    if type(accessor) is not str or not _ACCESSOR.fullmatch(accessor):
        raise Refused("invalid", "a token's accessor is 1 to 64 small letters and digits")


def checked_rule(place: str, rule: object) -> dict[str, Any]:
    """The rule in canonical form; unknown words are refused, not ignored."""
    if type(rule) is not dict or set(rule) != _RULE_FIELDS:
        raise Refused("invalid", f"{place} must have the fields {', '.join(sorted(_RULE_FIELDS))}")
    actions = rule["actions"]
    if type(actions) is not list or not actions:
        raise Refused("invalid", f"{place}: actions must be a list that is not empty")
    for action in actions:
        _check_word(f"{place}: action", action, ACTIONS)
    _check_word(f"{place}: resource", rule["resource"], RESOURCES)
    _check_word(f"{place}: effect", rule["effect"], EFFECTS)
    return {
        "actions": sorted(set(actions)),
        "effect": rule["effect"],
        "name": checked_text(f"{place}: name", rule["name"]),
        "resource": rule["resource"],
    }


def _check_word(place: str, word: object, allowed: frozenset[str]) -> None:
    if type(word) is not str or word not in allowed:
        raise Refused("invalid", f"{place} is {word!r}, allowed: {', '.join(sorted(allowed))}")


def _user(rows: Rows, policy: str) -> str:
    """The first token that uses the policy; a scan, for the message only."""
    return min(
        key
        for shard in rows.tables["acl"].shards
        for key, row in shard.items()
        if key.startswith(TOKEN_PREFIX) and policy in unpack(row)["policies"]
    )
