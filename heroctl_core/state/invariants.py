"""What must hold in every state, checked from outside: by tests, verify, restore and the drill.

Nothing here trusts the machine's own counters; each is counted again from the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from .. import limits
from ..codec import pack, unpack
from . import metrics
from .acl import POLICY_PREFIX, TOKEN_PREFIX
from .machine import View
from .names import name_fault
from .rows import KINDS, label
from .tables import FINGERPRINT_MASK, row_digest

Fields = dict[str, Any]

_PLAIN_TYPES: Final = frozenset({str, bytes, bool, type(None)})

_STAMP: Final = {"created_ms", "created_revision", "modified_ms", "revision", "version"}
_FIELDS: Final = {
    "ingress": _STAMP | {"host", "job", "path", "port", "tls"},
    "jobs": _STAMP | {"labels", "spec"},
    "keyring": _STAMP | {"wrapped"},
    "metrics": _STAMP
    | {"count", "labels", "last_ms", "last_units", "points", "scale", "series", "step_ms"},
    "nodes": _STAMP | {"address", "labels", "resources"},
    "policy": _STAMP | {"rules"},
    "secrets": _STAMP | {"metadata", "sealed"},
    "token": _STAMP | {"expires_ms", "name", "policies", "secret_hash"},
}


def violations(view: View) -> list[str]:
    """A sentence for each thing that is wrong in `view`; empty for a sound state."""
    found = [sentence for kind in view.kinds for sentence in _table_violations(view, kind)]
    series = {metrics.series_of(key) for key, _ in view.items("metrics")}
    if len(series) > limits.METRIC_SERIES:
        found.append(f"{len(series)} metric series, the limit is {limits.METRIC_SERIES}")
    total = sum(view.count(kind) for kind in view.kinds)
    if total > limits.ROWS:
        found.append(f"{total} rows, the limit is {limits.ROWS}")
    return found


def _table_violations(view: View, kind: str) -> Iterator[str]:
    count = fingerprint = 0
    for key, row in view.items(kind):
        count += 1
        fingerprint += row_digest(kind, key, row)
        if kind in KINDS:
            for sentence in _row_violations(view, kind, key, row):
                yield f"{label(kind, key)}: {sentence}"
    if count != view.count(kind):
        yield f"{kind}: {count} rows, but {view.count(kind)} are counted"
    if fingerprint & FINGERPRINT_MASK != view.fingerprint(kind):
        yield f"{kind}: the fingerprint does not fit the rows"


def _row_violations(view: View, kind: str, key: str, row: bytes) -> Iterator[str]:
    if len(row) > limits.ROW_BYTES:
        yield f"{len(row)} bytes, the limit is {limits.ROW_BYTES}"
    try:
        fields = unpack(row)
    except ValueError as error:
        yield f"the row cannot be read: {error}"
        return
    if not _is_canonical(fields, row):
        yield "the row is not canonical"
    shape = key.partition("/")[0] if kind == "acl" else kind
    if type(fields) is not dict or set(fields) != _FIELDS.get(shape):
        yield "the row's fields are not those of its kind"
        return
    yield from _stamp_violations(view, fields)
    check = _CHECKS.get(shape)
    if check is not None:
        yield from check(view, key, fields)


def _is_canonical(value: object, data: bytes) -> bool:
    """True when `data`, which `value` was unpacked from, is canonical; three times as fast as
    making the canonical bytes, and a restore waits for it."""
    return _is_ordered(value) and pack(value) == data


def _is_ordered(value: object) -> bool:
    """True for JSON values (and bytes) whose maps have sorted text keys."""
    if type(value) in _PLAIN_TYPES:
        return True
    if isinstance(value, dict):
        keys = list(value)
        if any(type(key) is not str for key in keys) or keys != sorted(keys):
            return False
        return all(map(_is_ordered, value.values()))
    if isinstance(value, list):
        return all(map(_is_ordered, value))
    if isinstance(value, int):
        return value < 2**63  # msgpack has unsigned 64 bits, JSON values here have not
    return isinstance(value, float) and math.isfinite(value)


def _stamp_violations(view: View, fields: Fields) -> Iterator[str]:
    if any(type(fields[name]) is not int for name in _STAMP):
        yield "its stamp is not made of integers"
        return
    if not 0 < fields["created_revision"] <= fields["revision"] <= view.revision:
        yield f"its revision {fields['revision']} does not fit the state's {view.revision}"
    if not fields["created_ms"] <= fields["modified_ms"] <= view.time_ms:
        yield "its times do not fit the state's time"


def _job(_view: View, key: str, fields: Fields) -> Iterator[str]:
    yield from _name(key)
    try:
        if not _is_canonical(unpack(fields["spec"]), fields["spec"]):
            yield "the spec is not canonical"
    except (TypeError, ValueError) as error:
        yield f"the spec cannot be read: {error}"


def _secret(_view: View, key: str, fields: Fields) -> Iterator[str]:
    yield from _name(key)
    if type(fields["sealed"]) is not bytes:
        yield "the value is not sealed"


def _node(_view: View, key: str, _fields: Fields) -> Iterator[str]:
    yield from _name(key)


def _ingress(view: View, key: str, fields: Fields) -> Iterator[str]:
    yield from _name(key)
    if type(fields["job"]) is not str or view.get("jobs", fields["job"]) is None:
        yield f"its job {fields['job']} does not exist"


def _policy(_view: View, key: str, fields: Fields) -> Iterator[str]:
    yield from _name(key.removeprefix(POLICY_PREFIX))
    if type(fields["rules"]) is not list:
        yield "its rules are no list"


def _token(view: View, key: str, fields: Fields) -> Iterator[str]:
    if not key.removeprefix(TOKEN_PREFIX):
        yield "it has no accessor"
    if type(fields["policies"]) is not list:
        yield "its policies are no list"
        return
    for policy in fields["policies"]:
        if view.get("acl", f"{POLICY_PREFIX}{policy}") is None:
            yield f"its policy {policy} does not exist"


def _metrics(_view: View, key: str, fields: Fields) -> Iterator[str]:
    try:
        if not key.startswith(metrics.series_key(fields["series"], fields["labels"])):
            yield "its key does not fit its series and labels"
        samples = metrics.samples_of(key, fields)
    except (TypeError, ValueError) as error:
        yield f"its samples cannot be read: {error}"
        return
    times = [time_ms for time_ms, _ in samples]
    start_ms = metrics.block_start_ms(key)
    if times != sorted(set(times)) or not all(0 <= t - start_ms < metrics.BLOCK_MS for t in times):
        yield "its times do not rise within its block"
    if not times or times[-1] != fields["last_ms"]:
        yield "its last time is not that of its last sample"


def _name(name: str) -> Iterator[str]:
    fault = name_fault(name)
    if fault is not None:
        yield f"its name {fault}"


_CHECKS: Final[dict[str, Callable[[View, str, Fields], Iterator[str]]]] = {
    "ingress": _ingress,
    "jobs": _job,
    "metrics": _metrics,
    "nodes": _node,
    "policy": _policy,
    "secrets": _secret,
    "token": _token,
}
