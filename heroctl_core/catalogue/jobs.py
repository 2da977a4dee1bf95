"""Declared jobs: free-form specs under a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..codec import unpack
from ..state.commands import DeleteJob, PutJob
from .access import OPERATOR, Actor
from .reads import Fields
from .resource import Resource
from .values import check_expect, check_name, json_map_bytes, shown, text_map, value_of
from .writes import Written


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
        return shown("job", self)


class Jobs(Resource[Job]):
    """Puts, gets, lists and deletes jobs; one that an ingress points at stays. Any thread."""

    noun = right = "job"
    table, deletion, value = "jobs", DeleteJob, Job
    collection = "jobs"

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
        return self._write(command, actor, request_id)

    def of_row(self, name: str, fields: Fields) -> Job:
        return value_of(Job, {**fields, "name": name, "spec": unpack(fields["spec"])})
