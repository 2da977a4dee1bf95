"""Documents – the bodies of writes and of answers – to the arguments of the catalogue and back.

Pure. A document that was read may be written again as it is: its `meta` is not looked at.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from ..clock import rfc3339
from ..errors import CommandRejected
from .wire import Call

_META: Final = ("version", "revision")


class Shown(Protocol):
    """A value of the catalogue."""

    def to_json(self) -> dict[str, Any]: ...


def invalid(message: str) -> CommandRejected:
    """The error for a document that has to be changed."""
    return CommandRejected("invalid", message)


def document(resource: Shown) -> dict[str, Any]:
    """A resource as a document: what a user wrote on top, what the cluster knows in `meta`."""
    shown = resource.to_json()
    meta: dict[str, Any] = {key: shown.pop(key) for key in _META if key in shown}
    for key in ("created", "modified"):
        if f"{key}_ms" in shown:
            meta[f"{key}_at"] = rfc3339(shown.pop(f"{key}_ms"))
    return {**shown, "meta": meta} if meta else shown


def series(shown: Shown, *, with_samples: bool) -> dict[str, Any]:
    """A metric series as a document; times with milliseconds, so that it can be put again."""
    told = shown.to_json()
    result: dict[str, Any] = {
        "kind": "metrics",
        "series": told["series"],
        "labels": told["labels"],
        "meta": {
            "count": told["count"],
            "first": _time_text(told["first_ms"]),
            "last": _time_text(told["last_ms"]),
        },
    }
    if with_samples:
        result["samples"] = [[_time_text(time_ms), value] for time_ms, value in told["samples"]]
    return result


def fields(call: Call, kind: str, allowed: str, *, key: str = "name") -> dict[str, Any]:
    """The body's fields. CommandRejected invalid for a body of another kind or name, or with a
    field that is none of the words in `allowed`."""
    body = call.body
    if not isinstance(body, dict):
        raise invalid(f"the body is a {type(body).__name__}, not a {kind} document")
    if body.get("kind", kind) != kind:
        raise invalid(f"the body is of kind {body['kind']!r}; allowed here: {kind}")
    name = call.names.get("name")
    if name is not None and body.get(key, name) != name:
        raise invalid(f"the body has the {key} {body[key]!r}, the path {name!r}")
    known = {"kind", "meta", key, *allowed.split()}
    unknown = sorted(set(body) - known)
    if unknown:
        raise invalid(f"{kind}: unknown field {unknown[0]}; allowed: {', '.join(sorted(known))}")
    return body


def ingress_spec(call: Call) -> dict[str, Any]:
    """The fields of an ingress document."""
    body = fields(call, "ingress", "host path job port tls")
    for field in ("host", "job", "port"):
        required(body, "ingress", field)
    return {key: body[key] for key in ("host", "path", "job", "port", "tls") if key in body}


def node_spec(call: Call) -> dict[str, Any]:
    """The fields of a node document."""
    body = fields(call, "node", "address labels resources")
    resources = body.get("resources")
    if resources is not None and not isinstance(resources, dict):
        raise invalid(f"resources is a {type(resources).__name__}, not a map")
    return {
        "address": required(body, "node", "address"),
        "labels": body.get("labels"),
        "resources": resources or {},
    }


def required(body: Mapping[str, Any], kind: str, field: str) -> Any:
    """A field that must be there."""
    if body.get(field) is None:
        raise invalid(f"{kind}: {field} is missing")
    return body[field]


def secret_value(body: Mapping[str, Any]) -> bytes:
    """The plain value of a secret document. No message quotes it."""
    text, encoded = body.get("value"), body.get("value_base64")
    if (text is None) == (encoded is None):
        raise invalid("secret: one of value and value_base64 is needed")
    if text is not None:
        if not isinstance(text, str):
            raise invalid(f"secret: value is a {type(text).__name__}, not text: quote this")
        return text.encode()
    try:
        return base64.b64decode(encoded, validate=True)  # type: ignore[arg-type]
    except (binascii.Error, ValueError, TypeError) as error:
        raise invalid("secret: value_base64 is not base64") from error


def time_ms(place: str, text: object) -> int:
    """Milliseconds since 1970 of an RFC 3339 time, or of a number that is just that."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    try:
        moment = datetime.fromisoformat(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise invalid(
            f"{place} is {text!r}; allowed: a time, as in 2027-01-01T00:00:00Z"
        ) from error
    if moment.tzinfo is None:
        raise invalid(f"{place} is {text!r} without a time zone; add Z for UTC")
    # Not timestamp(): a float of seconds may be one millisecond off.
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def samples(body: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """The samples of a metrics document: `samples`, or `start`, `step_s` and `values`."""
    given = body.get("samples")
    if given is not None:
        if not isinstance(given, list):
            raise invalid("metrics: samples must be a list of [time, value]")
        return list(_pairs(given))
    start_ms = time_ms("metrics: start", required(body, "metrics", "start"))
    step_s = required(body, "metrics", "step_s")
    values = required(body, "metrics", "values")
    if isinstance(step_s, bool) or not isinstance(step_s, int | float) or not step_s > 0:
        raise invalid(f"metrics: step_s is {step_s!r}; allowed: a number above 0")
    if not isinstance(values, list):
        raise invalid("metrics: values must be a list")
    return [(start_ms + round(i * step_s * 1000), value) for i, value in enumerate(values)]


def _pairs(given: list[Any]) -> Iterator[tuple[int, Any]]:
    for number, pair in enumerate(given, 1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise invalid(f"metrics: sample {number} must be [time, value]")
        yield time_ms(f"metrics: sample {number}", pair[0]), pair[1]


def _time_text(time_ms: int) -> str:
    """RFC 3339 in UTC, with milliseconds where there are any."""
    text, rest = rfc3339(time_ms), time_ms % 1000
    return f"{text[:-1]}.{rest:03d}Z" if rest else text
