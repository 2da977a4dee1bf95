"""The rules of jobs. A job's spec is opaque here: canonical bytes that the catalogue checked."""

from __future__ import annotations

from typing import Any

from ..codec import unpack
from .rows import Refused, Rows, check_name, checked_bytes, checked_labels, label


def put_job(rows: Rows, body: list[Any]) -> None:
    """Writes a job: [name, spec, labels, expect]."""
    name, spec, labels, expect = body
    check_name("job", name)
    checked_bytes("spec", spec)
    labels = checked_labels("label", labels)
    fields = {"labels": labels, "spec": spec}
    rows.put("jobs", name, rows.stamped(rows.current("jobs", name, expect), fields))


def delete_job(rows: Rows, body: list[Any]) -> None:
    """Drops a job that no ingress points at: [name, expect]."""
    name, expect = body
    check_name("job", name)
    rows.existing("jobs", name, expect)
    if name in rows.job_references:
        raise Refused("conflict", f"job {name} is used by {label('ingress', _user(rows, name))}")
    rows.delete("jobs", name)


def _user(rows: Rows, job: str) -> str:
    """The first ingress by name that points at the job; a scan, for the message only."""
    return min(
        key
        for shard in rows.tables["ingress"].shards
        for key, row in shard.items()
        if unpack(row)["job"] == job
    )
