"""What crosses the wire: requests and replies as values, errors as problem documents (RFC 9457).

Pure. Must not know the HTTP library (http.py) nor what the routes do (routes.py).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .. import limits
from ..catalogue.reads import Consistency
from ..errors import CommandRejected, HeroctlError, UsageError
from .port import SavedSnapshot

PROBLEM_TYPE: Final = "application/problem+json"
SNAPSHOT_TYPE: Final = "application/vnd.heroctl.snapshot"
_REQUEST_ID: Final = re.compile(r"[0-9a-fA-F]{32}")
_ETAG: Final = re.compile(r'"?([0-9]{1,19})"?')


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked: what a route's function gets.

    `names` are the parts of the path, `body` the decoded JSON. `expect` and `request_id` come from
    If-Match and Idempotency-Key.
    """

    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    request_id: bytes | None
    expect: int | None

    @property
    def consistency(self) -> Consistency:
        """How fresh a read must be."""
        asked = self.query.get("consistency", "linearizable")
        if asked == "linearizable":
            return "linearizable"
        if asked == "stale":
            return "stale"
        raise UsageError(f"consistency is {asked!r}; allowed: linearizable, stale")

    @property
    def is_stale(self) -> bool:
        """True when the answer may be this node's copy, however old."""
        return self.consistency == "stale"

    def flag(self, name: str) -> bool:
        """A query parameter that is 1 or left out."""
        value = self.query.get(name, "0")
        if value not in ("0", "1"):
            raise UsageError(f"{name} is {value!r}; allowed: 0 or 1")
        return value == "1"

    def number(self, name: str, *, most: int) -> int | None:
        """A query parameter that is a number from 1 to `most`, or None when it is left out."""
        text = self.query.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19 and 1 <= int(text) <= most):
            raise UsageError(f"{name} is {text!r}; allowed: 1 to {most}")
        return int(text)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a route. `stale` says that the body is this node's copy."""

    body: Any = None
    status: int = 200
    stale: bool = False
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def decode_body(data: bytes) -> Any:
    """The value of a JSON body; CommandRejected for anything that is not exactly JSON."""

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            raise ValueError("duplicate key")
        return result

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    try:
        value = json.loads(data, object_pairs_hook=mapping, parse_constant=constant)
        if b"\\u" in data or b"\xed" in data:  # only these can be half a surrogate pair
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise CommandRejected(
            "invalid", f"the body is nested deeper than {limits.NESTING} levels"
        ) from error
    except ValueError as error:
        raise CommandRejected("invalid", f"the body is no JSON: {error}") from error
    return value


def request_id(header: str | None) -> bytes | None:
    """The id of a write, from Idempotency-Key; None lets the catalogue make one."""
    if header is None:
        return None
    if not _REQUEST_ID.fullmatch(header):
        raise UsageError("Idempotency-Key must be 32 hex digits")
    return bytes.fromhex(header)


def expectation(if_match: str | None, if_none_match: str | None) -> int | None:
    """The revision that a write expects: 0 for If-None-Match: *, None for no expectation."""
    if if_none_match is not None:
        if if_none_match.strip() != "*" or if_match is not None:
            raise UsageError("If-None-Match must be *, and stand alone")
        return 0
    if if_match is None:
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if not found:
        raise UsageError(f'If-Match is {if_match!r}; allowed: a revision, as in "17"')
    return int(found[1])


def problem(error: HeroctlError) -> dict[str, Any]:
    """The problem document of an error."""
    document: dict[str, Any] = {
        "type": f"urn:heroctl:problem:{error.reason}",
        "title": error.reason.replace("_", " "),
        "status": error.http_status,
        "detail": error.message,
        "reason": error.reason,
        "exit_code": error.exit_code,
    }
    if error.hint:
        document["hint"] = error.hint
    return document


def repr_digest(sha256: str) -> str:
    """The value of Repr-Digest (RFC 9530) for a digest in hex."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def summary(saved: SavedSnapshot) -> dict[str, Any]:
    """What the header X-Heroctl-Snapshot says about an archive; ASCII only."""
    return {
        "size_bytes": saved.size_bytes,
        "sha256": saved.sha256,
        "revision": saved.revision,
        "stale": saved.stale,
        "counts": dict(saved.counts),
    }


def encode(value: Any) -> bytes:
    """A value as JSON bytes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")  # an error may quote what is no text
