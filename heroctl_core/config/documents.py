"""YAML and JSON texts as plain values, with the place of every value. The door of PyYAML.

Stricter than YAML on purpose. What YAML 1.1 would silently turn into something else – `NO` into
false, `1:30` into 90, `2026-01-01` into a date – is refused with "quote this"; so are duplicate
keys, anchors and tags. JSON is read as JSON. Must not know what the values mean.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import yaml

from .. import limits
from ..errors import ConfigError

Path = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, both from 1
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

_INT: Final = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT: Final = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")
_TAG: Final = "tag:yaml.org,2002:"

SECRET_KEYS: Final = frozenset({"value", "secret_access_key", "url"})  # never shown in a message


@dataclass(slots=True)
class Document:
    """One document: its value, where each value and each key stands, and what was wrong.

    `problems` are (place, path, complaint); a value that has a problem is left as its text.
    """

    value: Value = None
    places: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[tuple[Place, Path, str]] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Where the value at `path` stands, or the nearest thing around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))


class _Loader(yaml.SafeLoader):
    """SafeLoader's scanner and parser, without anchors and depth: a small text must stay a small
    value, and a hostile one must not use up the stack."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.depth > limits.NESTING:
            raise yaml.MarkedYAMLError(
                problem=f"nested deeper than {limits.NESTING} levels",
                problem_mark=event.start_mark,
            )
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not supported: write the value out",
                problem_mark=event.start_mark,
            )
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def text_of(path: str | os.PathLike[str]) -> str:
    """The text of a file; ConfigError says in the system's words why there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is no UTF-8") from error


def read_documents(text: str, *, name: str, bare_times: bool = False) -> list[Document]:
    """The documents of a YAML or JSON text; empty ones are left out.

    `bare_times` lets an unquoted time stand for its text. Raises ConfigError, naming `name`, line
    and column, when the text is no YAML at all; lesser mistakes are in `Document.problems`.
    """
    as_json = _read_json(text)
    if as_json is not None:
        return [as_json]
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that no YAML may have
        raise ConfigError(f"{name}: no YAML: {_one_line(error)}") from error
    found = []
    try:
        while loader.check_node():
            node = cast("yaml.Node", loader.get_node())
            document = Document()
            document.value = _value(node, (), document, bare_times=bare_times)
            if document.value is not None or document.problems:
                found.append(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise ConfigError(f"{name}:{where}: {error.problem or 'no YAML'}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: no YAML: {_one_line(error)}") from error
    finally:
        loader.dispose()
    return found


def values_of(text: str, *, name: str) -> Iterator[Value]:
    """The values of all documents, a list counting as its items; ConfigError with every mistake."""
    documents = read_documents(text, name=name, bare_times=True)
    problems = [
        complaint(name, place, path, what)
        for document in documents
        for place, path, what in document.problems
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    for document in documents:
        if isinstance(document.value, list):
            yield from document.value
        else:
            yield document.value


def dump(value: Value) -> str:
    """`value` as a YAML document, keys in the order given; read_documents() gives it back."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def complaint(name: str, place: Place, path: Path, what: str) -> str:
    """One line for a mistake: file:line:column: key: what is wrong."""
    key = key_of(path)
    return f"{name}:{place[0]}:{place[1]}: {key + ': ' if key else ''}{what}"


def key_of(path: Path) -> str:
    """A path as people write it: backup.storage[0].bucket."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _value(node: yaml.Node, path: Path, document: Document, *, bare_times: bool) -> Value:
    place = node.start_mark.line + 1, node.start_mark.column + 1
    document.places[path] = place
    if isinstance(node, yaml.ScalarNode):
        value, wrong = _scalar(node, bare_times=bare_times, hide=path[-1:])
        if wrong:
            document.problems.append((place, path, wrong))
        return value
    if isinstance(node, yaml.SequenceNode):
        return [
            _value(item, (*path, index), document, bare_times=bare_times)
            for index, item in enumerate(node.value)
        ]
    return _mapping(node, path, document, bare_times=bare_times)


def _mapping(
    node: yaml.Node, path: Path, document: Document, *, bare_times: bool
) -> dict[str, Value]:
    result: dict[str, Value] = {}
    for key_node, value_node in node.value:
        place = key_node.start_mark.line + 1, key_node.start_mark.column + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append((place, path, "a key must be text"))
            continue
        key = str(key_node.value)
        here = (*path, key)
        if key_node.tag != _TAG + "str":
            document.problems.append((place, here, f"the key {key} is no text: quote this"))
        if key in result:
            line = document.keys[here][0]
            document.problems.append((place, here, f"duplicate key, first in line {line}"))
            continue
        document.keys[here] = place
        result[key] = _value(value_node, here, document, bare_times=bare_times)
    return result


def _scalar(node: yaml.ScalarNode, *, bare_times: bool, hide: Path) -> tuple[Value, str | None]:
    """The value of a scalar, and what is wrong with it."""
    text, kind = str(node.value), node.tag.removeprefix(_TAG)
    if kind == "str":
        return text, None
    if kind == "null":
        return None, None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true", None
    if kind == "int" and _INT.fullmatch(text):
        return int(text), None
    if kind == "float" and _FLOAT.fullmatch(text):
        return float(text), None
    if kind == "timestamp" and bare_times:
        return text, None
    return text, _quote_this("this" if SECRET_KEYS.intersection(hide) else text, kind)


def _quote_this(text: str, kind: str) -> str:
    word = "true" if text.lower() in ("yes", "on") else "false"
    readings = {
        "bool": f"YAML reads it as {word}; write {word}, or",
        "timestamp": "YAML reads it as a date:",
        "int": "YAML reads it as another number:",
        "float": "YAML reads it as another number:",
    }
    reading = readings.get(kind)
    if reading is None:
        return f"has the tag {kind}; allowed: plain values without tags"
    return f'{text} is ambiguous, {reading} quote this, as in "{text}"'


def _read_json(text: str) -> Document | None:
    """The document of a JSON text, without places; None when it is none: then it may be YAML."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    document = Document()

    def mapping(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
        result = dict(pairs)
        if len(result) < len(pairs):
            raise ValueError("duplicate key")  # YAML's reader says which and where
        return result

    def constant(name: str) -> Value:
        raise ValueError(f"{name} is no JSON")

    try:
        document.value = json.loads(text, object_pairs_hook=mapping, parse_constant=constant)
    except (ValueError, RecursionError):
        return None
    return document if _depth_of(document.value) <= limits.NESTING else None


def _depth_of(value: Value) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth_of(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth_of(item) for item in value), default=0)
    return 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def leaves(value: Value, path: Path = ()) -> Iterator[tuple[Path, Value]]:
    """Every scalar in `value` with its path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value
