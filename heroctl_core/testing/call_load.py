"""Clients of real nodes: threads that read and write through all of them while faults happen.

Each call has a request id and is tried again through other nodes with the same id, as a careful
client does. Half of the clients wait for an answer as long as the engine may take; the others ask
elsewhere after a second.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..client import Answer, Client, new_request_id, path_of
from ..errors import CommandRejected, HeroctlError, NotApplied, Unreachable
from .call_history import CALL_S, SLACK_S, CallHistory, unknown
from .linearizability import Kind, Operation, State

KEYS: Final = 4  # contended at a time
ROTATE_S: Final = 3.0  # then others are: a history must stay short enough to be judged
ATTEMPTS: Final = 5
PACE_S: Final = 0.01  # between the calls of one client
_IMPATIENT_S: Final = 1.0
_PATIENT_S: Final = 30.0
_KEPT_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Nodes:
    """Where clients call: a client of each node by name and patience in seconds, and how many
    seconds of a span of time the named node was made to stand still."""

    names: tuple[str, ...]
    client: Callable[[str, float], Client]
    stood_still_s: Callable[[str, float, float], float]


class CallLoad:
    """Client threads, from start() to stop()."""

    def __init__(self, nodes: Nodes, history: CallHistory, *, seed: int) -> None:
        """Two clients, a patient and an impatient one, call each node first."""
        self._stopped = threading.Event()
        self._clients = [
            _LoadClient(number, nodes, history, random.Random(f"{seed} {number}"), self._stopped)
            for number in range(2 * len(nodes.names))
        ]
        self._threads = [
            threading.Thread(target=client.run, name=f"client-{client.number}", daemon=True)
            for client in self._clients
        ]

    def start(self) -> None:
        """Calls begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new calls; returns when all have ended."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()


@dataclass(slots=True)
class _LoadClient:
    """One client. Uses its own connections; remembers the newest revision that it was shown."""

    number: int
    nodes: Nodes
    history: CallHistory
    rng: random.Random
    stopped: threading.Event
    _connections: dict[str, Client] = field(default_factory=dict)
    _calls: int = 0
    _revision: int = 0

    def run(self) -> None:
        """Calls until the load is stopped."""
        while not self.stopped.wait(PACE_S * self.rng.uniform(0.5, 1.5)):
            self._calls += 1
            try:
                if self.rng.random() < _KEPT_SHARE:
                    self._keep()
                else:
                    self._contend()
            except Exception as error:  # noqa: BLE001 – a bug of ours must end the run, not a thread
                self.history.broken(f"client {self.number} failed: {error!r}")
                return
        for connection in self._connections.values():
            connection.close()

    def _keep(self) -> None:
        """Makes a key that nothing else writes."""
        key = f"kept-{self.number}-{self._calls}"
        accepted = self._write(Kind.CREATE, key, self._calls, once=True)
        if accepted is False:
            self.history.refused.add(key)

    def _contend(self) -> None:
        """Reads or writes a key that others use too."""
        moment = int(time.monotonic() / ROTATE_S)
        key = f"shared-{moment}-{self.rng.randrange(KEYS)}"
        kind = self.rng.choices(list(Kind), (45, 40, 8, 7))[0]
        if kind is Kind.READ:
            self._read(key)
        else:
            value = None if kind is Kind.DELETE else self._calls * 1000 + self.number
            self._write(kind, key, value, once=False)

    def _read(self, key: str) -> None:
        started_s = time.monotonic()
        for node in self._route():
            try:
                answer = self._timed(node, lambda at: at.get(path_of("jobs", key)))
                value = int(answer.body["spec"]["v"])
            except CommandRejected as error:
                self._expect(error.reason == "not_found", f"reading {key}: {error}")
                value = None
            except HeroctlError:
                continue  # reads have no effect: ask elsewhere
            self.history.count("reads answered")
            self.history.saw(key, Operation(Kind.READ, value, started_s, time.monotonic()))
            return

    def _write(self, kind: Kind, key: str, value: State, *, once: bool) -> bool | None:
        """Whether the write was applied; None when nobody knows."""
        started_s = time.monotonic()
        request_id = new_request_id()
        maybe = False
        for node in self._route():
            began_s = time.monotonic()
            try:
                answer = self._timed(node, lambda at: _send(at, kind, key, value, request_id))
            except (NotApplied, Unreachable):
                continue
            except CommandRejected as error:
                return self._rejected(kind, key, value, started_s, error, maybe=maybe, once=once)
            except HeroctlError:  # OutcomeUnknown, or a node that is just stopping
                maybe = True
                continue
            revision = int(answer.body["revision"])
            self.history.wrote(node, began_s, key, revision, once=once)
            if not once:
                ended_s = time.monotonic()
                seen = Operation(kind, value, started_s, ended_s, revision=revision)
                self.history.saw(key, seen)
            return True
        self.history.count("writes unknown" if maybe else "writes refused")
        if maybe and not once:
            self.history.saw(key, unknown(kind, value, started_s))
        return None if maybe else False

    def _rejected(
        self,
        kind: Kind,
        key: str,
        value: State,
        started_s: float,
        error: CommandRejected,
        *,
        maybe: bool,
        once: bool,
    ) -> bool | None:
        self.history.count(f"writes {error.reason}")
        if error.reason == "request_expired":
            if maybe and not once:
                self.history.saw(key, unknown(kind, value, started_s))
            return None if maybe else False
        wanted = {Kind.CREATE: "conflict", Kind.DELETE: "not_found"}.get(kind)
        self._expect(not once and error.reason == wanted, f"{kind.value} of {key}: {error}")
        seen = Operation(kind, value, started_s, time.monotonic(), accepted=False)
        self.history.saw(key, seen)
        return False

    def _route(self) -> list[str]:
        """The nodes to try, the client's own first."""
        names = list(self.nodes.names)
        self.rng.shuffle(names)
        own = self.nodes.names[self.number // 2 % len(names)]
        return [own, *(name for name in names * 2 if name != own)][:ATTEMPTS]

    def _timed(self, node: str, ask: Callable[[Client], Answer]) -> Answer:
        """One attempt, which must end in time unless its node was made to stand still; what it
        shows must not be older than what this client was shown before."""
        patience_s = _IMPATIENT_S if self.number % 2 else _PATIENT_S
        if node not in self._connections:
            self._connections[node] = self.nodes.client(node, patience_s)
        began_s, revision = time.monotonic(), self._revision
        try:
            answer = ask(self._connections[node])
        finally:
            ended_s = time.monotonic()
            late_s = ended_s - began_s - self.nodes.stood_still_s(node, began_s, ended_s)
            self._expect(late_s < CALL_S + SLACK_S, f"a call to {node} took {late_s:.1f} s")
        self._revision = answer.revision or 0
        self._expect(
            self._revision >= revision,
            f"client {self.number} saw revision {revision}, then {self._revision} on {node}",
        )
        return answer

    def _expect(self, kept: bool, promise: str) -> None:
        if not kept:
            self.history.broken(promise)


def _send(at: Client, kind: Kind, key: str, value: State, request_id: str) -> Answer:
    if kind is Kind.DELETE:
        return at.write("DELETE", path_of("jobs", key), request_id=request_id)
    body: Mapping[str, object] = {"spec": {"v": value}}
    expect = 0 if kind is Kind.CREATE else None
    return at.write("PUT", path_of("jobs", key), body, expect=expect, request_id=request_id)
