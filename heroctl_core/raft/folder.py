"""The data folder of one node: who it is, which generation counts, and what is put away.

    lock  node.json  CURRENT  generations/<n>-<restore id>/{header.json, log/, dumps/}
    quarantine/  backups/  spool/  receipt.json  and the marks: left.json, frozen.json, ...

The change of a generation is one rename of CURRENT, so it works too where the folder is a mount
point. Marks are durable when they are set. docs/contracts.md, "Identity and folder".
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from .. import files
from ..clock import rfc3339
from ..errors import Damaged, NodeFault, UnsupportedVersion, UsageError
from .header import Header, header_from
from .log import Log
from .membership import Configuration, MemberSpec
from .port import Generation

FORMAT: Final = 1
KEPT_COPIES: Final = 3
KEPT_S: Final = 7 * 24 * 3600
_FOLDERS: Final = ("generations", "quarantine", "backups", "spool")
_KNOWN: Final = {"lock", "node.json", "CURRENT", "receipt.json", "cluster.key", "token"}
_JSON_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """node.json: which member this folder is."""

    node_name: str
    member_id: str
    cluster_name: str


class DataFolder:
    """An open, locked data folder, for one thread at a time."""

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
        _make(path)
        lock = files.lock_dir(path)
        try:
            _refuse_foreign(path)
            for name in _FOLDERS:
                (path / name).mkdir(mode=0o700, exist_ok=True)
            identity = _identity(path) or _new_identity(path, node_name, cluster_name)
            if identity.cluster_name != cluster_name:
                raise UsageError(
                    f"{path} belongs to cluster {identity.cluster_name!r}, not {cluster_name!r}",
                    hint="set cluster.name to the folder's, or use another data folder",
                )
            if identity.node_name != node_name:
                identity = Identity(node_name, identity.member_id, cluster_name)
                _write_identity(path, identity)
            folder = cls(path, lock, identity)
            folder._tidy()
        except BaseException:
            lock.release()
            raise
        return folder

    @classmethod
    def open_existing(cls, path: str | Path) -> Self:
        """The folder as it is, for offline commands; UsageError when there is none."""
        path = Path(path).absolute()
        if not (path / "node.json").is_file():
            raise UsageError(f"{path} is no data folder of HeroCtl", hint="check --data-dir")
        lock = files.lock_dir(path)
        try:
            identity = _identity(path)
            assert identity is not None
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
    def generation_folder(self) -> Path:
        """The folder of the current generation."""
        assert self.header is not None
        return self.path / "generations" / self.header.folder_name

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def backups(self) -> Path:
        return self.path / "backups"

    def reload(self) -> None:
        """Reads CURRENT and the header again; NodeFault for a suspect folder."""
        self.header = None
        current = self.path / "CURRENT"
        if not current.exists():
            return
        name = current.read_text(encoding="utf-8").strip()
        file = self.path / "generations" / name / "header.json"
        if not file.parent.exists() and self._is_leaving():
            return  # killed between the rename and the rest; `open` goes on
        self.header = _read_header(file)
        if self.header.folder_name != name:
            raise Damaged(f"{file} is the header of {self.header.folder_name}, CURRENT says {name}")

    # -- generations

    def found(self, cluster_name: str, members: Mapping[str, tuple[str, str]]) -> Header:
        """Makes generation 1 of a new cluster with `members` (id: name, address) as voters."""
        specs = {m: MemberSpec(name, address, voter=True) for m, (name, address) in members.items()}
        header = Header(
            cluster_id=secrets.token_hex(16),
            cluster_name=cluster_name,
            lineage=(Generation(1, secrets.token_hex(8)),),
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
        folder = self.path / "generations" / header.folder_name
        shutil.rmtree(folder, ignore_errors=True)  # an attempt that never got to CURRENT
        (folder / "dumps").mkdir(mode=0o700, parents=True)
        Log.create(folder / "log").close()
        self.write_header(folder, header)
        self.make_current(header)

    def write_header(self, folder: Path, header: Header) -> None:
        """The last step that makes a generation's folder complete; durable with its parents."""
        _write_json(folder / "header.json", header.to_value())
        files.fsync_dir(folder)
        files.fsync_dir(folder.parent)

    def make_current(self, header: Header) -> None:
        """The one rename that changes the generation."""
        files.write_atomic(self.path / "CURRENT", f"{header.folder_name}\n".encode())
        self.reload()

    def quarantine_generation(self) -> Path:
        """Puts the current generation away, so that the folder is empty for the next one: one
        rename, then a new member id. Killed in between, `open` goes on from there."""
        assert self.header is not None
        target = self._free_name(self.path / "quarantine", self.header.folder_name)
        self.generation_folder.rename(target)
        files.fsync_dir(self.path / "quarantine")
        files.fsync_dir(self.path / "generations")
        self._finish_leaving()
        return target

    def _finish_leaving(self) -> None:
        (self.path / "CURRENT").unlink(missing_ok=True)
        files.fsync_dir(self.path)
        identity = self.identity
        self.identity = Identity(identity.node_name, _new_member_id(), identity.cluster_name)
        _write_identity(self.path, self.identity)
        self.clear_mark("contested")
        self.clear_mark("frozen")
        self.reload()

    def _free_name(self, folder: Path, stem: str) -> Path:
        counter = 1
        while (folder / f"{stem}-{counter}").exists():
            counter += 1
        return folder / f"{stem}-{counter}"

    # -- marks

    def set_mark(self, name: str, value: Mapping[str, Any]) -> None:
        """Durable when it returns."""
        _write_json(self.path / f"{name}.json", value)
        self._marks[name] = dict(value)

    def mark(self, name: str) -> dict[str, Any] | None:
        """A mark that is set, or None."""
        if name not in self._marks:
            file = self.path / f"{name}.json"
            self._marks[name] = _read_json(file) if file.exists() else None
        return self._marks[name]

    def clear_mark(self, name: str) -> None:
        (self.path / f"{name}.json").unlink(missing_ok=True)
        files.fsync_dir(self.path)
        self._marks[name] = None

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

    def _is_leaving(self) -> bool:
        """Whether this member promised to leave its generation and is still the old member."""
        mark = self.mark("left")
        return mark is not None and mark["member_id"] == self.member_id

    # -- at open

    def _tidy(self) -> None:
        """Goes on where a kill interrupted, empties the spool, forgets what is old enough."""
        if self._is_leaving():
            if self.header is not None:
                self.quarantine_generation()
            else:
                self._finish_leaving()
        suspect = self.mark("suspect")
        if suspect is not None:
            if suspect["boot_id"] == _boot_id():
                raise NodeFault(
                    f"{self.path} is suspect since a failed write: {suspect['reason']}",
                    hint="check the disk, reboot the machine, then start the node again",
                )
            self.clear_mark("suspect")
        shutil.rmtree(self.spool)
        self.spool.mkdir(mode=0o700)
        for kept in ("generations", "quarantine"):
            self._forget_old(self.path / kept)

    def _forget_old(self, folder: Path) -> None:
        current = self.header.folder_name if self.header else ""
        old = [p for p in folder.iterdir() if p.name != current]
        old.sort(key=lambda p: p.stat().st_mtime, reverse=True)
        for path in old[KEPT_COPIES:]:
            if time.time() - path.stat().st_mtime > KEPT_S:
                shutil.rmtree(path)


def _make(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is not a folder", hint="check node.data_dir")
    if path.exists():
        return
    missing = path
    with files.faults(path):
        path.mkdir(mode=0o700, parents=True)
    while missing != missing.parent:
        missing = missing.parent
        if os.access(missing, os.R_OK):
            files.fsync_dir(missing)


def _refuse_foreign(path: Path) -> None:
    """A folder with other people's files is no place for ours."""
    if (path / "node.json").exists():
        return
    marks = {"left.json", "frozen.json", "suspect.json", "contested.json", "parent_left.json"}
    known = _KNOWN | set(_FOLDERS) | marks | {"heroctl.sock", "lost+found"}
    foreign = sorted(p.name for p in path.iterdir() if p.name.removesuffix(".partial") not in known)
    if foreign:
        raise UsageError(
            f"{path} is not empty and no data folder of HeroCtl: it holds {foreign[0]}",
            hint="give node.data_dir an empty folder",
        )


def _new_member_id() -> str:
    return secrets.token_hex(16)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _identity(path: Path) -> Identity | None:
    file = path / "node.json"
    if not file.exists():
        return None
    value = _read_json(file)
    if value.get("format", 0) > FORMAT:
        raise UnsupportedVersion(
            f"{file} has format {value['format']}, this release reads up to {FORMAT}",
            hint="install the release that wrote it, or a newer one",
        )
    try:
        return Identity(value["node_name"], value["member_id"], value["cluster_name"])
    except KeyError as error:
        raise Damaged(f"{file} lacks {error}") from error


def _new_identity(path: Path, node_name: str, cluster_name: str) -> Identity:
    identity = Identity(node_name, _new_member_id(), cluster_name)
    _write_identity(path, identity)
    return identity


def _write_identity(path: Path, identity: Identity) -> None:
    value = {
        "format": FORMAT,
        "node_name": identity.node_name,
        "member_id": identity.member_id,
        "cluster_name": identity.cluster_name,
    }
    _write_json(path / "node.json", value)


def _read_header(file: Path) -> Header:
    try:
        return header_from(_read_json(file))
    except ValueError as error:
        raise Damaged(f"{file}: {error}") from error


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    files.write_atomic(path, json.dumps(value, indent=1, sort_keys=True).encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(files.read_private(path, max_bytes=_JSON_BYTES))
    except ValueError as error:
        raise Damaged(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Damaged(f"{path} is no JSON object")
    return value
