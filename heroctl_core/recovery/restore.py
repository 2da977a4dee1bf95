"""A restore or a forced bootstrap: look, plan, execute; every step may be killed and run again.

The order makes it so: the new generation is written where nothing looks, moved in one rename, and
counts from the rename of CURRENT on. Until then the old state is untouched, and it stays on disk
afterwards. Knows folders only through recovery/port.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..backup.save import counts_of, keyring_of, write_view
from ..clock import Clock
from ..crypto.keys import BackupKey
from ..errors import HeroctlError, RecoveryError
from ..snapshot.archive import Archive
from ..snapshot.manifest import ManifestHeader
from ..state.invariants import violations
from ..state.machine import View
from .compare import losses, revived_tokens
from .content import Content, read_content, state_for
from .facts import ArchiveFacts, Options, Peer
from .plan import NOT_IN_ARCHIVE, RestorePlan, make_plan
from .port import RestoreTarget, Stored

Probe = Callable[[Sequence[str]], Sequence[Peer]]  # addresses → the nodes that answer there
Step = Callable[[str], None]
STEPS: Final = ("prepare", "stage", "safety copy", "publish", "switch", "receipt")
_WARNINGS: Final = 5  # sentences about violations that are shown


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was done. `finished` when an earlier run had done it, maybe all but its last step."""

    receipt: Mapping[str, Any]
    plan: RestorePlan
    safety_copy: Path | None = None
    no_safety_copy: str | None = None
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """For the API and for -o json."""
        return {
            **shown_plan(self.plan),
            "receipt": dict(self.receipt),
            "safety_copy": None if self.safety_copy is None else str(self.safety_copy),
            "no_safety_copy": self.no_safety_copy,
            "finished": self.finished,
        }


class Restore:
    """One restore of one archive into one target. `plan` first, then `execute`."""

    def __init__(
        self,
        archive: Archive,
        path: str,
        target: RestoreTarget,
        keys: Sequence[BackupKey],
        options: Options,
        clock: Clock,
        probe: Probe,
        peers: Sequence[str] = (),
    ) -> None:
        """`keys` open archive and folder; `peers` are addresses to ask beside those that the
        folder knows."""
        self._archive = archive
        self._path = path
        self._target = target
        self._keys = list(keys)
        self._options = options
        self._clock = clock
        self._probe = probe
        self._peers = peers
        self._content: Content | None = None
        self._stored: Stored | None = None

    def plan(self, *, thorough: bool = False) -> RestorePlan:
        """Reads and verifies everything and asks the peers; changes nothing. ArchiveError, NoKey,
        WrongKey when the archive cannot be used. `thorough` also looks for rows that a sound state
        would not have, which takes as long as all the rest: for a dry run."""
        content = self._content = read_content(self._archive, self._keys)
        stored = self._stored = self._target.stored()
        now_ms, restored = self._clock.time_ms(), content.view
        return make_plan(
            self._facts(restored),
            stored.facts,
            self._probe(self._addresses(stored)),
            self._options,
            restore_id=secrets.token_hex(8),
            now_ms=now_ms,
            losses=losses(stored.view, restored),
            revived_tokens=revived_tokens(stored.view, restored, now_ms),
            warnings=tuple(violations(restored)[:_WARNINGS]) if thorough else (),
        )

    def execute(self, plan: RestorePlan, step: Step = lambda _: None) -> RestoreReport:
        """Does what the plan says; RecoveryError for one with refusals. `step` hears of each of
        STEPS before it is done."""
        if plan.refusals:
            first = plan.refusals[0]
            raise RecoveryError(first.message, hint=first.hint)
        if plan.is_finishing:
            self._target.write_receipt(plan.done)
            return RestoreReport(plan.done, plan, finished=True)
        content, stored = self._looked_up()
        step("prepare")
        self._target.prepare()
        step("stage")
        sealed = content.keyring is not None
        state = state_for(
            content,
            self._target.wrapping_key() if sealed else None,
            revision=plan.revision,
            epoch=plan.epoch,
            time_ms=plan.time_ms,
            revoke_tokens=plan.options.revoke_tokens,
        )
        self._target.stage(plan, state)
        step("safety copy")
        copy, why_not = self._safety_copy(plan, stored)
        step("publish")
        self._target.publish(plan)
        step("switch")
        self._target.switch(plan)
        step("receipt")
        self._target.write_receipt(plan.done)
        return RestoreReport(plan.done, plan, copy, why_not)

    def _looked_up(self) -> tuple[Content, Stored]:
        if self._content is None or self._stored is None:
            raise RecoveryError("a restore is executed after it was planned")
        return self._content, self._stored

    def _facts(self, view: View) -> ArchiveFacts:
        outline = self._archive.outline
        return ArchiveFacts(
            self._options.archive_name or self._path,
            outline.sha256,
            outline.size_bytes,
            outline.manifest.header,
            outline.manifest.encryption is not None,
            counts_of(view),
        )

    def _addresses(self, stored: Stored) -> list[str]:
        """Everybody who may serve the cluster that is about to be replaced."""
        facts = stored.facts
        known = {
            spec.address
            for configuration in (facts.members, facts.fence)
            for member_id, spec in configuration.members.items()
            if member_id != facts.member_id and spec.address
        }
        return sorted(known | set(self._peers))

    def _safety_copy(self, plan: RestorePlan, stored: Stored) -> tuple[Path | None, str | None]:
        """The present state as a verified archive, or why there is none; the old generation stays
        in the folder in any case."""
        view = stored.view
        if view is None:
            return None, stored.facts.unreadable or "the folder was empty"
        if not self._keys:
            return None, "no backup key was given"
        target = self._target.backups / (
            f"before-restore-{plan.generation}-{plan.restore_id}.tar.gz"
        )
        try:
            write_view(
                target,
                view,
                _header_of(stored, view, plan.now_ms),
                self._keys[0],
                keyring_of(view, self._keys),
                self._target.spool,
                overwrite=True,
            )
        except HeroctlError as error:  # reported; the state itself is not touched
            return None, str(error)
        return target, None


def shown_plan(plan: RestorePlan) -> dict[str, Any]:
    """The plan as the API and the command line show it; keys are stable."""
    head = plan.archive.header
    return {
        "archive": plan.archive.path,
        "archive_sha256": plan.archive.sha256,
        "archive_created_at": head.created_at,
        "archive_node": head.node,
        "age_s": plan.age_s,
        "stale": head.stale,
        "cluster": plan.cluster_name,
        "cluster_id": plan.cluster_id,
        "foreign": plan.is_foreign,
        "generation": plan.done["generation"],
        "restore_id": plan.done["restore_id"],
        "revision": plan.done["revision"],
        "archive_revision": head.revision,
        "present_revision": plan.present.revision,
        "epoch": plan.present.epoch if plan.is_finishing else plan.epoch,
        "restored_at": plan.done["restored_at"],
        "counts": dict(plan.archive.counts),
        "present_counts": dict(plan.present.counts),
        "lost": [
            {"kind": x.kind, "dropped": x.dropped, "changed": x.changed, "returned": x.returned}
            for x in plan.losses
        ],
        "revived_tokens": plan.revived_tokens,
        "not_in_archive": list(NOT_IN_ARCHIVE),
        "warnings": list(plan.warnings),
        "refusals": [{"message": r.message, "hint": r.hint} for r in plan.refusals],
        "next_steps": list(plan.next_steps),
    }


def _header_of(stored: Stored, view: View, now_ms: int) -> ManifestHeader:
    facts = stored.facts
    return ManifestHeader(
        cluster_name=facts.cluster_name,
        cluster_id=facts.cluster_id or "",
        lineage=facts.lineage,
        epoch=view.epoch,
        revision=view.revision,
        raft_index=stored.index,
        raft_term=stored.term,
        created_ms=now_ms,
        time_ms=view.time_ms,
        node=facts.node_name,
        stale=True,  # nobody confirmed that this copy was complete
    )
