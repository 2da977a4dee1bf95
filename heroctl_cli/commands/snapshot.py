"""`heroctl snapshot`: save, look into, verify and restore the cluster's state."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import click

from heroctl_core.client import Client, Received, Sink, path_of
from heroctl_core.errors import Damaged, Unreachable, UsageError
from heroctl_core.files import AtomicFile
from heroctl_core.snapshot.archive import open_archive, outline
from heroctl_core.words import counted

from .. import archives, connection, local, output
from .restore import restore

if TYPE_CHECKING:
    from heroctl_core.offline import Local


@click.command("save", help="Save the cluster's state to FILE; - is stdout.")
@click.argument("file")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@local.unencrypted_option
@local.data_dir_option
@local.key_file_option
@click.option(
    "--include-uncommitted",
    is_flag=True,
    help="Offline: also take entries of the log that no quorum has confirmed.",
)
@connection.online
def _save(
    addr: str | None,
    file: str,
    data_dir: Path | None,
    key_files: tuple[Path, ...],
    *,
    overwrite: bool,
    unencrypted: bool,
    include_uncommitted: bool,
) -> None:
    started = time.monotonic()
    if file == "-" and sys.stdout.isatty():
        raise UsageError("stdout is a terminal", hint="give a FILE, or a pipe behind it")
    try:
        client = connection.connect(addr, data_dir=data_dir)
    except Unreachable:
        here = local.resolve(data_dir, key_files)
        if addr or not here.has_node:
            raise
        output.say(f"no node answers: saving from the stopped folder {here.data_dir}")
        summary: Mapping[str, Any] = _save_offline(
            here.stopped(),
            file,
            overwrite=overwrite,
            encrypted=not unencrypted,
            include_uncommitted=include_uncommitted,
        )
    else:
        with client:
            summary = _save_online(client, file, overwrite=overwrite, unencrypted=unencrypted)
    if summary["stale"]:
        output.warn("no quorum: this is the copy of one node; later writes may be missing")
    _tell(file, summary, time.monotonic() - started)


def _save_online(
    client: Client, file: str, *, overwrite: bool, unencrypted: bool
) -> Mapping[str, Any]:
    """What the node says about the archive, which is in `file` once it was found whole here."""

    def receive(sink: Sink, descriptor: int) -> Mapping[str, Any]:
        query = {"unencrypted": unencrypted or None}
        received = client.download(path_of("snapshot"), query, sink)
        _check(received, descriptor)
        return {**received.summary, "size_bytes": received.size_bytes, "sha256": received.sha256}

    if file == "-":
        with TemporaryFile() as spool:
            summary = receive(spool, spool.fileno())
            spool.seek(0)
            shutil.copyfileobj(spool, sys.stdout.buffer)
            return summary
    archives.refuse_data_folder(file)
    with AtomicFile(file, overwrite=overwrite) as target:
        return receive(target, target.fd)


def _save_offline(
    stopped: Local, file: str, *, overwrite: bool, encrypted: bool, include_uncommitted: bool
) -> dict[str, Any]:
    """The summary of an archive of the stopped folder."""
    from heroctl_core import offline

    done = offline.save(
        stopped,
        sys.stdout.buffer if file == "-" else file,
        include_uncommitted=include_uncommitted,
        encrypted=encrypted,
        overwrite=overwrite,
    )
    if done.uncommitted:
        found = counted(done.uncommitted, "log entry", "log entries")
        which = "in it" if include_uncommitted else "not in it (--include-uncommitted)"
        output.warn(f"not seen committed, and {which}: {found}")
    saved = done.snapshot
    return {
        "size_bytes": saved.size_bytes,
        "sha256": saved.sha256,
        "revision": saved.revision,
        "stale": saved.stale,
        "counts": dict(saved.counts),
    }


def _check(received: Received, descriptor: int) -> None:
    """Damaged unless the file here is the one that the node verified, sums included."""
    found = outline(descriptor)
    if found.sha256 != received.sha256:
        raise Damaged(f"the file has the sha256 {found.sha256}, the node sent {received.sha256}")


def _tell(file: str, summary: Mapping[str, Any], duration_s: float) -> None:
    counts = summary["counts"]
    result = {"file": file, **summary, "duration_s": round(duration_s, 3)}
    if file == "-":  # stdout has the archive
        output.say(f"snapshot saved: {output.size(summary['size_bytes'])}")
        return

    def text() -> None:
        output.line(f"snapshot saved: {output.size(summary['size_bytes'])}")
        output.line(
            f"included: {counts['jobs']} jobs, {counts['secrets']} secrets,"
            f" {counts['acl_rules']} acl rules, {counts['nodes']} nodes"
        )
        output.line(f"duration: {duration_s:.1f}s")

    output.emit(result, text=text)


@click.command("inspect", help="What FILE says about itself; needs no key. - is stdin.")
@click.argument("file")
@output.output_option
def _inspect(file: str) -> None:
    with archives.as_file(file) as archive:
        found = archives.shown(outline(archive))
    output.emit(found, text=lambda: archives.tell(found))


@click.command("verify", help="Read all of FILE: every sum, tag, record and count. - is stdin.")
@click.argument("file")
@local.key_file_option
@local.unencrypted_option
@output.output_option
def _verify(file: str, key_files: tuple[Path, ...], *, unencrypted: bool) -> None:
    keys = local.resolve(None, key_files).keys()
    with (
        archives.as_file(file) as path,
        open_archive(path, keys, allow_unencrypted=unencrypted) as archive,
    ):
        archive.verify()
        found = archives.shown(archive.outline)

    def text() -> None:
        counts, name = found["sections"].values(), "stdin" if file == "-" else file
        output.line(f"{name}: ok, {sum(counts)} records in {len(counts)} sections")

    output.emit({**found, "verified": True}, text=text)


command = click.Group(
    "snapshot",
    help="Save, look into, verify and restore the cluster's state.",
    commands=[_save, _inspect, _verify, restore],
)
