"""server.yaml as a checked Config: every mistake at once, each with file, line, column and key.

The door of pydantic (with schema.py). Must not know what the values are used for.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from pydantic import ValidationError

from ..errors import ConfigError
from . import explain, model, schema
from .documents import (
    SECRET_KEYS,
    Document,
    Value,
    complaint,
    key_of,
    leaves,
    read_documents,
    text_of,
)
from .documents import Path as KeyPath

_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_PUBLIC_FILES: Final = frozenset({"ca_file", "cert_file"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, what to tell the operator about it, and where each given key stands."""

    config: model.Config
    warnings: tuple[str, ...]
    origins: Mapping[str, str]  # key as in raft.listen: file:line; a key that is not here: default


def load(path: str | os.PathLike[str]) -> model.Config:
    """The configuration in the file `path`; ConfigError with one line for every mistake."""
    return load_with_origins(path).config


def load_with_origins(path: str | os.PathLike[str]) -> Loaded:
    """The same, with warnings and origins, for `heroctl config`."""
    name = os.fspath(path)
    try:
        text = text_of(path)
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            error.hint = "name it with --config FILE or HEROCTL_CONFIG"
        raise
    mode = Path(path).stat().st_mode
    document = _one_document(text, name)
    substituted = _substitute(document)
    _check_inline_secrets(document, substituted, name, mode)
    block = _validate(document, name)
    config = _build(block, document, name)
    origins = {key_of(p): f"{name}:{document.place(p)[0]}" for p, _ in leaves(document.value) if p}
    return Loaded(config, tuple(_warnings(config)), origins)


def _one_document(text: str, name: str) -> Document:
    documents = read_documents(text, name=name)
    if len(documents) > 1:
        line = documents[1].place(())[0]
        raise ConfigError(f"{name}:{line}:1: a second document; allowed: one")
    document = documents[0] if documents else Document(value={})
    if not isinstance(document.value, dict):
        raise ConfigError(f"{name}:1:1: must be a mapping of {explain.keys_of(schema.Config)}")
    return document


def _substitute(document: Document) -> set[KeyPath]:
    """Puts the environment's values in for ${NAME}; the paths where that was done."""
    done: set[KeyPath] = set()
    for path, value in list(leaves(document.value)):
        if not isinstance(value, str) or "${" not in value:
            continue
        missing = [n for n in _VARIABLE.findall(value) if n not in os.environ]
        for name in missing:
            what = f"the environment has no variable {name!r}"
            document.problems.append((document.place(path), path, what))
        if not missing:
            text = _VARIABLE.sub(lambda found: os.environ[found[1]], value)
            _put(document.value, path, text)
        done.add(path)
    return done


def _put(tree: Any, path: KeyPath, value: Value) -> None:
    for part in path[:-1]:
        tree = tree[part]
    tree[path[-1]] = value


def _check_inline_secrets(
    document: Document, substituted: set[KeyPath], name: str, mode: int
) -> None:
    """A secret that stands in the file itself, while others may read the file, is a mistake."""
    if not mode & 0o007:
        return
    for path, value in leaves(document.value):
        if path and path[-1] in SECRET_KEYS and path not in substituted and value is not None:
            what = (
                f"a secret stands here, and others can read this file; allowed: chmod o= {name},"
                f" or ${{VARIABLE}}, or the key {path[-1]}_file"
            )
            document.problems.append((document.place(path), path, what))


def _validate(document: Document, name: str) -> schema.Config:
    """The checked blocks; ConfigError with every mistake of the text, its types and its values."""
    # A key without a value counts as left out, so that a block may be commented away.
    tree = {k: v for k, v in document.value.items() if v is not None}  # type: ignore[union-attr]
    problems = list(document.problems)
    block = None
    try:
        block = schema.Config.model_validate(tree)
    except ValidationError as error:
        told = {path for _, path, _ in problems}
        found = explain.problems(error, document, schema.Config)
        problems += [p for p in found if p[1] not in told]
    problems += _open_files(document)
    told = {path for _, path, _ in problems}
    problems += [p for p in _beyond_loopback(document) if p[1] not in told]
    if problems or block is None:
        lines = [complaint(name, *problem) for problem in sorted(problems, key=lambda p: p[0])]
        raise ConfigError("\n".join(lines))
    return block


def _beyond_loopback(document: Document) -> list[tuple[tuple[int, int], KeyPath, str]]:
    """Addresses of the Raft port that others can reach, without TLS."""
    values = dict(leaves(document.value))
    found: list[tuple[tuple[int, int], KeyPath, str]] = []
    paths: tuple[KeyPath, ...] = (("raft", "listen"), ("raft", "advertise"))
    for path in paths:
        address = values.get(path)
        if not isinstance(address, str) or values.get(("tls", "cert_file")) is not None:
            continue
        try:
            model.check_loopback(address)
        except ValueError as error:
            found.append((document.place(path), path, f"{error}, or {model.TLS_RULE}"))
    return found


def _open_files(document: Document) -> list[tuple[tuple[int, int], KeyPath, str]]:
    """Files that hold a secret and that others than their owner can read."""
    found = []
    for path, value in leaves(document.value):
        key = next((p for p in reversed(path) if isinstance(p, str)), "")
        if not key.endswith("_file") or key in _PUBLIC_FILES or not isinstance(value, str):
            continue
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if credentials and (Path(credentials) / Path(value).name).exists():
            continue
        try:
            mode = Path(value).stat().st_mode
        except OSError:
            continue  # missing or out of reach: whoever needs the file says so, with its own code
        if mode & 0o077:
            what = f"{value} can be read by others; allowed: mode 600 (chmod 600 {value})"
            found.append((document.place(path), path, what))
    return found


def _build(block: schema.Config, document: Document, name: str) -> model.Config:
    """The values of the checked blocks; ConfigError for values that do not go together."""
    own = block.node.name if "name" in block.node.model_fields_set else _host_name()
    peers = dict(block.raft.peers)
    listed = peers.pop(own, None)  # the same list may be used on every node
    advertise = block.raft.advertise or listed
    try:
        if listed is not None and listed != advertise:
            raise ConfigError(f"raft.peers: {own} is at {listed}, raft.advertise says {advertise}")
        raft = block.raft.model_copy(update={"peers": peers, "advertise": advertise})
        node = block.node.model_copy(update={"name": own})
        named = [
            s if s.name else s.model_copy(update={"name": f"{s.type}-{i}"})
            for i, s in enumerate(block.backup.storage, 1)
        ]
        backup = block.backup.model_copy(update={"storage": named})
        update = {"raft": raft, "node": node, "backup": backup}
        config: model.Config = _freeze(model.Config, block.model_copy(update=update))
        return config
    except (ConfigError, ValueError) as error:
        key = tuple(str(error).split(":", 1)[0].split("."))
        line, column = document.place(key)
        raise ConfigError(f"{name}:{line}:{column}: {error}") from error


def _host_name() -> str:
    try:
        return model.check_name(socket.gethostname().split(".")[0])
    except ValueError:
        return model.Node().name


def _freeze(kind: type[Any], block: Any) -> Any:
    """The frozen value of class `kind` with the fields of `block`, all the way down."""
    hints = get_type_hints(kind)
    return kind(**{f.name: _frozen(hints[f.name], getattr(block, f.name)) for f in fields(kind)})


def _frozen(hint: Any, value: Any) -> Any:
    inner = next((a for a in get_args(hint) if is_dataclass(a)), hint)
    if is_dataclass(inner) and isinstance(value, schema.Block):
        return _freeze(inner, value)  # type: ignore[arg-type]
    if isinstance(value, list):
        return tuple(_frozen(inner, item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(inner, item) for key, item in value.items()}
    return value


def _without_effect(config: model.Config) -> list[str]:
    """Keys that are checked and then ignored: silence would look like protection."""
    backup, nothing = config.backup, model.Config()
    keys = {
        "backup.enabled: no snapshot is taken by schedule; it": backup.enabled,
        "backup.test_restore": backup.test_restore.enabled,
        "backup.encryption_recipients": bool(backup.encryption_recipients),
        "tls: used between the nodes; for the API, on loopback only, it": config.has_tls,
        "alerts": bool(config.alerts),
        "clusters": bool(config.clusters),
        "drill": config.drill != nothing.drill,
    }
    return [key for key, is_set in keys.items() if is_set]


def _warnings(config: model.Config) -> list[str]:
    """What is allowed, but will not do what the operator expects."""
    found = [f"{key} has no effect in this version" for key in _without_effect(config)]
    backup = config.backup
    if backup.enabled and not (backup.encryption_key_file or backup.encryption_recipients):
        found.append("backup.enabled is true without backup.encryption_key_file: no snapshot")
    if backup.enabled and not backup.storage:
        found.append("backup.enabled is true without backup.storage: copies stay on this machine")
    target = backup.test_restore.target
    if backup.test_restore.enabled and target and target not in config.clusters:
        found.append(f"backup.test_restore.target is {target}, which clusters: does not name")
    if len(config.raft.peers) == 1:
        found.append("two nodes have no majority when one is lost; use one, three or five")
    return found
