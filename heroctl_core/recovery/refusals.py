"""What speaks against a restore, and the way out of each: reasons and warnings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..raft.handshake import contains
from ..words import counted
from .facts import ArchiveFacts, Options, Peer, Present, Refusal

START: Final = "sudo systemctl start heroctl-server"
STOP: Final = "sudo systemctl stop heroctl-server"
ID_TYPED: Final = 8  # characters of a cluster id that name it


def is_foreign(archive: ArchiveFacts, present: Present) -> bool:
    """Whether the folder belongs to another cluster than the archive."""
    return present.cluster_id not in (None, archive.header.cluster_id)


def confirms(given: str, name: str, cluster_id: str, *, foreign: bool) -> bool:
    """Whether these words mean the restored cluster. `cluster_id` is the archive's, and its first
    characters always do. The name does where both sides are the same cluster: a script says it
    each time, and two clusters may have one name, so it never means a foreign archive."""
    if given == name and not foreign:
        return True
    return len(given) >= ID_TYPED and cluster_id.startswith(given)


def refusals_of(
    archive: ArchiveFacts, present: Present, peers: Sequence[Peer], options: Options
) -> tuple[Refusal, ...]:
    found = [_refuse_digest(archive, options), _refuse_name(archive, present, options)]
    if not is_finishing(archive, present, options):
        found += [_refuse_peers(peers, options), _refuse_again(archive, present, options)]
    return tuple(refusal for refusal in found if refusal is not None)


def is_finishing(archive: ArchiveFacts, present: Present, options: Options) -> bool:
    """Whether the same restore was done before and no node was started since. A plain one that has
    its receipt is done anew: the operator asked, and nothing is lost by it."""
    if not present.untouched or not (present.unfinished or options.force_bootstrap):
        return False
    receipt = present.unfinished or present.receipt
    return (
        receipt.get("archive_sha256") == archive.sha256
        and receipt.get("revoke_tokens") == options.revoke_tokens
    )


def _refuse_digest(archive: ArchiveFacts, options: Options) -> Refusal | None:
    wanted = options.expect_sha256
    if wanted is None or wanted.lower() == archive.sha256:
        return None
    return Refusal(
        f"{archive.path} has the sha256 {archive.sha256}, expected was {wanted}",
        "this is another file than the one you mean: compare with heroctl snapshot inspect",
    )


def _refuse_name(archive: ArchiveFacts, present: Present, options: Options) -> Refusal | None:
    name, head = present.cluster_name or archive.header.cluster_name, archive.header
    given, foreign = options.confirm_cluster, is_foreign(archive, present)
    if given is None and not foreign:
        return None
    if given is not None and confirms(given, name, head.cluster_id, foreign=foreign):
        return None
    if not foreign:
        return Refusal(
            f"--confirm-cluster says {given}, this is cluster {name}",
            "check that you are on the right machine and in the right data folder",
        )
    return Refusal(
        f"the archive is of another cluster: id {head.cluster_id} ({head.cluster_name}), "
        f"the folder has {present.cluster_id} ({name})",
        f"if all of {name} shall be replaced by it, say --confirm-cluster "
        f"{head.cluster_id[:ID_TYPED]}: the archive's id, a name is not enough",
    )


def _refuse_peers(peers: Sequence[Peer], options: Options) -> Refusal | None:
    serving = [f"{peer.name} ({peer.address})" for peer in peers if peer.has_quorum]
    if serving:
        return Refusal(
            f"the cluster serves with a quorum: {', '.join(serving)}",
            f"nothing overrides a serving quorum; stop these nodes first: {STOP}",
        )
    if peers and not options.force_bootstrap:
        up = ", ".join(f"{peer.name} ({peer.address})" for peer in peers)
        return Refusal(
            f"nodes of this cluster are running: {up}",
            f"stop them first: {STOP}; if they have lost their quorum for good: --force-bootstrap",
        )
    return None


def _refuse_again(archive: ArchiveFacts, present: Present, options: Options) -> Refusal | None:
    """The same forced restore twice is an accident: a unit file with the flag in it."""
    receipt = present.unfinished or present.receipt
    link = (receipt.get("generation"), receipt.get("restore_id"))
    if (
        not options.force_bootstrap
        or receipt.get("archive_sha256") != archive.sha256
        or link not in present.lineage
    ):
        return None
    return Refusal(
        f"this archive was restored here at {receipt.get('restored_at')} as generation {link[0]}, "
        "which this folder still holds; once more would drop what was written since",
        f"{'heroctl status shows it' if present.runs else f'start the node: {START}'}. If you do "
        "mean it: stop all nodes and restore without --force-bootstrap",
    )


def warnings_of(archive: ArchiveFacts, present: Present) -> list[str]:
    found = []
    if archive.header.stale:
        found.append(
            "the archive was saved without a quorum: it may lack writes that were acknowledged"
        )
    if not archive.encrypted:
        found.append("the archive is not encrypted: nothing proves who wrote it")
    if present.cluster_name not in ("", archive.header.cluster_name):
        found.append(
            f"the archive was saved in cluster {archive.header.cluster_name}: here the name stays "
            f"{present.cluster_name}"
        )
    if present.unreadable is not None:
        found.append(
            f"the present state cannot be read ({present.unreadable}): "
            "what is lost is not known, and there is no safety copy"
        )
    if present.uncommitted:
        entries = counted(present.uncommitted, "log entry", "log entries")
        found.append(f"never seen committed here: {entries}; in the safety copy")
    related = contains(archive.lineage, present.lineage) or contains(
        present.lineage, archive.lineage
    )
    if not present.is_empty and present.cluster_id == archive.header.cluster_id and not related:
        found.append("the archive comes from a restore that this folder knows nothing of")
    return found
