"""Where a restore writes: a data folder whose node is stopped, or frozen.

The new generation grows in the spool, which every start empties, and is moved to its place in one
rename. So a killed restore leaves nothing that anybody could take for a generation.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from .. import files
from ..clock import rfc3339
from ..crypto.keys import BackupKey
from ..errors import ArchiveError, FileFault, NodeFault, RecoveryError
from ..recovery.facts import Present
from ..recovery.plan import RestorePlan
from ..recovery.port import Stored
from ..state.machine import DumpState
from .dump import write_dump
from .fence import is_confirmed
from .folder import RESTORE, DataFolder
from .folder_checks import RECEIPT, read_receipt
from .header import Header
from .json_file import read_json, write_json
from .log import Log
from .membership import Configuration, MemberSpec
from .port import Generation
from .stored import StoredState, read_stored

FIRST_INDEX: Final = 2  # never the anchor (1, 0) that an empty log has
FIRST_TERM: Final = 1


class FolderTarget:
    """A data folder as recovery/port.RestoreTarget. `folder` is None where there is none yet, and
    `make` then makes it; `address` is where other members will reach this node."""

    def __init__(
        self,
        folder: DataFolder | None,
        make: Callable[[], DataFolder],
        *,
        node_name: str,
        cluster_name: str,
        address: str | None,
        wrapping: Callable[[], BackupKey],
        runs: bool = False,
    ) -> None:
        """`runs` when this is the folder of the running node that restores itself."""
        self._folder = folder
        self._make = make
        self._node_name = node_name
        self._cluster_name = cluster_name
        self._address = address
        self._wrapping = wrapping
        self._runs = runs

    @property
    def _open(self) -> DataFolder:
        if self._folder is None:
            raise NodeFault("the data folder is not open")
        return self._folder

    @property
    def spool(self) -> Path:
        return self._open.spool

    @property
    def backups(self) -> Path:
        return self._open.backups

    def wrapping_key(self) -> BackupKey:
        """See the port."""
        return self._wrapping()

    # -- looking

    def stored(self) -> Stored:
        """See the port."""
        folder = self._folder
        if folder is None:
            return Stored(Present(self._node_name, "", self._cluster_name))
        if folder.header is None:
            return Stored(self._facts(folder, None))
        try:
            state = read_stored(folder.generation_folder, folder.header, include_uncommitted=True)
        except (ArchiveError, NodeFault, FileFault) as error:
            return Stored(self._facts(folder, None, unreadable=str(error)))
        facts = self._facts(folder, state)
        return Stored(facts, state.machine.view(), state.index, state.term)

    def _facts(
        self, folder: DataFolder, state: StoredState | None, unreadable: str | None = None
    ) -> Present:
        header, identity = folder.header, folder.identity
        receipt = read_receipt(folder.path)
        if header is None:
            return Present(
                identity.node_name,
                identity.member_id,
                identity.cluster_name,
                receipt=receipt,
                runs=self._runs,
            )
        members = header.members if state is None else state.configuration
        fence, term, index = _fence(folder, header, members, state)
        view = None if state is None else state.machine.view()
        return Present(
            node_name=identity.node_name,
            member_id=identity.member_id,
            cluster_name=identity.cluster_name,
            cluster_id=header.cluster_id,
            lineage=tuple((g.number, g.restore_id) for g in header.lineage),
            members=members,
            fence=fence,
            known_term=term,
            known_index=index,
            uncommitted=0 if state is None else state.uncommitted,
            revision=0 if view is None else view.revision,
            epoch=0 if view is None else view.epoch,
            time_ms=0 if view is None else view.time_ms,
            counts={} if view is None else {kind: view.count(kind) for kind in view.kinds},
            unreadable=unreadable,
            receipt=receipt,
            unfinished=_unfinished(folder, receipt),
            untouched=state is not None and _is_untouched(header, state),
            runs=self._runs,
        )

    # -- writing

    def prepare(self) -> None:
        """See the port."""
        if self._folder is None:
            self._folder = self._make()
            if self._folder.header is not None:
                raise RecoveryError(
                    f"{self._folder.path} was empty when this was planned and is not any more",
                    hint="run it again: the new plan says what would be lost",
                )
        else:
            self._folder.refuse_suspect()
            self._folder.finish_leaving()
        for path in (self.spool, self.backups, self._open.generations):
            with files.faults(path):
                path.mkdir(mode=0o700, exist_ok=True)

    def stage(self, plan: RestorePlan, state: DumpState) -> None:
        """See the port."""
        header = self._header(plan)
        staged = self.spool / header.folder_name
        with files.faults(staged):
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(mode=0o700)
            (staged / "dumps").mkdir(mode=0o700)
        ref = write_dump(
            staged / "dumps",
            lineage=header.lineage,
            index=FIRST_INDEX,
            term=FIRST_TERM,
            configuration=header.members.encode(),
            state=state,
            pause=lambda: None,
        )
        Log.create(staged / "log", dump=ref).close()
        write_json(staged / RESTORE, plan.receipt())
        write_json(staged / "header.json", header.to_value())  # syncs the names beside it too
        files.give_to_owner(staged, self._open.path)

    def publish(self, plan: RestorePlan) -> None:
        """See the port."""
        name = f"{plan.generation}-{plan.restore_id}"
        target = self._open.generations / name
        with files.faults(target):
            (self.spool / name).rename(target)
        files.fsync_dir(target.parent)
        files.fsync_dir(self.spool)

    def switch(self, plan: RestorePlan) -> None:
        """See the port."""
        self._open.make_current(self._header(plan))
        files.give_to_owner(self._open.path, self._open.path)

    def write_receipt(self, receipt: Mapping[str, Any]) -> None:
        """See the port."""
        write_json(self._open.path / RECEIPT, receipt)
        files.give_to_owner(self._open.path, self._open.path)

    def _header(self, plan: RestorePlan) -> Header:
        me = self._open.identity
        address = self._address or _address_of(plan, me.member_id)
        members = {me.member_id: MemberSpec(me.node_name, address, voter=True)}
        return Header(
            cluster_id=plan.cluster_id,
            cluster_name=plan.cluster_name,
            lineage=tuple(Generation(number, restore_id) for number, restore_id in plan.lineage),
            members=Configuration(members),
            origin="restore",
            created_at=rfc3339(plan.now_ms),
            parent=plan.parent,
            known_term=plan.present.known_term if plan.parent.members else 0,
            known_index=plan.present.known_index if plan.parent.members else 0,
        )


def _address_of(plan: RestorePlan, member_id: str) -> str:
    """The address under which the present members know this node."""
    spec = plan.present.members.members.get(member_id)
    return "" if spec is None else spec.address


def _fence(
    folder: DataFolder, header: Header, members: Configuration, state: StoredState | None
) -> tuple[Configuration, int, int]:
    """The voters that must not go on beside the new generation, and what this node knew of them.

    A restore over one that is not confirmed yet keeps that one's parent: its old voters may still
    come back, and this node alone being the present generation says nothing about them.
    """
    if not is_confirmed(folder):
        return header.parent, header.known_term, header.known_index
    voters = Configuration({m: s for m, s in members.members.items() if s.voter})
    if state is None:
        return voters, 0, 0
    return voters, state.last_term, state.last_index


def _is_untouched(header: Header, state: StoredState) -> bool:
    """Whether no node was started on a restored generation: its first act is a log entry."""
    return header.origin == "restore" and state.last_index == FIRST_INDEX


def _unfinished(folder: DataFolder, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt in the current generation that the folder's own does not have yet."""
    path = folder.generation_folder / RESTORE
    inner = read_json(path) if path.exists() else {}
    return {} if inner.get("restore_id") == receipt.get("restore_id") else inner
