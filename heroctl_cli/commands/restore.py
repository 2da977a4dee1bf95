"""`heroctl snapshot restore`: into a stopped folder, or by a running node without a quorum.

Plan first: it is shown, refused or confirmed before anything changes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heroctl_core.client import Client, first_reachable, path_of
from heroctl_core.clock import SystemClock
from heroctl_core.config.model import SOCKET_NAME
from heroctl_core.errors import Busy, Unreachable
from heroctl_core.files import faults

from .. import archives, local, output, restores

if TYPE_CHECKING:
    from heroctl_core.offline import Options


@click.command("restore", help="Bring the state in FILE back; - is stdin.")
@click.argument("file")
@click.option(
    "--force-bootstrap",
    is_flag=True,
    help="The cluster has lost its quorum for good: this node goes on alone, the others follow.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan, change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; needs --confirm-cluster.")
@click.option(
    "--confirm-cluster", metavar="NAME", help="The cluster's name, or the archive's cluster id."
)
@click.option("--expect-sha256", metavar="HEX", help="Refuse any other file.")
@click.option("--revoke-tokens", is_flag=True, help="End every token that is in the archive.")
@local.data_dir_option
@local.key_file_option
@local.unencrypted_option
@output.output_option
def restore(
    file: str,
    confirm_cluster: str | None,
    expect_sha256: str | None,
    data_dir: Path | None,
    key_files: tuple[Path, ...],
    *,
    force_bootstrap: bool,
    dry_run: bool,
    yes: bool,
    revoke_tokens: bool,
    unencrypted: bool,
) -> None:
    from heroctl_core.offline import Options  # loads half of the library

    options = Options(
        force_bootstrap=force_bootstrap,
        confirm_cluster=confirm_cluster,
        expect_sha256=expect_sha256,
        revoke_tokens=revoke_tokens,
        archive_name=archives.name_of(file),
    )
    here = local.resolve(data_dir, key_files)
    with archives.as_file(file) as archive:
        client = _running_node(here) if force_bootstrap else None
        if client is not None:
            with client:
                report = _by_node(
                    client, archive, options, dry_run=dry_run, yes=yes, unencrypted=unencrypted
                )
        else:
            report = _offline(
                archive, here, options, dry_run=dry_run, yes=yes, unencrypted=unencrypted
            )
    output.emit(report, text=lambda: _tell(report, dry_run=dry_run))


def _tell(report: dict[str, Any], *, dry_run: bool) -> None:
    if dry_run:
        restores.tell_plan(report)
        output.say("dry run: nothing was changed")
    else:
        restores.tell_report(report)


def _decide(plan: dict[str, Any], options: Options, *, dry_run: bool, yes: bool) -> None:
    """Returns when the plan may be executed, or only shown."""
    for warning in plan["warnings"]:
        output.warn(warning)
    if plan["refusals"] and dry_run:
        restores.tell_plan(plan, err=True)
    restores.refuse(plan)
    if not dry_run:
        restores.confirm(plan, yes=yes, confirm_cluster=options.confirm_cluster)


def _offline(
    archive: Path,
    here: local.Here,
    options: Options,
    *,
    dry_run: bool,
    yes: bool,
    unencrypted: bool,
) -> dict[str, Any]:
    """The report of a restore into a stopped folder, or of its dry run the plan."""
    from heroctl_core.lifecycle import probe_peers
    from heroctl_core.offline import open_restore
    from heroctl_core.recovery.restore import shown_plan

    stopped = here.stopped()
    name = stopped.cluster_name or ""
    try:
        with open_restore(
            archive,
            stopped,
            options,
            probe=lambda addresses: probe_peers(
                addresses, name, stopped.all_keys(), here.config, SystemClock()
            ),
            encrypted=not unencrypted,
        ) as opened:
            plan = shown_plan(opened.plan)
            _decide(plan, options, dry_run=dry_run, yes=yes)
            return plan if dry_run else opened.execute(_progress).to_json()
    except Busy as error:
        hint = "stop it first: sudo systemctl stop heroctl-server; "
        if options.force_bootstrap:
            hint += "or let the running node do it, which needs its server.yaml: HEROCTL_CONFIG"
        else:
            hint += (
                "if the cluster has lost its quorum for good, the running node does it:"
                " --force-bootstrap"
            )
        raise Busy(error.message, hint=hint) from error


def _by_node(
    client: Client,
    archive: Path,
    options: Options,
    *,
    dry_run: bool,
    yes: bool,
    unencrypted: bool,
) -> dict[str, Any]:
    """The report of a forced bootstrap by the node that runs on the folder."""
    query: dict[str, object] = {
        "archive_name": options.archive_name,
        "confirm_cluster": options.confirm_cluster,
        "expect_sha256": options.expect_sha256,
        "revoke_tokens": options.revoke_tokens or None,
        "unencrypted": unencrypted or None,
    }

    def ask(*, only_plan: bool) -> dict[str, Any]:
        with faults(archive), archive.open("rb") as source:
            size = archive.stat().st_size
            told = {**query, "dry_run": only_plan or None}
            body: dict[str, Any] = client.upload(path_of("restore"), told, source, size).body
            return body

    output.say(f"the node at {client.target} runs: it does the work")
    plan = ask(only_plan=True)
    _decide(plan, options, dry_run=dry_run, yes=yes)
    return plan if dry_run else ask(only_plan=False)


def _running_node(here: local.Here) -> Client | None:
    """A client of the node that holds the data folder, None when none answers there."""
    path = here.data_dir / SOCKET_NAME
    if here.config is not None and here.config.node.data_dir == here.data_dir:
        path = here.config.socket_path()
    try:
        return first_reachable([f"unix:{path}"])
    except Unreachable:
        return None


def _progress(step: str) -> None:
    if sys.stderr.isatty():
        output.say(f"{step} ...")
