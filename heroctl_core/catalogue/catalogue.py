"""All kinds of resources over one replicator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from ..clock import Clock
from ..raft.port import Replicator
from ..state.commands import Command, Expectation, Transaction, operation
from ..state.outcome import Outcome
from .access import OPERATOR, Actor
from .acl import Acl
from .ingress import Ingress
from .jobs import Jobs
from .members import Members
from .metrics import Metrics
from .nodes import Nodes
from .reads import Reader
from .secrets import Seals, Secrets
from .watches import Watches
from .writes import DEADLINE_S, Writer, Written


class Catalogue:
    """Jobs, secrets, policies and tokens, ingress, nodes and metrics; the cluster's members.
    Any thread.

    `seals` gives the keyring of the moment; it is called for each secret, so a keyring that came
    with a restore is used at once. `entropy` gives random bytes.
    """

    def __init__(
        self,
        replicator: Replicator,
        seals: Callable[[], Seals],
        clock: Clock,
        *,
        entropy: Callable[[int], bytes] = os.urandom,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.writer = Writer(replicator, entropy, deadline_s)
        self.reader = Reader(replicator, deadline_s)
        self.jobs = Jobs(self.writer, self.reader)
        self.secrets = Secrets(self.writer, self.reader, seals)
        self.acl = Acl(self.writer, self.reader, clock, entropy)
        self.ingress = Ingress(self.writer, self.reader)
        self.nodes = Nodes(self.writer, self.reader)
        self.metrics = Metrics(self.writer, self.reader)
        self.members = Members(replicator)
        self.watches = Watches(
            replicator,
            (self.jobs, self.secrets, self.acl.policies, self.acl.tokens, self.ingress, self.nodes),
        )

    def transaction(
        self,
        parts: Iterable[Command | Expectation],
        *,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Writes all of it, with one revision, or nothing: jobs, secrets, ingress routes and nodes,
        each row at most once, as `put_command`, `delete_command` and `expectation` make the parts.
        At most limits.TRANSACTION_OPERATIONS, and limits.ENTRY_BYTES together."""
        command = Transaction([operation(part) for part in parts])
        return self.writer.write(command, actor, request_id)

    def submit(
        self, command: Command, actor: Actor = OPERATOR, request_id: bytes | None = None
    ) -> Future[Outcome]:
        """The future of a command, as Jobs.put_command and Secrets.put_command make them."""
        return self.writer.submit(command, actor, request_id)
