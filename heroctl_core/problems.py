"""Problem documents (RFC 9457) back to the errors that they describe. Pure."""

from __future__ import annotations

from typing import Any

from .errors import REJECT_REASONS, CommandRejected, HeroctlError


def error_of(told: Any) -> HeroctlError:
    """The error of a decoded problem document; KeyError or TypeError for anything else."""
    reason, detail = str(told["reason"]), str(told["detail"])
    hint = told.get("hint")
    if reason in REJECT_REASONS:
        return CommandRejected(reason, detail, hint=hint)
    error = _classes().get(reason, HeroctlError)(detail, hint=hint)
    error.hint = hint
    if reason != error.reason:  # from a newer node: its own words about what it means
        error.reason, error.exit_code = reason, int(told.get("exit_code", 1))
    return error


def _classes() -> dict[str, type[HeroctlError]]:
    """Reason → class, for every class but CommandRejected, which has many reasons."""
    found: dict[str, type[HeroctlError]] = {}
    waiting: list[type[HeroctlError]] = [HeroctlError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind is not CommandRejected:
            found.setdefault(kind.reason, kind)
    return found
