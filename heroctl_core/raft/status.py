"""One published look at the engine: made on its thread, read by any other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..clock import Clock
from .engine import CANDIDATE, LEADER
from .node import RaftNode
from .port import Generation, Mode, RaftStatus

if TYPE_CHECKING:
    from .runtime import Runtime


@dataclass(frozen=True, slots=True)
class Observed:
    """A status and when it was true (monotonic seconds)."""

    at_s: float
    value: RaftStatus

    @classmethod
    def at(cls, clock: Clock) -> Observed:
        """Before the first turn."""
        value = RaftStatus("", "starting", None, 0, 0, 0, 0, 0, Mode.STARTING, clock.time_ms(),
                           0.0, math.inf, "starting")  # fmt: skip
        return cls(clock.monotonic_s(), value)

    def status(self, clock: Clock) -> RaftStatus:
        """The status with its ages as of now."""
        age_s = clock.monotonic_s() - self.at_s
        value = self.value
        contact = 0.0 if value.role == "leader" and value.mode is not Mode.READ_ONLY else age_s
        return replace(value, tick_age_s=age_s, last_contact_s=value.last_contact_s + contact)


def observe(runtime: Runtime, before: Observed, now_s: float, time_ms: int) -> Observed:
    """What to publish now; the time of the mode is kept while the mode stays."""
    node, header = runtime.node, runtime.header
    mode = Mode.READ_ONLY if runtime.has_ended or runtime.lacks_room else _mode(node)
    old = before.value
    value = RaftStatus(
        member_id=runtime.member_id,
        role="stopped" if runtime.has_ended else _role(node),
        leader_id=node.leader_id if node else None,
        term=node.core.term if node else 0,
        commit_index=node.core.commit_index if node else 0,
        applied_index=node.core.applied_index if node else 0,
        first_index=node.log.entries[0][1] if node else 0,
        last_index=node.log.entries[-1][1] if node else 0,
        mode=mode,
        mode_since_ms=old.mode_since_ms if old.mode is mode else time_ms,
        tick_age_s=0.0,
        last_contact_s=stale_for_s(node, now_s),
        fencing=_fencing(runtime, node),
        members=node.members() if node else (),
        lineage=tuple(Generation(g.number, g.restore_id) for g in header.lineage) if header else (),
        cluster_id=header.cluster_id if header else "",
        warnings=runtime.warnings,
        leader_changes=node.leader_changes if node else 0,
        failed_installs=node.compaction.failed_installs if node else 0,
        peers_cut_off=runtime.peers_cut_off,
    )
    return Observed(now_s, value)


def _mode(node: RaftNode | None) -> Mode:
    if node is None:
        return Mode.STARTING
    if node.suspended is not None:
        return Mode.READ_ONLY
    if not node.may_vote:
        return Mode.STARTING
    if not node.has_quorum():
        return Mode.READ_ONLY
    voters = node.configuration.voters
    if node.leading:
        recent = node.replication.recently(node.clock.monotonic_s(), node.timing.election_timeout_s)
        # Not connected is known at once, silent only after a while.
        present = recent & node.connected
        return Mode.NORMAL if voters <= present | {node.member_id} else Mode.DEGRADED
    return Mode.NORMAL if voters <= node.connected | {node.member_id} else Mode.DEGRADED


def _role(node: RaftNode | None) -> str:
    if node is None or not node.may_vote:
        return "starting"
    if node.core.state == LEADER:
        return "leader"
    if node.member_id not in node.configuration.voters:
        return "learner"
    return "candidate" if node.core.state == CANDIDATE else "follower"


def _fencing(runtime: Runtime, node: RaftNode | None) -> str:
    if runtime.standing.contested is not None:
        return "contested"
    if node is not None and node.suspended is not None:
        return "suspended"
    if node is None or not node.may_vote:
        return "starting"
    return "serving" if runtime.standing.confirmed else "unconfirmed"


def stale_for_s(node: RaftNode | None, now_s: float) -> float:
    """How many seconds a stale read here may be behind; an election timeout more on a leader that
    does not know yet that another one is elected."""
    if node is None:
        return math.inf
    if node.leading and node.leadership.shows_commits() and node.has_quorum():
        return 0.0
    return now_s - node.freshness.shown_s
