"""Ingress routes: a host and path that lead to a port of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..state.commands import DeleteIngress, PutIngress
from .access import OPERATOR, Actor
from .resource import Resource
from .values import check_expect, check_name, shown
from .writes import Written


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
        return shown("ingress", self)


class Ingress(Resource[IngressRoute]):
    """Puts, gets, lists and deletes ingress routes. Any thread."""

    noun = right = table = collection = "ingress"
    deletion, value = DeleteIngress, IngressRoute

    @staticmethod
    def put_command(
        name: str,
        *,
        host: str,
        job: str,
        port: int,
        path: str = "/",
        tls: bool = True,
        expect: int | None = None,
    ) -> PutIngress:
        """The validated command, for submit and transactions."""
        check_name("ingress", name)
        check_expect(expect)
        spec = {"host": host, "job": job, "path": path, "port": port, "tls": tls}
        return PutIngress(name, spec, expect)

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
        command = self.put_command(
            name, host=host, job=job, port=port, path=path, tls=tls, expect=expect
        )
        return self._write(command, actor, request_id)
