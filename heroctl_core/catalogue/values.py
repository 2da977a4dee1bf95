"""Values from outside as canonical ones, or a refusal that names the place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

from .. import limits
from ..codec import NotCanonical, canonical, pack
from ..errors import CommandRejected
from ..state.names import name_fault


def invalid(message: str) -> CommandRejected:
    """The error for input that has to be changed."""
    return CommandRejected("invalid", message)


def check_name(noun: str, name: object) -> str:
    """The name; raises CommandRejected invalid with the reason."""
    fault = name_fault(name)
    if fault is not None or not isinstance(name, str):
        raise invalid(f"{noun} name {str(name)[:40]!r} {fault}")
    return name


def json_map_bytes(place: str, value: object) -> bytes:
    """Canonical bytes of a map that JSON can hold, within the limit of a row."""
    if not isinstance(value, dict):
        raise invalid(f"{place} is a {type(value).__name__}, not a map")
    try:
        data = pack(canonical(value, place=place, binary=False))
    except NotCanonical as error:
        raise invalid(str(error)) from error
    if len(data) > limits.ROW_BYTES:
        raise CommandRejected(
            "too_large", f"{place} has {len(data)} bytes, the limit is {limits.ROW_BYTES}"
        )
    return data


def text_map(place: str, value: Mapping[str, str] | None) -> dict[str, str]:
    """A map of text to text; raises CommandRejected invalid with the place."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid(f"{place} is a {type(value).__name__}, not a map of text to text")
    for key, text in value.items():
        if type(key) is not str or not key:
            raise invalid(f"{place} has the key {key!r}, which is no text: quote this")
        if type(text) is not str:
            raise invalid(f"{place}.{key} is a {type(text).__name__}, not text: quote this")
    return dict(value)


def check_expect(expect: object) -> None:
    """Raises CommandRejected invalid for an `expect` that can be no revision."""
    if expect is not None and (type(expect) is not int or expect < 0):
        raise invalid(f"expect is {expect!r}, not a revision")


class Value(Protocol):
    """A row as users get it: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...
    def to_json(self) -> dict[str, Any]: ...


V = TypeVar("V", bound=Value)


def value_of(kind: type[V], row: Mapping[str, Any]) -> V:
    """The value of a row's fields; what the row has beside them is left out."""
    return kind(**{field.name: row[field.name] for field in fields(kind) if field.name in row})


def shown(kind: str, value: Value) -> dict[str, Any]:
    """A value as the API and the command line show it."""
    return {"kind": kind, **{field.name: getattr(value, field.name) for field in fields(value)}}
