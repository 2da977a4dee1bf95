"""Declared jobs: free-form specs under a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..codec import unpack
from ..state.commands import DeleteJob, PutJob
from .access import OPERATOR, Actor
from .reads import Consistency, Fields, Reader, may_list
from .values import check_expect, check_name, json_map_bytes, row_times, text_map
from .writes import Writer, Written


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was at `revision`."""

    name: str
    spec: dict[str, Any]
    labels: dict[str, str]
    version: int  # counts its puts
    revision: int
    created_ms: int
    modified_ms: int

    def to_json(self) -> dict[str, Any]:
        """The job as the API and the command line show it."""
        return {
            "kind": "job",
            "name": self.name,
            "labels": self.labels,
            "spec": self.spec,
            "version": self.version,
            "revision": self.revision,
            "created_ms": self.created_ms,
            "modified_ms": self.modified_ms,
        }


class Jobs:
    """Puts, gets, lists and deletes jobs. Any thread."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    @staticmethod
    def put_command(
        name: str,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        expect: int | None = None,
    ) -> PutJob:
        """The validated command, for submit: how a pipeline goes fast."""
        check_name("job", name)
        check_expect(expect)
        labels = text_map(f"labels of job {name}", labels)
        return PutJob(name, json_map_bytes(f"spec of job {name}", spec), labels, expect)

    def put(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Writes a job. `expect`: the revision that you saw; 0: must not exist."""
        actor.check("write", "job", str(name))
        command = self.put_command(name, spec, labels=labels, expect=expect)
        return self._writer.write(command, actor, request_id)

    def get(
        self, name: str, *, consistency: Consistency = "linearizable", actor: Actor = OPERATOR
    ) -> Job:
        """The job; CommandRejected not_found."""
        actor.check("read", "job", name)
        return _job(name, self._reader.get("jobs", name, consistency))

    def list(
        self,
        prefix: str = "",
        *,
        limit: int | None = None,
        after: str | None = None,
        consistency: Consistency = "linearizable",
        actor: Actor = OPERATOR,
    ) -> list[Job]:
        """The jobs that the actor may see, by name, behind the name `after`."""
        may_list(actor, "job")

        def make(name: str, fields: Fields) -> Job | None:
            return _job(name, fields) if actor.may_see("job", name) else None

        return self._reader.page("jobs", prefix, after, limit, consistency, make)

    def delete(
        self,
        name: str,
        *,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Drops a job that no ingress points at."""
        actor.check("delete", "job", str(name))
        check_name("job", name)
        check_expect(expect)
        return self._writer.write(DeleteJob(name, expect), actor, request_id)


def _job(name: str, fields: Fields) -> Job:
    return Job(
        name=name,
        spec=unpack(fields["spec"]),
        labels=fields["labels"],
        version=fields["version"],
        **row_times(fields),
    )
