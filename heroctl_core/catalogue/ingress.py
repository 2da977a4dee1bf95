"""Ingress routes: a host and path that lead to a port of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..state.commands import DeleteIngress, PutIngress
from .access import OPERATOR, Actor
from .reads import Consistency, Fields, Reader, may_list
from .values import check_expect, check_name, row_times
from .writes import Writer, Written


@dataclass(frozen=True, slots=True)
class IngressRoute:
    """A route as it was at `revision`."""

    name: str
    host: str
    path: str
    job: str
    port: int
    tls: bool
    revision: int
    created_ms: int
    modified_ms: int

    def to_json(self) -> dict[str, Any]:
        """The route as the API and the command line show it."""
        return {
            "kind": "ingress",
            "name": self.name,
            "host": self.host,
            "path": self.path,
            "job": self.job,
            "port": self.port,
            "tls": self.tls,
            "revision": self.revision,
            "created_ms": self.created_ms,
            "modified_ms": self.modified_ms,
        }


class Ingress:
    """Puts, gets, lists and deletes ingress routes. Any thread."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    def put(
        self,
        name: str,
        *,
        host: str,
        job: str,
        port: int,
        path: str = "/",
        tls: bool = True,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Writes a route to a job that exists."""
        actor.check("write", "ingress", str(name))
        check_name("ingress", name)
        check_expect(expect)
        spec = {"host": host, "job": job, "path": path, "port": port, "tls": tls}
        return self._writer.write(PutIngress(name, spec, expect), actor, request_id)

    def get(
        self, name: str, *, consistency: Consistency = "linearizable", actor: Actor = OPERATOR
    ) -> IngressRoute:
        """The route; CommandRejected not_found."""
        actor.check("read", "ingress", name)
        return _route(name, self._reader.get("ingress", name, consistency))

    def list(
        self,
        prefix: str = "",
        *,
        limit: int | None = None,
        after: str | None = None,
        consistency: Consistency = "linearizable",
        actor: Actor = OPERATOR,
    ) -> list[IngressRoute]:
        """The routes that the actor may see, by name, behind the name `after`."""
        may_list(actor, "ingress")

        def make(name: str, fields: Fields) -> IngressRoute | None:
            return _route(name, fields) if actor.may_see("ingress", name) else None

        return self._reader.page("ingress", prefix, after, limit, consistency, make)

    def delete(
        self,
        name: str,
        *,
        expect: int | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Drops a route."""
        actor.check("delete", "ingress", str(name))
        check_name("ingress", name)
        check_expect(expect)
        return self._writer.write(DeleteIngress(name, expect), actor, request_id)


def _route(name: str, fields: Fields) -> IngressRoute:
    return IngressRoute(
        name=name,
        host=fields["host"],
        path=fields["path"],
        job=fields["job"],
        port=fields["port"],
        tls=fields["tls"],
        **row_times(fields),
    )
