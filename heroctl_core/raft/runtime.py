"""The engine's thread: network, member and data folder of one node, over all its generations.

The adapter behind raft/port.Replicator. It owns what RaftNode must not know: the loop, the folder,
and the change from one generation to the next; what follows from other nodes is for
raft/standing.py. An exception in the loop releases nothing and stops the node, loudly.
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from ..clock import Clock
from ..errors import (
    HeroctlError,
    LogFault,
    LogFull,
    NodeFault,
    ReadOnly,
    RecoveryError,
)
from ..state.machine import StateMachine
from ..state.outcome import Outcome
from . import forks, generation
from .calls import Calls, failed
from .credentials import Trust
from .folder import DataFolder
from .hand_over import hand_over
from .header import Header
from .neighbours import RaftSettings
from .node import RaftNode, Timing
from .port import Member, Order, RaftStatus
from .reply import Reply
from .room import Room
from .standing import Standing
from .status import Observed, observe
from .transport import Transport
from .visitors import Visitors

__all__ = ["RaftSettings", "Runtime"]

T = TypeVar("T")
_LOOK_S: Final = 0.05  # how often the situation is looked at

log = logging.getLogger("heroctl.raft")


class Runtime:
    """One node, running. Methods may be called from any thread unless they say otherwise."""

    def __init__(
        self, folder: DataFolder, settings: RaftSettings, clock: Clock, trust: Trust
    ) -> None:
        """Opens log and dump; NodeFault, Damaged and the like when they cannot be used."""
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._transport = Transport(settings.listen, Visitors(self, clock), clock, trust)
        self._address = settings.advertise or self._transport.address
        self._standing = Standing(self, folder, settings, self._address)
        self._rng = random.Random(os.urandom(16))
        self._room = Room(folder.path)
        self._calls = Calls(self._transport.wake)
        self._node: RaftNode | None = None
        self._machine = StateMachine()  # while no node runs
        self._look_s = self._wait_s = 0.0
        self._closing = self._stopping = False
        self._ended = False
        self._frozen = False  # a forced bootstrap is under way
        self._fault: HeroctlError | None = None
        self._check: Callable[[], object] = lambda: None
        self._listener: Callable[[], None] = lambda: None
        self._told: tuple[object, int] = (None, 0)  # history and revision
        self._observed = Observed.at(clock)
        self._thread = threading.Thread(target=self._run, name="heroctl-raft", daemon=True)
        try:
            self._open_generation()
            self._look_around()
        except BaseException:
            self.close_generation()
            self._transport.close()
            raise
        forks.watch(self)

    def start(self, check: Callable[[], object] = lambda: None) -> None:
        """Starts the thread. `check` is called on it now and then, and raises a HeroctlError for a
        state that this node cannot serve, which stops it: secrets under another key."""
        self._check = check
        self._transport.accept_connections()
        self._thread.start()

    # -- the port

    @property
    def machine(self) -> StateMachine:
        node = self._node
        return node.machine if node is not None else self._machine

    @property
    def address(self) -> str:
        """Where other members reach this node."""
        return self._address

    @property
    def fault(self) -> HeroctlError | None:
        """Why the node stopped itself, or None."""
        return self._fault

    def propose(self, command: bytes, request_id: bytes) -> Future[Outcome]:
        """See Replicator.propose."""
        node = self._taking_calls()
        return node.propose(command, request_id) if node else failed(self._not_serving())

    def write(self, command: bytes, request_id: bytes, timeout_s: float) -> Outcome:
        """See Replicator.write."""
        node = self._taking_calls()
        if node is None:
            raise self._not_serving()
        return node.submit(command, request_id, Reply()).result(timeout_s)

    def time_ms(self) -> int:
        """See Replicator.time_ms."""
        node = self._node
        return node.time_ms() if node is not None else self._clock.time_ms()

    def read_barrier(self) -> Future[int]:
        """See Replicator.read_barrier."""
        node = self._taking_calls()
        return node.reads.submit() if node else failed(self._not_serving())

    def ask_leader(self, order: Order, member: str = "") -> Future[tuple[Member, ...]]:
        """See Replicator.ask_leader."""
        node = self._taking_calls()
        return node.orders.submit(order, member) if node else failed(self._not_serving())

    def _taking_calls(self) -> RaftNode | None:
        self._calls.refuse_fork()
        return None if self._fault is not None or self._closing else self._node

    def on_change(self, listener: Callable[[], None]) -> None:
        """See Replicator.on_change."""
        self._listener = listener

    def call(self, function: Callable[[], T]) -> Future[T]:
        """See Replicator.call."""
        return self._calls.submit(function)

    def status(self) -> RaftStatus:
        """The newest published look."""
        return self._observed.status(self._clock)

    def close(self) -> None:
        """Hands over when this node leads, stops the thread, closes log and sockets. Idempotent."""
        self._closing, node = True, self._node
        if node is not None and self._thread.is_alive():
            hand_over(node, self.call)
        self._stopping = True
        if self._thread.ident is None:  # never started
            self._end()
        elif self._thread.is_alive():
            self._transport.wake()
            self._thread.join()

    def leave_to_parent(self) -> None:
        """In a fork, where no thread runs: every call is refused, nothing is held."""
        if not self._ended:
            self._ended = True
            self._transport.leave_to_parent()

    # -- for a forced bootstrap of a running node (recovery.md); on the engine's thread

    def freeze(self, reason: str) -> None:
        """Takes no part in this generation from now on, durably. RecoveryError with a quorum."""
        node = self._node
        if node is None:
            raise RecoveryError("this node has not joined a cluster yet")
        if node.may_vote and node.has_quorum():
            raise RecoveryError("this node has a quorum again", hint="nothing has to be forced")
        node.log.sync_commit()  # first: where that fails, nothing is frozen
        self._folder.set_mark("frozen", {"reason": reason})
        self._frozen = True
        node.suspend(reason)
        self._transport.close_all()

    def thaw(self) -> None:
        """Goes on in the generation that CURRENT names: the next one, or the same after an
        error. A node that cannot stops itself; one that is not frozen is left alone."""
        if not self._frozen:
            return
        try:
            self._folder.clear_mark("frozen")
            self.reopen()
        except HeroctlError as error:
            self._stop_for(error)
            raise

    # -- changes of generation; on the engine's thread

    def reopen(self) -> None:
        """Goes on in the generation that CURRENT names."""
        self._frozen = False
        self.close_generation()
        self._folder.reload()
        self._open_generation()
        self._look_around()

    def close_generation(self) -> None:
        """Ends the node and closes its log."""
        if self._node is not None:
            self._node.stop(self._not_serving)
            self._node.close()
            self._node = None

    def look_soon(self) -> None:
        """The situation has changed: it is looked at in this turn."""
        self._look_s = 0.0

    def drop(self, member_id: str) -> None:
        """Ends the connections with one member."""
        self._transport.drop(member_id)

    def hang_up(self) -> None:
        """Ends all connections; they come back with a new hello."""
        self._transport.close_all()

    def _open_generation(self) -> None:
        """The node of the generation that CURRENT names; none in an empty folder."""
        settings = self._settings
        if self._folder.header is None and self._standing.founds_alone:
            self._standing.found([])
        if self._folder.header is None:
            return
        self._node = generation.open_node(
            self._folder,
            clock=self._clock,
            rng=self._rng,
            timing=Timing(settings.election_timeout_s),
            transport=self._transport,
        )
        if self._folder.mark("frozen") is not None:
            # Killed in a forced bootstrap before CURRENT was changed: nobody saw the next
            # generation, so this one goes on.
            self._folder.clear_mark("frozen")

    def _look_around(self) -> None:
        self._transport.close_all()
        self._standing.begin(self._clock.monotonic_s())
        self._transport.dial(self._standing.addresses())
        self._look_s = 0.0

    # -- the loop

    def _run(self) -> None:
        try:
            while not self._stopping and self._fault is None:
                try:
                    self._turn()
                except LogFull as error:
                    self._wait_for_room(error)
            if self._node is not None and self._fault is None:
                self._node.log.sync_commit()
        except HeroctlError as error:
            self._stop_for(error)
        except Exception as error:  # the node stops, and says why
            log.exception("the engine stopped")
            self._stop_for(NodeFault(f"the engine stopped: {error!r}"))
        finally:
            self._end()

    def _end(self) -> None:
        """Everything that waits ends, whatever the disk says to it."""
        self._machine = self.machine  # what was read until now can still be read as stale
        try:
            self.close_generation()
        except (HeroctlError, OSError):
            log.exception("the log was not closed cleanly")
        self._ended = True
        self._calls.end(self._not_serving)
        self._transport.close()
        now = self._clock.monotonic_s()
        self._observed = observe(self, self._observed, now, self._clock.time_ms())

    def _wait_for_room(self, error: LogFull) -> None:
        """The node takes no part, as after a power cut, until the disk has room: what was not
        synced does not count, and nothing was promised of it."""
        log.critical("%s: this node is read-only until there is room", error)
        self._room.lost(error, self._clock.monotonic_s())
        self._machine = self.machine  # for stale reads
        self.close_generation()
        self._transport.close_all()

    def _turn(self) -> None:
        if self._room.is_back(self._clock.monotonic_s()):
            self.reopen()
            self._room.missing = None
            log.warning("there is room for the log again: this node takes part")
        self._transport.poll(self._wait_s)
        self._calls.run()
        if self._node is not None:
            self._wait_s = self._node.turn()
        else:
            self._wait_s = _LOOK_S
        machine = self.machine
        if self._told != (shown := (machine.history, machine.revision)):
            self._told = shown
            self._listener()
        now = self._clock.monotonic_s()
        leading = self._node is not None and self._node.leading
        if now >= self._look_s or leading != (self._observed.value.role == "leader"):
            self._look_s = now + _LOOK_S
            self._look(now)
        if self._node is None or not self._node.may_vote:
            self._wait_s = min(self._wait_s, _LOOK_S)

    def _look(self, now: float) -> None:
        """Sees who is there, does what follows, publishes the status."""
        self._check()
        if self._frozen:  # a restore writes into the folder: what follows is looked at after it
            self._standing.note(now)
        else:
            self._standing.look(now)
            self._transport.dial(self._standing.addresses())
        self._observed = observe(self, self._observed, now, self._clock.time_ms())

    def _stop_for(self, error: HeroctlError) -> None:
        self._fault = error
        log.critical("this node stopped itself: %s", error)
        if self._node is not None:
            self._node.stop(self._not_serving)
        if isinstance(error, LogFault):
            try:
                self._folder.mark_suspect(str(error))
            except HeroctlError as second:  # the same disk: what stopped the node matters more
                log.critical("the folder could not be marked as suspect: %s", second)

    def _not_serving(self) -> HeroctlError:
        if self._fault is not None:
            return NodeFault(str(self._fault), hint=self._fault.hint)
        if self._closing:
            what = "closed: open it again" if self._ended else "stopping"
            return NodeFault(f"this node is {what}", hint="ask another node")
        if self._room.missing is not None:
            return ReadOnly(str(self._room.missing), hint=self._room.missing.hint)
        return ReadOnly(
            f"node {self._settings.node_name} has not joined a cluster yet",
            hint="check raft.peers and cluster.bootstrap_expect; heroctl status shows who answers",
        )

    # -- for status.observe

    @property
    def node(self) -> RaftNode | None:
        return self._node

    @property
    def peers_cut_off(self) -> int:
        return self._transport.cut_off

    @property
    def header(self) -> Header | None:
        return self._folder.header

    @property
    def member_id(self) -> str:
        return self._folder.member_id

    @property
    def lacks_room(self) -> bool:
        return self._room.missing is not None

    @property
    def has_ended(self) -> bool:
        return self._ended

    @property
    def standing(self) -> Standing:
        """On the engine's thread only, but for what status.py reads."""
        return self._standing

    @property
    def warnings(self) -> tuple[str, ...]:
        own = [str(error) for error in (self._fault, self._room.missing) if error]
        own += self._node.warnings if self._node is not None else []
        return (*own, *self._standing.warnings)
