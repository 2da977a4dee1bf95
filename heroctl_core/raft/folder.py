"""The data folder of one node: who it is, which generation counts, and what is put away.

    lock  node.json  CURRENT  generations/<n>-<restore id>/{header.json, log/, dumps/}
    quarantine/  backups/  spool/  receipt.json  and the marks: left.json, frozen.json, ...

The change of a generation is one rename of CURRENT, so it works too where the folder is a mount
point. Marks are durable when they are set. docs/contracts.md, "Identity and folder".
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from .. import files
from ..clock import rfc3339
from ..errors import Damaged, NodeFault, UsageError
from .folder_checks import (
    FOLDERS,
    RECEIPT,
    make_folder,
    read_current,
    read_header,
    read_receipt,
    refuse_foreign,
    refuse_join,
    refuse_orphans,
    refuse_removed,
)
from .header import Header, header_from
from .identity import FILE, Identity, new_member_id, read_identity, write_identity
from .json_file import read_json, write_json
from .log import Log
from .membership import Configuration, MemberSpec
from .port import Generation

RESTORE: Final = "restore.json"  # the receipt inside the generation that it belongs to
KEPT_COPIES: Final = 3
KEPT_S: Final = 7 * 24 * 3600
# Marks that say something of one generation only.
_BOUND: Final = ("frozen", "contested", "confirmed", "removed")


class DataFolder:
    """An open, locked data folder, for one thread at a time."""

    new_id = staticmethod(new_member_id)  # the simulator has its own

    def __init__(self, path: Path, lock: files.DirLock, identity: Identity) -> None:
        self.path = path
        self._lock = lock
        self.identity = identity
        self._marks: dict[str, dict[str, Any] | None] = {}  # as on disk, once read
        self.header: Header | None = None
        self.reload()

    @classmethod
    def open(cls, path: str | Path, *, node_name: str, cluster_name: str) -> Self:
        """The folder, made when it does not exist; Busy when another process holds it."""
        path = Path(path).absolute()
        refuse_foreign(path)  # first: no lock is left in a folder that is not ours
        make_folder(path)
        lock = files.lock_dir(path)
        try:
            refuse_foreign(path)
            with files.faults(path):
                for name in FOLDERS:
                    (path / name).mkdir(mode=0o700, exist_ok=True)
            identity = read_identity(path)
            if identity is None:
                refuse_orphans(path)
                identity = Identity(node_name, cls.new_id(), cluster_name)
                write_identity(path, identity)
            if identity.cluster_name != cluster_name:
                raise UsageError(
                    f"{path} belongs to cluster {identity.cluster_name!r}, not {cluster_name!r}",
                    hint="set cluster.name to the folder's, or use another data folder",
                )
            if identity.node_name != node_name:
                identity = replace(identity, node_name=node_name)
                write_identity(path, identity)
            folder = cls(path, lock, identity)
            folder.tidy()
        except BaseException:
            lock.release()
            raise
        return folder

    @classmethod
    def open_existing(cls, path: str | Path) -> Self:
        """The folder as it is, for offline commands; UsageError when there is none."""
        path = Path(path).absolute()
        with files.faults(path):
            if not (path / FILE).is_file():
                raise UsageError(f"{path} is no data folder of HeroCtl", hint="check --data-dir")
        lock = files.lock_dir(path)
        try:
            identity = read_identity(path)
            if identity is None:
                raise UsageError(f"{path} is no data folder any more")
            return cls(path, lock, identity)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        self._lock.release()

    @property
    def member_id(self) -> str:
        return self.identity.member_id

    @property
    def generations(self) -> Path:
        return self.path / "generations"

    @property
    def generation_folder(self) -> Path:
        """The folder of the current generation."""
        if self.header is None:
            raise NodeFault(f"{self.path} holds no generation")
        return self.generations / self.header.folder_name

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def backups(self) -> Path:
        return self.path / "backups"

    def reload(self) -> None:
        """Reads CURRENT and the header again; Damaged when they do not fit each other. Other
        threads see the old header or the new one."""
        self.header = self._current_header()

    def _current_header(self) -> Header | None:
        current = self.path / "CURRENT"
        if not current.exists():
            if self.identity.cluster_id is not None and not self.is_leaving:
                raise Damaged(
                    f"{current} is missing, but this node belongs to a cluster",
                    hint=f"write the name of the newest folder in {self.generations} into it, or "
                    "move the data folder away and let this node join as a new member",
                )
            return None
        name = read_current(current)
        file = self.generations / name / "header.json"
        if not file.parent.exists() and self._promised_to_leave():
            return None  # killed between the rename and the rest; `tidy` goes on
        header = read_header(file)
        if header.folder_name != name:
            raise Damaged(f"{file} is the header of {header.folder_name}, CURRENT says {name}")
        return header

    # -- generations

    def found(self, cluster_name: str, members: Mapping[str, tuple[str, str]]) -> Header:
        """Makes generation 1 of a new cluster with `members` (id: name, address) as voters."""
        specs = {m: MemberSpec(name, address, voter=True) for m, (name, address) in members.items()}
        header = Header(
            cluster_id=self.new_id(),
            cluster_name=cluster_name,
            lineage=(Generation(1, self.new_id()[:16]),),
            members=Configuration(specs),
            origin="bootstrap",
            created_at=rfc3339(time.time_ns() // 1_000_000),
        )
        self._begin(header)
        return header

    def adopt(self, value: Mapping[str, Any]) -> Header:
        """Takes over the generation of the cluster that this node joins, with an empty log."""
        header = header_from({**value, "origin": "join"})
        self._begin(header)
        return header

    def _begin(self, header: Header) -> None:
        folder = self.generations / header.folder_name
        with files.faults(folder):
            shutil.rmtree(folder, ignore_errors=True)  # an attempt that never got to CURRENT
            folder.mkdir(mode=0o700)
            (folder / "dumps").mkdir(mode=0o700)
        Log.create(folder / "log").close()
        self.write_header(folder, header)
        self.make_current(header)

    def write_header(self, folder: Path, header: Header) -> None:
        """The last step that makes a generation's folder complete; durable with its parents."""
        write_json(folder / "header.json", header.to_value())
        files.fsync_dir(folder)
        files.fsync_dir(folder.parent)

    def make_current(self, header: Header) -> None:
        """The one rename that changes the generation."""
        if self.header is not None:
            _note_time(self.generation_folder)
        files.write_atomic(self.path / "CURRENT", f"{header.folder_name}\n".encode())
        self._marks.clear()
        self.reload()
        self._note_cluster()

    def _note_cluster(self) -> None:
        """Keeps node.json in step with the header, so that a lost CURRENT does not look like an
        empty folder."""
        cluster_id = None if self.header is None else self.header.cluster_id
        if self.identity.cluster_id != cluster_id:
            self.identity = replace(self.identity, cluster_id=cluster_id)
            write_identity(self.path, self.identity)

    def quarantine_generation(self) -> Path:
        """Puts the current generation away, so that the folder is empty for the next one: one
        rename, then a new member id. Killed in between, `open` goes on from there."""
        source = self.generation_folder
        quarantine = self.path / "quarantine"
        target = self._free_name(quarantine, source.name)
        _note_time(source)
        with files.faults(target):
            source.rename(target)
        files.fsync_dir(quarantine)
        files.fsync_dir(self.generations)
        self._finish_leaving()
        return target

    def _finish_leaving(self) -> None:
        with files.faults(self.path):
            (self.path / "CURRENT").unlink(missing_ok=True)
        files.fsync_dir(self.path)
        self.identity = replace(self.identity, member_id=self.new_id(), cluster_id=None)
        write_identity(self.path, self.identity)
        self.clear_mark("contested")
        self.clear_mark("frozen")
        self.reload()

    def _free_name(self, folder: Path, stem: str) -> Path:
        counter = 1
        while (folder / f"{stem}-{counter}").exists():
            counter += 1
        return folder / f"{stem}-{counter}"

    def join(self, address: str) -> None:
        """Notes the address of a member of the cluster that this empty folder shall join. Durable;
        RecoveryError for a folder that belongs to a cluster."""
        refuse_join(self.path, self.header, address)
        self.set_mark("join", {"address": address})

    # -- marks

    def set_mark(self, name: str, value: Mapping[str, Any]) -> None:
        """Durable when it returns. `of` tells which generation was current."""
        value = {**value, "of": None if self.header is None else self.header.restore_id}
        write_json(self.path / f"{name}.json", value)
        self._marks[name] = value

    def mark(self, name: str) -> dict[str, Any] | None:
        """A mark that is set, or None; one that is bound to another generation does not count."""
        if name not in self._marks:
            file = self.path / f"{name}.json"
            self._marks[name] = read_json(file) if file.exists() else None
        value = self._marks[name]
        if value is not None and name in _BOUND and not self._is_of_this_generation(value):
            return None
        return value

    def clear_mark(self, name: str) -> None:
        with files.faults(self.path):
            (self.path / f"{name}.json").unlink(missing_ok=True)
        files.fsync_dir(self.path)
        self._marks[name] = None

    def _is_of_this_generation(self, mark: Mapping[str, Any]) -> bool:
        return self.header is None or mark.get("of") == self.header.restore_id

    def mark_suspect(self, reason: str) -> None:
        """After a failed fsync: no start in this boot, for the page cache may show what is lost."""
        self.set_mark("suspect", {"boot_id": _boot_id(), "reason": reason})

    def left_marks(self) -> tuple[tuple[str, str], ...]:
        """(old member id, restore id that it left for), for the hello."""
        mark = self.mark("left")
        return ((str(mark["member_id"]), str(mark["restore_id"])),) if mark else ()

    def note_left(self, left: tuple[tuple[str, str], ...]) -> None:
        """Remembers who left the parent of our generation for us."""
        if self.header is None or not self.header.parent_voters:
            return
        ours = {m for m, restore_id in left if restore_id == self.header.restore_id}
        known = self._noted_left()
        if ours & self.header.parent_voters - known:
            value = {"restore_id": self.header.restore_id, "members": sorted(known | ours)}
            self.set_mark("parent_left", value)

    def parent_voters_left(self) -> frozenset[str]:
        """Who of the parent's voters can never vote there again: those who said so, and the
        restored node itself, whose folder serves the new generation."""
        if self.header is None:
            return frozenset()
        mine = {m for m, r in self.left_marks() if r == self.header.restore_id}
        return frozenset(self._noted_left() | mine | set(self.header.members.members))

    def _noted_left(self) -> set[str]:
        mark = self.mark("parent_left")
        if mark is None or self.header is None or mark["restore_id"] != self.header.restore_id:
            return set()
        return set(mark["members"])

    @property
    def is_leaving(self) -> bool:
        """Whether this member promised to leave its generation and is still the old member."""
        mark = self.mark("left")
        return mark is not None and self._promised_to_leave() and self._is_of_this_generation(mark)

    def _promised_to_leave(self) -> bool:
        mark = self.mark("left")
        return mark is not None and mark["member_id"] == self.member_id

    # -- at open

    def tidy(self) -> None:
        """Goes on where a kill interrupted, empties the spool, forgets what is old enough."""
        self.refuse_suspect()
        self.refuse_removed()
        self._complete_receipt()
        self.finish_leaving()
        self._note_cluster()
        with files.faults(self.spool):
            shutil.rmtree(self.spool, ignore_errors=True)  # a kill may come right behind it
            self.spool.mkdir(mode=0o700, exist_ok=True)
        for kept in (self.generations, self.path / "quarantine"):
            with files.faults(kept):
                self._forget_old(kept)

    def _complete_receipt(self) -> None:
        """A restore that was killed before its receipt has one from now on: once the node runs, the
        same archive again is a new restore."""
        inner = self.generation_folder / RESTORE if self.header is not None else None
        if inner is None or not inner.exists():
            return
        receipt = read_json(inner)
        if read_receipt(self.path).get("restore_id") != receipt.get("restore_id"):
            write_json(self.path / RECEIPT, receipt)

    def refuse_suspect(self) -> None:
        """NodeFault for a folder that is suspect since a failed write in this boot."""
        suspect = self.mark("suspect")
        if suspect is None:
            return
        if suspect.get("boot_id") == _boot_id():
            raise NodeFault(
                f"{self.path} is suspect since a failed write: {suspect.get('reason')}",
                hint="check the disk, reboot the machine, then start the node again",
            )
        self.clear_mark("suspect")

    def refuse_removed(self) -> None:
        """RecoveryError for the folder of a member that was removed from its cluster."""
        refuse_removed(self.path, self.identity.cluster_name, self.mark("removed"))

    def finish_leaving(self) -> None:
        """What a node that was killed while it left its generation still has to do."""
        if self.is_leaving:
            if self.header is not None:
                self.quarantine_generation()
            else:
                self._finish_leaving()

    def _forget_old(self, folder: Path) -> None:
        current = self.header.folder_name if self.header else ""
        old = [p for p in folder.iterdir() if p.name != current]
        old.sort(key=lambda p: p.stat().st_mtime, reverse=True)
        for path in old[KEPT_COPIES:]:
            if time.time() - path.stat().st_mtime > KEPT_S:
                shutil.rmtree(path)


def _note_time(folder: Path) -> None:
    """Marks a generation as put away now; the time it is kept counts from here."""
    with files.faults(folder):
        os.utime(folder)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
