"""How a restore is shown and confirmed: the same for a stopped folder and for a running node.

What comes in is the plan or the report as JSON (recovery/restore.py), so both look alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import click

from heroctl_core.errors import RecoveryError, UsageError
from heroctl_core.words import counted

from . import output

_COUNTED: Final = {"metrics": "metric blocks of six hours"}  # what is compared, where not objects
_UNITS: Final = ((86_400, "days"), (3600, "hours"), (60, "minutes"))


def age(seconds: int) -> str:
    """How long ago, in the largest unit of which there are at least two."""
    for size, name in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return counted(seconds, "second")


def confirm(plan: dict[str, Any], *, yes: bool, confirm_cluster: str | None) -> None:
    """Returns when the operator means this cluster; UsageError otherwise, and nothing is done."""
    from heroctl_core.recovery.refusals import ID_TYPED, confirms  # loads half of the library

    name, cluster_id, foreign = plan["cluster"], plan["cluster_id"], plan.get("foreign", False)
    word = cluster_id[:ID_TYPED] if foreign else name
    what = f"the id of the archive's cluster ({word})" if foreign else f"its name ({name})"
    typed = typed_name(
        f"this replaces all of cluster {name}: type {what} to restore",
        word,
        yes=yes,
        given=confirm_cluster,
        tell=lambda: tell_plan(plan, err=True),
    )
    if not confirms(typed, name, cluster_id, foreign=foreign):
        raise UsageError(f"{typed!r} is not {word}: nothing was changed")


def typed_name(
    question: str,
    word: str,
    *,
    yes: bool,
    given: str | None,
    tell: Callable[[], None] = lambda: None,
) -> str:
    """What the operator typed as `word`: in --confirm-cluster, or on the terminal, where `tell`
    shows first what is asked about. UsageError where nobody can be asked."""
    if yes and given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on: nothing was changed",
            hint=f"say --yes --confirm-cluster {word}",
        )
    tell()
    return output.answer(lambda: str(click.prompt(question, err=True))).strip()


def refuse(plan: dict[str, Any]) -> None:
    """RecoveryError (exit 9) with the first refusal of a plan; the others go to stderr."""
    for refusal in plan["refusals"][1:]:
        output.say(f"also refused: {refusal['message']}")
    for refusal in plan["refusals"][:1]:
        raise RecoveryError(refusal["message"], hint=refusal["hint"])


def tell_plan(plan: dict[str, Any], *, err: bool = False) -> None:
    """What the restore would do."""
    facts = {
        "archive": plan["archive"],
        "saved": f"{plan['archive_created_at']} on {plan['archive_node']}",
        "age": age(plan["age_s"]),
        "sha256": plan["archive_sha256"],
        "cluster": f"{plan['cluster']} ({plan['cluster_id']})",
        "generation": f"{plan['generation']} (restore id {plan['restore_id']})",
        "brings back": _included(plan["counts"]),
    }
    for name, value in facts.items():
        output.line(f"{name:<12} {value}", err=err)
    for line in _changes(plan):
        output.line(line, err=err)


def tell_report(report: dict[str, Any]) -> None:
    """What the restore did, and what to type next."""
    done = f"restored already at {report['restored_at']}" if report["finished"] else "restored"
    output.line(f"{done}: cluster {report['cluster']}, generation {report['generation']}")
    output.line(f"included: {_included(report['counts'])}")
    output.line(f"the archive is {age(report['age_s'])} old: {report['archive_created_at']}")
    for line in _changes(report):
        output.line(line)
    if report["safety_copy"]:
        output.line(f"safety copy of the state before: {report['safety_copy']}")
    elif report["no_safety_copy"]:
        output.line(f"no safety copy of the state before: {report['no_safety_copy']}")
    output.line("next:")
    for step in report["next_steps"]:
        output.line(f"  {step}")


def _included(counts: dict[str, int]) -> str:
    return (
        f"{counts['jobs']} jobs, {counts['secrets']} secrets,"
        f" {counts['acl_rules']} acl rules, {counts['nodes']} nodes"
    )


def _changes(plan: dict[str, Any]) -> list[str]:
    """What is lost, what comes back to life, and what an archive never has."""
    lines = []
    for loss in plan["lost"]:
        words = [
            f"{loss[key]} {text}"
            for key, text in (
                ("dropped", "only in the state before: lost"),
                ("changed", "changed since: go back"),
                ("returned", "only in the archive: come back"),
            )
            if loss[key]
        ]
        lines.append(f"{_COUNTED.get(loss['kind'], loss['kind'])}: {', '.join(words)}")
    if plan["revived_tokens"]:
        lines.append(
            f"revoked or not known here, valid again: {counted(plan['revived_tokens'], 'token')};"
            " --revoke-tokens ends them all"
        )
    lines.append(f"not in an archive: {', '.join(plan['not_in_archive'])}")
    return lines
