"""Pydantic's errors in the operator's words: what is wrong, and what is allowed. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .documents import SECRET_KEYS, Document, Path, Place

_HIDDEN: Final = object()

_TYPES: Final = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "is_instance_of": "text",
    "path_type": "text",
}


def problems(
    error: ValidationError, document: Document, root: type[BaseModel]
) -> Iterator[tuple[Place, Path, str]]:
    """Place, path and sentence for every error in `error`."""
    for details in error.errors(include_url=False):
        path = _in_document(details["loc"], document)
        if details["type"] == "extra_forbidden":
            yield document.keys.get(path, document.place(path)), path, _unknown(details, root)
        else:
            yield document.place(path), path, _sentence(details, path)


def keys_of(block: type[BaseModel]) -> str:
    """The keys that `block` allows, for a message."""
    return ", ".join(_keys(block))


def _keys(block: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in block.model_fields.items()]


def _in_document(loc: Path, document: Document) -> Path:
    """The path as it is written: a single storage stands there without a list around it."""
    path: Path = ()
    for part in loc:
        if part == "[key]":
            continue  # pydantic's way to say that the key itself is wrong
        if (*path, part) in document.places or isinstance(part, str):
            path = (*path, part)
    return path


def _unknown(details: ErrorDetails, root: type[BaseModel]) -> str:
    block = _block_at(root, details["loc"][:-1])
    allowed = _keys(block) if block else []
    near = difflib.get_close_matches(str(details["loc"][-1]), allowed, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"unknown key{meant}; allowed: {', '.join(allowed)}"


def _sentence(details: ErrorDetails, path: Path) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if SECRET_KEYS.intersection(path[-1:]):
        value = _HIDDEN
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind in _TYPES:
        return f"is {_shown(value)}; allowed: {_TYPES[kind]}{_hint(kind, value)}"
    if kind == "literal_error":
        return f"is {_shown(value)}; allowed: {context['expected']}"
    if kind == "greater_than_equal":
        return f"is {_shown(value)}; allowed: {context['ge']} or more"
    if kind == "less_than_equal":
        return f"is {_shown(value)}; allowed: {context['le']} or less"
    return f"is {_shown(value)}: {details['msg'].lower()}"


def _hint(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return ": quote this"
    if kind in ("int_type", "bool_type") and isinstance(value, str):
        return ", without quotes"
    return ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is _HIDDEN:
        return "a secret of another type"
    text = "empty" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _block_at(block: Any, path: Path) -> type[BaseModel] | None:
    """The class that describes the mapping at `path`."""
    for part in path:
        if block is None:
            return None
        if isinstance(part, int):
            continue  # an item of a list has the class that stands in the list's type
        field = _field(block, part)
        block = _model_in(field.annotation) if field is not None else block
    return block if isinstance(block, type) else None


def _field(block: type[BaseModel], key: str) -> Any:
    return next((f for n, f in block.model_fields.items() if (f.alias or n) == key), None)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for a in get_args(annotation) if (found := _model_in(a))), None)
