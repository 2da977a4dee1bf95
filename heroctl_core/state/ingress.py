"""The rules of ingress routes: a host and path that lead to a port of an existing job."""

from __future__ import annotations

import re
from typing import Any, Final

from .rows import Refused, Rows, check_name, checked_text, decode_row

SPEC_FIELDS: Final = frozenset({"host", "job", "path", "port", "tls"})
_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\*")
_PATH: Final = re.compile(r"/[!-~]*")  # ASCII; anything else is written %XX in a URL
_PATH_BYTES: Final = 1024
_PORT_MAX: Final = 65_535


def put_ingress(rows: Rows, body: list[Any]) -> None:
    """Writes a route: [name, spec, expect]; spec has host, path, job, port, tls."""
    name, spec, expect = body
    check_name("ingress", name)
    spec = _checked_spec(f"ingress {name}", spec)
    job = spec["job"]
    if rows.tables["jobs"].get(job) is None:
        raise Refused("invalid", f"ingress {name}: job {job} does not exist")
    old = rows.current("ingress", name, expect)
    rows.put("ingress", name, rows.stamped(old, spec))
    if old is not None:
        rows.job_references.drop(old["job"])
    rows.job_references.add(job)


def delete_ingress(rows: Rows, body: list[Any]) -> None:
    """Drops a route: [name, expect]."""
    name, expect = body
    check_name("ingress", name)
    old = rows.existing("ingress", name, expect)
    rows.delete("ingress", name)
    rows.job_references.drop(old["job"])


def rebuild_job_references(rows: Rows) -> None:
    """Counts the uses of jobs anew, after rows came from an archive or a dump."""
    for shard in rows.tables["ingress"].shards:
        for key, row in shard.items():
            rows.job_references.add(decode_row("ingress", key, row)["job"])


def _checked_spec(place: str, spec: object) -> dict[str, Any]:
    if type(spec) is not dict or set(spec) != SPEC_FIELDS:
        raise Refused("invalid", f"{place} must have the fields {', '.join(sorted(SPEC_FIELDS))}")
    host = checked_text(f"{place}: host", spec["host"])
    if not _HOST.fullmatch(host) or ".." in host:
        raise Refused("invalid", f"{place}: host {host!r} is no host name")
    path = checked_text(f"{place}: path", spec["path"], max_bytes=_PATH_BYTES)
    if not _PATH.fullmatch(path):
        raise Refused("invalid", f'{place}: path {path!r} must begin with "/" and be plain ASCII')
    check_name(f"{place}: job", spec["job"])
    port = spec["port"]
    if type(port) is not int or not 1 <= port <= _PORT_MAX:
        raise Refused("invalid", f"{place}: port is {port!r}, allowed: 1 to {_PORT_MAX}")
    if type(spec["tls"]) is not bool:
        raise Refused("invalid", f"{place}: tls must be true or false")
    return spec
