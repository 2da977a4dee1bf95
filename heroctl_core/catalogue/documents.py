"""Documents – `kind: job`, `kind: secret`, … – as writes; what `put -f` and the API's bodies hold.

Values come parsed (config/documents.py reads YAML and JSON). A document that cannot be used is
refused before anything is written, with its number, its field and what is allowed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from ..state.names import name_fault
from .access import OPERATOR, Actor
from .acl import TokenWritten
from .catalogue import Catalogue
from .values import invalid
from .writes import Written

Fields = dict[str, Any]
_RELATIVE: Final = re.compile(r"-(\d{1,6})([smhd])")
_UNIT_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class Document:
    """One checked document; `fields` are those of its kind, without `kind`. Its repr shows no
    value: it may be a secret's."""

    kind: str
    name: str
    fields: Fields = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a kind of document must and may have, and the write that it becomes."""

    required: dict[str, tuple[type, ...]]
    optional: dict[str, tuple[type, ...]]
    put: Callable[[Catalogue], Callable[..., Written | TokenWritten]]
    name_field: str = "name"


def parse(value: object, *, now_ms: int, kind: str | None = None) -> list[Document]:
    """The documents in one value: a document, or a list of them (None, an empty one, gives none).

    `kind` is taken for documents that do not say theirs, and required of those that do. `now_ms`
    is what relative times (`start: -7d`) count from. Raises CommandRejected invalid.
    """
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    return [_document(i, item, kind, now_ms) for i, item in enumerate(items, 1) if item is not None]


def in_order(documents: Iterable[Document]) -> list[Document]:
    """The documents in an order in which each finds what it points at."""
    order = list(_SHAPES)
    return sorted(documents, key=lambda document: order.index(document.kind))


def put(
    catalogue: Catalogue,
    document: Document,
    *,
    actor: Actor = OPERATOR,
    expect: int | None = None,
    request_id: bytes | None = None,
) -> Written | TokenWritten:
    """Writes one document as `actor`; fails as the put of its kind does."""
    arguments = {**document.fields, "actor": actor, "request_id": request_id}
    if document.kind != "metrics":
        arguments["expect"] = expect
    elif expect is not None:
        raise invalid("metrics are appended: expect has no meaning for them")
    return _SHAPES[document.kind].put(catalogue)(**arguments)


def time_ms_of(place: str, text: str, *, now_ms: int | None = None) -> int:
    """Milliseconds of an RFC 3339 time with zone, or of `-7d`, `-90m` before `now_ms` if given."""
    relative = _RELATIVE.fullmatch(text)
    if relative and now_ms is not None:
        return now_ms - int(relative[1]) * _UNIT_MS[relative[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise invalid(f"{place} {text!r} is no time like 2027-01-01T00:00:00Z") from error
    if moment.tzinfo is None:
        raise invalid(f"{place} {text!r} has no time zone: end it with Z for UTC")
    return round(moment.astimezone(UTC).timestamp() * 1000)


def _document(number: int, item: object, kind: str | None, now_ms: int) -> Document:
    place = f"document {number}"
    if not isinstance(item, dict):
        raise invalid(f"{place} is a {type(item).__name__}, not a map with a kind")
    found = item.get("kind", kind)
    if not isinstance(found, str) or found not in _SHAPES:
        raise invalid(f"{place}: kind is {found!r}, allowed: {', '.join(sorted(_SHAPES))}")
    if kind is not None and found != kind:
        raise invalid(f"{place}: kind is {found}, {kind} was expected")
    shape = _SHAPES[found]
    fields = {key: value for key, value in item.items() if key != "kind"}
    _check_fields(f"{place} ({found})", fields, shape)
    name = fields[shape.name_field]
    fault = None if found == "metrics" else name_fault(name)
    if fault is not None:
        raise invalid(f"{place}: {found} name {name[:40]!r} {fault}")
    _check_values(f"{place} ({found} {name})", found, fields, now_ms)
    return Document(found, name, fields)


def _check_fields(place: str, fields: Fields, shape: _Shape) -> None:
    allowed = shape.required | shape.optional
    for key in fields:
        if key not in allowed:
            raise invalid(f"{place} has the unknown field {key!r}, allowed: {', '.join(allowed)}")
    for key in shape.required:
        if key not in fields:
            raise invalid(f"{place} lacks the field {key}")
    for key, value in fields.items():
        if type(value) not in allowed[key]:
            words = " or ".join(_WORDS[each.__name__] for each in allowed[key])
            raise invalid(f"{place}: {key} is {_words_for(value)}, not {words}")


_WORDS: Final = {
    "str": "text",
    "dict": "a map",
    "list": "a list",
    "int": "a number",
    "float": "a number with decimals",
    "bool": "true or false",
}


def _words_for(value: object) -> str:
    name = type(value).__name__
    return _WORDS.get(name, "nothing" if value is None else f"a {name}: quote this")


def _check_values(place: str, kind: str, fields: Fields, now_ms: int) -> None:
    """Replaces texts that stand for bytes and times by them."""
    if kind == "secret":
        _secret_value(place, fields)
    if kind == "token" and "expires" in fields:
        fields["expires_ms"] = time_ms_of(f"{place}: expires", fields.pop("expires"))
    if kind == "metrics":
        _metric_samples(place, fields, now_ms)


def _secret_value(place: str, fields: Fields) -> None:
    if ("value" in fields) == ("value_base64" in fields):
        raise invalid(f"{place} must have one of value and value_base64")
    if "value_base64" in fields:
        try:
            fields["value"] = base64.b64decode(fields.pop("value_base64"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid(f"{place}: value_base64 is not base64") from error


def _metric_samples(place: str, fields: Fields, now_ms: int) -> None:
    start_ms = time_ms_of(f"{place}: start", fields.pop("start"), now_ms=now_ms)
    step_ms = round(fields.pop("step_s") * 1000)
    if step_ms < 1:
        raise invalid(f"{place}: step_s must be above 0")
    values = fields.pop("values")
    for i, value in enumerate(values):
        if value is not None and type(value) not in (int, float):
            raise invalid(f"{place}: values[{i}] is {_words_for(value)}, not a number")
    # A gap is written as null.
    fields["samples"] = [
        (start_ms + i * step_ms, value) for i, value in enumerate(values) if value is not None
    ]


# In the order in which each finds what it points at.
_SHAPES: Final = {
    "node": _Shape(
        {"name": (str,), "address": (str,)},
        {"labels": (dict,), "resources": (dict,)},
        lambda catalogue: catalogue.nodes.put,
    ),
    "job": _Shape(
        {"name": (str,), "spec": (dict,)},
        {"labels": (dict,)},
        lambda catalogue: catalogue.jobs.put,
    ),
    "secret": _Shape(
        {"name": (str,)},
        {"value": (str,), "value_base64": (str,), "metadata": (dict,)},
        lambda catalogue: catalogue.secrets.put,
    ),
    "policy": _Shape(
        {"name": (str,), "rules": (list,)},
        {},
        lambda catalogue: catalogue.acl.put_policy,
    ),
    "token": _Shape(
        {"name": (str,), "policies": (list,)},
        {"expires": (str,)},
        lambda catalogue: catalogue.acl.put_token,
    ),
    "ingress": _Shape(
        {"name": (str,), "host": (str,), "job": (str,), "port": (int,)},
        {"path": (str,), "tls": (bool,)},
        lambda catalogue: catalogue.ingress.put,
    ),
    "metrics": _Shape(
        {"series": (str,), "start": (str,), "step_s": (int, float), "values": (list,)},
        {"labels": (dict,)},
        lambda catalogue: catalogue.metrics.append,
        name_field="series",
    ),
}
