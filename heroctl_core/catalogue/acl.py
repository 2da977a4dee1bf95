"""Policies and tokens: kept, recognised, and made for the first time.

A token's text is heroctl_ACCESSOR_SECRET. It is shown once; only sha256 of the secret is kept. The
accessor follows from the token's name, so a name has one token, and two writers who make the same
one at the same time meet in a conflict.
"""

from __future__ import annotations

import base64
import builtins
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from ..clock import Clock, rfc3339
from ..codec import unpack
from ..errors import CommandRejected
from ..state.acl import ACTIONS, POLICY_PREFIX, RESOURCES, TOKEN_PREFIX
from ..state.commands import Command, DeletePolicy, DeleteToken, PutPolicy, PutToken
from .access import OPERATOR, Actor, Decision, Policy, Rule, rules_of
from .reads import Consistency, Fields, Reader, check_limit, may_list
from .resource import Resource
from .values import V, invalid, shown, value_of
from .writes import Writer, Written

BOOTSTRAP: Final = "operator"  # the name of the first policy and of the first token
SECRET_BYTES: Final = 32
_TEXT: Final = re.compile(r"heroctl_([a-z0-9]{1,64})_([A-Za-z0-9_-]{43})")
_RULE_FIELDS: Final = frozenset({"actions", "effect", "name", "resource"})


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it was at `revision`; nothing here opens a door."""

    name: str
    accessor: str
    policies: tuple[str, ...]
    expires_ms: int | None
    revision: int
    created_ms: int
    modified_ms: int

    def to_json(self) -> dict[str, Any]:
        """The token as the API and the command line show it."""
        document = shown("token", self)
        expires_ms = document.pop("expires_ms")
        document["expires"] = None if expires_ms is None else rfc3339(expires_ms)
        return {**document, "policies": list(self.policies)}


@dataclass(frozen=True, slots=True)
class TokenWritten:
    """A token that was made or changed; `text` only when it was made: nobody can show it again."""

    revision: int
    accessor: str
    text: str | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        shown: dict[str, Any] = {"revision": self.revision, "accessor": self.accessor}
        return shown if self.text is None else {**shown, "token": self.text}


class _Rights(Resource[V]):
    """Policies or tokens."""

    right, table = "acl", "acl"

    def _write(self, command: Command, actor: Actor, request_id: bytes | None) -> Written:
        if not actor.operator:  # judged by this node's rows (grants.py), so they must be new
            self._reader.barrier("linearizable")
        return super()._write(command, actor, request_id)


class Policies(_Rights[Policy]):
    """Puts, gets, lists and deletes policies; one that a token uses stays. Any thread."""

    noun, collection, prefix = "policy", "policies", POLICY_PREFIX
    deletion, value = DeletePolicy, Policy

    def put(
        self,
        name: str,
        rules: Iterable[Rule | Mapping[str, Any]],
        *,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Writes a policy; `effect` of a rule may be left out: allow."""
        self._check("write", name, expect, actor)
        if isinstance(rules, str | bytes | Mapping) or not isinstance(rules, Iterable):
            raise invalid(f"rules of policy {name} must be a list")
        place = f"policy {name}, rule"
        checked = [_rule_fields(f"{place} {i}", rule) for i, rule in enumerate(rules, 1)]
        return self._write(PutPolicy(name, checked, expect), actor, request_id)

    def of_row(self, name: str, fields: Fields) -> Policy:
        return value_of(Policy, {**fields, "name": name, "rules": rules_of(fields["rules"])})


class Tokens(_Rights[Token]):
    """Puts, gets, lists and deletes tokens: a deleted one opens nothing any more on a node that has
    applied that. Any thread."""

    noun, collection, prefix = "token", "tokens", TOKEN_PREFIX
    keyed_by_name = False
    deletion, value = DeleteToken, Token

    def __init__(self, writer: Writer, reader: Reader, entropy: Callable[[int], bytes]) -> None:
        super().__init__(writer, reader)
        self._entropy = entropy

    def put(
        self,
        name: str,
        policies: Iterable[str],
        *,
        expires_ms: int | None = None,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> TokenWritten:
        """Makes the token of that name, or changes policies and expiry of the one that exists.

        Only a new token has a text in the result. A token that somebody else made or changed in
        between is a conflict.
        """
        self._check("write", name, expect, actor)
        if isinstance(policies, str):
            raise invalid(f"policies of token {name} must be a list")
        accessor = accessor_of(name)
        old = self._reader.find("acl", TOKEN_PREFIX + accessor, "linearizable")
        text = None
        if old is None:
            secret = self._entropy(SECRET_BYTES)
            secret_hash, text = sha256(secret).digest(), token_text(accessor, secret)
        else:
            secret_hash = old["secret_hash"]
        if expect is None:
            expect = old["revision"] if old else 0
        command = PutToken(accessor, name, secret_hash, list(policies), expires_ms, expect)
        written = self._write(command, actor, request_id)
        if text is not None:
            self._check_is_ours(name, secret_hash)
        return TokenWritten(written.revision, accessor, text)

    def list(
        self,
        prefix: str = "",
        *,
        limit: int | None = None,
        after: str | None = None,
        consistency: Consistency = "linearizable",
        actor: Actor = OPERATOR,
    ) -> builtins.list[Token]:
        """Those that the actor may see, by name, behind the name `after`."""
        may_list(actor, "acl")
        check_limit(limit)

        def make(key: str, fields: Fields) -> Token | None:
            name = fields["name"]
            fits = name.startswith(prefix) and (after is None or name > after)
            return self.of_row(name, fields) if fits and actor.may_see("acl", name) else None

        # Rows are in the order of accessors, so all of them are needed to sort by name.
        tokens = self._reader.page("acl", TOKEN_PREFIX, None, None, consistency, make)
        return sorted(tokens, key=lambda token: token.name)[:limit]

    def _id(self, name: str) -> str:
        return accessor_of(name)

    def name_of(self, key: str, row: bytes | None) -> str | None:
        """In the row: keys have the accessor."""
        return None if row is None else str(unpack(row)["name"])

    def of_row(self, name: str, fields: Fields) -> Token:
        policies = tuple(fields["policies"])
        return value_of(Token, {**fields, "accessor": accessor_of(name), "policies": policies})

    def _check_is_ours(self, name: str, secret_hash: bytes) -> None:
        """A retry gets the outcome of its first try, which had another secret: that text is lost,
        and showing the retry's would hand out a token that opens nothing."""
        fields = self._reader.find("acl", TOKEN_PREFIX + accessor_of(name), "stale")
        if fields is None or fields["secret_hash"] != secret_hash:
            raise CommandRejected(
                "conflict",
                f"token {name} was made by an earlier try, its text is lost",
                hint="delete the token and make it again",
            )


class Acl:
    """Puts, gets, lists and deletes policies and tokens; tells who an actor is. Any thread."""

    def __init__(
        self, writer: Writer, reader: Reader, clock: Clock, entropy: Callable[[int], bytes]
    ) -> None:
        self._reader = reader
        self._clock = clock
        self.policies = Policies(writer, reader)
        self.put_policy = self.policies.put
        self.get_policy = self.policies.get
        self.list_policies = self.policies.list
        self.delete_policy = self.policies.delete
        self.tokens = Tokens(writer, reader, entropy)
        self.put_token = self.tokens.put
        self.get_token = self.tokens.get
        self.list_tokens = self.tokens.list
        self.delete_token = self.tokens.delete

    def bootstrap(self, *, actor: Actor = OPERATOR) -> TokenWritten:
        """Makes the first token, once, with a policy that allows everything.

        A second time is a conflict. A bootstrap that was killed between policy and token goes on.
        """
        actor.check("write", "operator", "acl")
        if self._reader.find("acl", TOKEN_PREFIX + accessor_of(BOOTSTRAP), "linearizable"):
            raise _bootstrapped()
        everything = Rule("*", "*", ("*",))
        self.put_policy(BOOTSTRAP, [everything], actor=actor)
        try:
            return self.put_token(BOOTSTRAP, [BOOTSTRAP], expect=0, actor=actor)
        except CommandRejected as error:
            if error.reason == "conflict":
                raise _bootstrapped() from error
            raise

    def authenticate(self, text: str, *, source: str = "") -> Actor:
        """The actor of a token's text, from this node's rows; raises CommandRejected denied.

        Needs no quorum, so that reads work without one. The message never says which part of a
        text was wrong.
        """
        match = _TEXT.fullmatch(text)
        accessor = match[1] if match else ""
        fields = self._reader.find("acl", TOKEN_PREFIX + accessor, "stale")
        if match is None or fields is None:
            raise CommandRejected("denied", "the token is not valid")
        secret = base64.urlsafe_b64decode(match[2] + "=")
        if not hmac.compare_digest(sha256(secret).digest(), fields["secret_hash"]):
            raise CommandRejected("denied", "the token is not valid")
        expires_ms = fields["expires_ms"]
        if expires_ms is not None and self._clock.time_ms() >= expires_ms:
            raise CommandRejected(
                "denied", f"token {fields['name']} expired at {rfc3339(expires_ms)}"
            )
        policies = tuple(self._resolve(policy) for policy in fields["policies"])
        return Actor(fields["name"], policies, source=source)

    def can(
        self,
        token: str,
        action: str,
        resource: str,
        name: str,
        *,
        consistency: Consistency = "linearizable",
        actor: Actor = OPERATOR,
    ) -> Decision:
        """What is decided when the token of that name asks. For who may read the token."""
        for word, allowed in ((action, ACTIONS), (resource, RESOURCES)):
            if word not in allowed:
                raise invalid(f"{word[:40]!r} is none of {', '.join(sorted(allowed))}")
        held = self.get_token(token, consistency=consistency, actor=actor)
        if held.expires_ms is not None and self._clock.time_ms() >= held.expires_ms:
            return Decision(allowed=False, expired=True)
        policies = tuple(self._resolve(policy) for policy in held.policies)
        return Actor(held.name, policies).decide(action, resource, name)

    def _resolve(self, name: str) -> Policy:
        fields = self._reader.find("acl", POLICY_PREFIX + name, "stale")
        if fields is None:  # deleted this very moment, with the token that used it
            raise CommandRejected("denied", "the token is not valid")
        return self.policies.of_row(name, fields)


def accessor_of(name: str) -> str:
    """The accessor of the token of that name: 16 hex digits."""
    return sha256(b"heroctl token " + name.encode()).hexdigest()[:16]


def token_text(accessor: str, secret: bytes) -> str:
    """What a user keeps and sends as bearer token."""
    return f"heroctl_{accessor}_{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"


def _bootstrapped() -> CommandRejected:
    return CommandRejected(
        "conflict",
        "the first token was made already",
        hint="make another one with: heroctl acl token put -f FILE",
    )


def _rule_fields(place: str, rule: Rule | Mapping[str, Any]) -> dict[str, Any]:
    """The four fields that the command carries; their values are the state's to check."""
    if isinstance(rule, Rule):
        return rule.to_json()
    if not isinstance(rule, Mapping):
        raise invalid(f"{place} is a {type(rule).__name__}, not a map")
    unknown = sorted(str(key) for key in set(rule) - _RULE_FIELDS)
    if unknown:
        allowed = ", ".join(sorted(_RULE_FIELDS))
        raise invalid(f"{place} has the unknown field {unknown[0]}, allowed: {allowed}")
    return {"effect": "allow", **rule}
