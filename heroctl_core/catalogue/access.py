"""Who may do what: actors, policies, rules, and the one decision.

Deny wins; what no rule allows is denied. `list` shows the rows of a resource (never a secret's
value); the right to read one implies the right to see it in a list. Whoever may write `acl` can
hand on the rights that they have (grants.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from ..errors import CommandRejected
from ..state import commands as c
from .values import shown


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows or denies actions on the resources whose name fits a glob."""

    resource: str  # one of state.acl.RESOURCES
    name: str  # glob: * ? [abc]; * also matches "/"
    actions: tuple[str, ...]  # of state.acl.ACTIONS
    effect: str = "allow"

    def fits(self, action: str, resource: str, name: str) -> bool:
        """True when the rule says something about this."""
        return (
            self.resource in (resource, "*")
            and (action in self.actions or "*" in self.actions)
            and fnmatchcase(name, self.name)
        )

    def sees(self, resource: str) -> bool:
        """True when the rule is about seeing rows of that resource."""
        return self.resource in (resource, "*") and not {"list", "read", "*"}.isdisjoint(
            self.actions
        )

    def to_json(self) -> dict[str, Any]:
        """The rule as in a document and in a row."""
        return {
            "actions": list(self.actions),
            "effect": self.effect,
            "name": self.name,
            "resource": self.resource,
        }


def rules_of(fields: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The rules in a row."""
    return tuple(Rule(f["resource"], f["name"], tuple(f["actions"]), f["effect"]) for f in fields)


@dataclass(frozen=True, slots=True)
class Policy:
    """A named list of rules."""

    name: str
    rules: tuple[Rule, ...]
    revision: int = 0
    created_ms: int = 0
    modified_ms: int = 0

    def to_json(self) -> dict[str, Any]:
        """The policy as the API and the command line show it."""
        return {**shown("policy", self), "rules": [rule.to_json() for rule in self.rules]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether something is allowed. `rule`, counted from 1, of `policy` decided; without one no
    rule fits, or the token has expired."""

    allowed: bool
    policy: str | None = None
    rule: int | None = None
    expired: bool = False

    @property
    def why(self) -> str:
        """The reason in words."""
        if self.expired:
            return "the token has expired"
        if self.policy is None:
            return "no rule allows it"
        verb = "allows" if self.allowed else "denies"
        return f"rule {self.rule} of policy {self.policy} {verb} it"

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        where = {"policy": self.policy, "rule": self.rule}
        return {"allowed": self.allowed, **where, "why": self.why}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, with the policies that they had when they were recognised."""

    name: str
    policies: tuple[Policy, ...] = ()
    operator: bool = False  # may do everything
    source: str = ""  # address or `local:<uid>`

    def may(self, action: str, resource: str, name: str) -> bool:
        """True when a rule allows it and none denies it."""
        return self.operator or self.decide(action, resource, name).allowed

    def decide(self, action: str, resource: str, name: str) -> Decision:
        """Whether a rule allows it and none denies it, and which rule decided: the first deny, or
        the first allow. For everybody but the operator, who needs no rule."""
        allowing = Decision(allowed=False)
        for policy in self.policies:
            for number, rule in enumerate(policy.rules, 1):
                if rule.fits(action, resource, name):
                    if rule.effect == "deny":
                        return Decision(allowed=False, policy=policy.name, rule=number)
                    if not allowing.allowed:
                        allowing = Decision(allowed=True, policy=policy.name, rule=number)
        return allowing

    def may_see(self, resource: str, name: str) -> bool:
        """True when the row may be shown in a list."""
        return self.may("list", resource, name) or self.may("read", resource, name)

    def may_see_all(self, resource: str) -> bool:
        """True when every row may be shown, whatever its name."""
        about = [rule for policy in self.policies for rule in policy.rules if rule.sees(resource)]
        denies = any(rule.effect == "deny" for rule in about)
        return self.operator or (not denies and any(rule.name == "*" for rule in about))

    def check(self, action: str, resource: str, name: str) -> None:
        """Raises CommandRejected denied unless the actor may."""
        if not self.may(action, resource, name):
            raise CommandRejected("denied", f"{self.name} may not {action} {resource} {name}")


OPERATOR: Final = Actor("operator", operator=True, source="local")

_NEEDS: Final[dict[type[c.Command], tuple[str, str]]] = {
    c.PutJob: ("write", "job"),
    c.DeleteJob: ("delete", "job"),
    c.PutSecret: ("write", "secret"),
    c.DeleteSecret: ("delete", "secret"),
    c.PutPolicy: ("write", "acl"),
    c.DeletePolicy: ("delete", "acl"),
    c.PutToken: ("write", "acl"),
    c.DeleteToken: ("delete", "acl"),
    c.PutIngress: ("write", "ingress"),
    c.DeleteIngress: ("delete", "ingress"),
    c.PutNode: ("write", "node"),
    c.DeleteNode: ("delete", "node"),
    c.AppendMetrics: ("write", "metrics"),
    c.ExpireMetrics: ("delete", "metrics"),
    c.PutKeyring: ("write", "operator"),
    c.DeleteMetrics: ("delete", "metrics"),
}


# What an expectation may name, by table.
_RESOURCES: Final = {"ingress": "ingress", "jobs": "job", "nodes": "node", "secrets": "secret"}


def check_command(actor: Actor, command: c.Command, token_name: str | None = None) -> None:
    """Raises CommandRejected denied unless the actor may do all that the command does.

    `token_name` is the name of the token that a DeleteToken, which has only its accessor, means.
    """
    if actor.operator:
        return
    if isinstance(command, c.Transaction):
        for operation in command.operations:
            _check_operation(actor, operation)
        return
    action, resource = _NEEDS[type(command)]
    for name in _names_of(command, token_name):
        actor.check(action, resource, name)


def _check_operation(actor: Actor, operation: list[Any]) -> None:
    if operation[0] == c.EXPECT:
        # Whoever may not read a row must not learn its revision by guessing.
        table, name, _ = operation[1]
        actor.check("read", _RESOURCES[table], name)
    else:
        check_command(actor, c.part_of(operation))


def _names_of(command: c.Command, token_name: str | None) -> list[str]:
    if isinstance(command, c.AppendMetrics):
        return sorted({str(sample[0]) for sample in command.samples})
    if isinstance(command, c.DeleteMetrics):
        return [command.series]
    if isinstance(command, c.ExpireMetrics | c.PutKeyring):
        return ["*"]  # of no single row: only a rule for every name fits
    if isinstance(command, c.Transaction):
        raise TypeError("a transaction has no single name")
    if isinstance(command, c.DeleteToken):
        return [token_name or command.accessor]
    return [command.name]
