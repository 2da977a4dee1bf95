"""Restores into real folders: what comes back, what stays, what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from stopped_nodes import (
    CLUSTER,
    KEY,
    OTHER_KEY,
    T0,
    VOTERS,
    StoppedNode,
    has_token,
    job,
    life_after_the_snapshot,
    opened_secret,
    rows,
    token,
)

from heroctl_core import offline
from heroctl_core.backup import save
from heroctl_core.crypto.keys import generate_key_file, load_key_file
from heroctl_core.crypto.sealed import Keyring
from heroctl_core.errors import (
    Busy,
    Damaged,
    FileFault,
    NodeFault,
    NoKey,
    NotAnArchive,
    RecoveryError,
    UsageError,
    WrongKey,
)
from heroctl_core.offline import Local, Options, Peer, RestorePlan, RestoreReport
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.json_file import read_json
from heroctl_core.raft.log import Log
from heroctl_core.raft.membership import MemberSpec
from heroctl_core.recovery.restore import STEPS, shown_plan
from heroctl_core.state.commands import PutSecret
from heroctl_core.testing.clock import ManualClock

PLAIN = Options()
LATER = ManualClock(T0 + 3_600_000)


def nobody(_addresses: Sequence[str]) -> list[Peer]:
    return []


@pytest.fixture
def node(tmp_path: Path) -> StoppedNode:
    return StoppedNode(tmp_path / "data").begin().fill()


@pytest.fixture
def archive(node: StoppedNode, tmp_path: Path) -> Path:
    return node.save(tmp_path / "snap.tar.gz")


def restore(archive: Path, local: Local, options: Options = PLAIN, **more: object) -> RestoreReport:
    more = {"probe": nobody, "clock": LATER, **more}
    with offline.open_restore(archive, local, options, **more) as opened:  # type: ignore[arg-type]
        return opened.execute()


def planned(archive: Path, local: Local, options: Options = PLAIN) -> RestorePlan:
    with offline.open_restore(archive, local, options, probe=nobody, clock=LATER) as opened:
        return opened.plan


def files_of(path: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in path.rglob("*")
        if p.is_file() and p.name != "lock"
    }


def test_the_archives_state_is_back(node: StoppedNode, archive: Path) -> None:
    """After a restore every row is as it was when the snapshot was taken, secrets open, and
    revision and epoch go on."""
    saved = node.view()
    life_after_the_snapshot(node)
    present = node.view()
    assert rows(present) != rows(saved)
    restore(archive, node.local())
    restored = node.view()
    assert rows(restored) == rows(saved)
    assert opened_secret(restored, KEY) == b"hunter2"
    assert restored.revision == present.revision > saved.revision
    assert restored.epoch == saved.epoch + 1


def test_plan_says_what_is_lost(node: StoppedNode, archive: Path) -> None:
    """New, changed and deleted rows are counted, and the revoked token that becomes valid."""
    life_after_the_snapshot(node)
    plan = planned(archive, node.local())
    lost = {loss.kind: (loss.dropped, loss.changed, loss.returned) for loss in plan.losses}
    assert lost == {"jobs": (1, 1, 1), "acl": (0, 0, 1)}
    assert plan.revived_tokens == 1
    assert plan.archive.counts == {"jobs": 2, "secrets": 1, "acl_rules": 1, "nodes": 0}
    assert plan.age_s == 3600
    json.dumps(shown_plan(plan))


def test_planning_changes_nothing(node: StoppedNode, archive: Path) -> None:
    """A dry run leaves every file as it was, in a folder and where there is none."""
    before = files_of(node.path)
    planned(archive, node.local())
    assert files_of(node.path) == before
    nowhere = Local(node.path.parent / "nowhere", [KEY], node_name="node-9")
    assert planned(archive, nowhere).present.is_empty
    assert not nowhere.data_dir.exists()


def test_header_of_the_new_generation(node: StoppedNode, archive: Path) -> None:
    """One voter, the old voters fenced, the last entry of the old log known, the member id kept;
    the log begins with a dump at index 2, term 1."""
    old = DataFolder.open_existing(node.path)
    old.close()
    report = restore(archive, node.local())
    folder = DataFolder.open_existing(node.path)
    folder.close()
    header = folder.header
    assert header is not None
    assert header.origin == "restore"
    assert header.lineage[:1] == old.header.lineage if old.header else False
    assert (header.generation, header.restore_id) == (2, report.plan.restore_id)
    assert set(header.members.members) == {old.member_id} == {folder.member_id}
    assert header.members.voters == {old.member_id}
    assert header.parent_voters == {old.member_id, *list(VOTERS)[1:]}
    assert (header.known_term, header.known_index) == (1, 6)
    names = [path.name for path in (folder.generation_folder / "dumps").iterdir()]
    assert names == [f"2-{header.restore_id[:8]}-2-1.dump"]


def test_old_generation_and_safety_copy_stay(node: StoppedNode, archive: Path) -> None:
    """The state from before is there twice: as it was, and as an archive that restores."""
    life_after_the_snapshot(node)
    before = rows(node.view())
    (old,) = (node.path / "generations").iterdir()
    kept = files_of(old)
    report = restore(archive, node.local())
    assert files_of(old) == kept
    assert report.safety_copy is not None
    assert report.safety_copy.parent == node.path / "backups"
    other = Local(node.path.parent / "other", [KEY])
    restore(report.safety_copy, other)
    assert rows(StoppedNode(other.data_dir).view()) == before


def test_uncommitted_entries_are_in_the_safety_copy(node: StoppedNode, archive: Path) -> None:
    """What may have been acknowledged is not thrown away: the copy has it, the plan counts it."""
    node.write(job("late", 1), committed=False)
    plan = planned(archive, node.local())
    assert plan.present.uncommitted == 1
    report = restore(archive, node.local())
    assert report.safety_copy is not None
    other = Local(node.path.parent / "other", [KEY])
    restore(report.safety_copy, other)
    assert StoppedNode(other.data_dir).view().get("jobs", "late") is not None


def test_new_disk(node: StoppedNode, archive: Path, tmp_path: Path) -> None:
    """On a new machine archive and key are enough; names come from the configuration."""
    saved = rows(node.view())
    local = Local(tmp_path / "new" / "disk", [KEY], node_name="node-7", address="127.0.0.1:7107")
    report = restore(archive, local)
    assert rows(StoppedNode(local.data_dir).view()) == saved
    folder = DataFolder.open(local.data_dir, node_name="node-7", cluster_name=CLUSTER)
    folder.close()
    assert folder.header is not None
    assert folder.header.cluster_id == node.cluster_id
    (spec,) = folder.header.members.members.values()
    assert (spec.name, spec.address) == ("node-7", "127.0.0.1:7107")
    assert folder.header.parent_voters == frozenset()
    assert (report.safety_copy, report.no_safety_copy) == (None, "the folder was empty")


def test_nobody_else_looks_into_the_new_generation(node: StoppedNode, archive: Path) -> None:
    """Folders have mode 0700 and files 0600, whatever the umask."""
    before = os.umask(0)
    try:
        restore(archive, node.local())
    finally:
        os.umask(before)
    modes = {p.relative_to(node.path): p.stat().st_mode & 0o777 for p in node.path.rglob("*")}
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def test_a_plan_for_an_empty_folder_is_not_executed_in_a_full_one(
    archive: Path, tmp_path: Path
) -> None:
    """While the operator thinks, another restore or a first start may have filled it: what that
    would lose was never shown."""
    local = Local(tmp_path / "new", [KEY])
    with offline.open_restore(archive, local, PLAIN, probe=nobody, clock=LATER) as opened:
        restore(archive, local)
        before = files_of(local.data_dir)
        with pytest.raises(RecoveryError, match="was empty when this was planned"):
            opened.execute()
    assert files_of(local.data_dir) == before
    assert restore(archive, local).plan.generation == 3


def test_a_bad_place_is_refused_before_the_operator_is_asked(archive: Path, tmp_path: Path) -> None:
    """A dry run says so too: no folder at all, a link that leads nowhere, a file on the way."""
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.write_text("x")
    loop.symlink_to(loop)
    for path in (file, loop):
        with pytest.raises((UsageError, FileFault), match=path.name):
            planned(archive, Local(path, [KEY]))


@pytest.mark.parametrize("name", ["CURRENT", "node.json", "lock", "generations/x", "spool/x"])
def test_no_archive_is_saved_among_the_nodes_files(node: StoppedNode, name: str) -> None:
    """Not with `overwrite` either, nor by another way to the folder; backups/ is for archives."""
    before = files_of(node.path)
    way = node.path.parent / "way"
    way.symlink_to(node.path)
    for folder in (node.path, way):
        with pytest.raises(UsageError, match="among the node's own files"):
            offline.save(node.local(), folder / name, overwrite=True)
    assert files_of(node.path) == before
    offline.save(node.local(), node.path / "backups" / "mine.tar.gz")


def test_a_refused_folder_is_left_as_it_is(archive: Path, tmp_path: Path) -> None:
    """A folder with other people's files is refused before anything of ours is in it."""
    path = tmp_path / "home"
    path.mkdir()
    (path / "letters.txt").write_text("x")
    with pytest.raises(UsageError, match="is not empty and no data folder"):
        restore(archive, Local(path, [KEY]))
    assert [p.name for p in path.iterdir()] == ["letters.txt"]


def test_receipt(node: StoppedNode, archive: Path) -> None:
    """The receipt lies in the folder and inside the generation that it belongs to."""
    report = restore(archive, node.local(), Options(force_bootstrap=True))
    receipt = read_json(node.path / "receipt.json")
    assert receipt == report.receipt
    assert receipt["archive_sha256"] == report.plan.archive.sha256
    current = (node.path / "CURRENT").read_text().strip()
    inner = node.path / "generations" / current / "restore.json"
    assert read_json(inner) == receipt


def test_the_receipt_names_the_archive_as_the_operator_does(
    node: StoppedNode, archive: Path
) -> None:
    """What is read may be a copy of what came through a pipe or over the socket."""
    report = restore(archive, node.local(), Options(archive_name="/mnt/usb/snap.tar.gz"))
    assert report.receipt["archive"] == shown_plan(report.plan)["archive"] == "/mnt/usb/snap.tar.gz"


def test_damaged_receipt(node: StoppedNode, archive: Path) -> None:
    """It stops start and restore until it is moved away, as the error says; then the copy inside
    the generation takes its place."""
    report = restore(archive, node.local(), Options(force_bootstrap=True))
    path = node.path / "receipt.json"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    for act in (lambda: planned(archive, node.local()), lambda: open_as_node(node)):
        with pytest.raises(Damaged, match=r"receipt\.json") as caught:
            act()
        assert f"move {path} away" in str(caught.value.hint)
    path.unlink()
    open_as_node(node)
    assert read_json(path) == report.receipt


def open_as_node(node: StoppedNode) -> None:
    DataFolder.open(node.path, node_name="node-1", cluster_name=CLUSTER).close()


def test_forced_restore_runs_once(node: StoppedNode, archive: Path) -> None:
    """The second forced restore of the same archive is an error that explains itself and changes
    nothing; another archive, or a plain restore, goes on."""
    forced = Options(force_bootstrap=True)
    restore(archive, node.local(), forced)
    node.write(job("after", 1))
    before = files_of(node.path)
    with pytest.raises(RecoveryError, match=r"was restored here at .* as generation 2") as caught:
        restore(archive, node.local(), forced)
    assert "without --force-bootstrap" in str(caught.value.hint)
    assert files_of(node.path) == before
    assert restore(archive, node.local()).plan.generation == 3


def test_restore_over_an_unconfirmed_one_keeps_its_fence(node: StoppedNode, archive: Path) -> None:
    """A second restore before the old peers came back still fences them, not only itself."""
    restore(archive, node.local())
    report = restore(archive, node.local())
    assert report.plan.generation == 3
    assert report.plan.parent.voters >= set(list(VOTERS)[1:])
    assert (report.plan.present.known_term, report.plan.present.known_index) == (1, 6)


def test_restore_over_a_confirmed_one_fences_its_members(node: StoppedNode, archive: Path) -> None:
    """Once a majority of the old voters has left, the restored generation itself is the parent."""
    report = restore(archive, node.local())
    folder = DataFolder.open_existing(node.path)
    folder.note_left(((list(VOTERS)[1], report.plan.restore_id),))
    folder.close()
    again = restore(archive, node.local())
    assert again.plan.parent.voters == {folder.member_id}


def test_live_peers_are_asked_and_respected(node: StoppedNode, archive: Path) -> None:
    """Everybody whom the folder or the configuration knows is asked; a quorum stops everything."""
    asked: list[str] = []

    def serving(addresses: Sequence[str]) -> list[Peer]:
        asked.extend(addresses)
        return [Peer(addresses[0], "node-2", node.cluster_id, has_quorum=True)]

    before = files_of(node.path)
    local = Local(node.path, [KEY], peers={"node-4": "127.0.0.1:7104"})
    with pytest.raises(RecoveryError, match="the cluster serves with a quorum: node-2"):
        restore(archive, local, Options(force_bootstrap=True), probe=serving)
    assert asked == ["127.0.0.1:7102", "127.0.0.1:7103", "127.0.0.1:7104"]
    assert files_of(node.path) == before


def test_foreign_archive(node: StoppedNode, tmp_path: Path) -> None:
    """An archive of another cluster needs its id typed, as the error says; the name, which both
    have, is not enough. The folder then takes the id."""
    other = StoppedNode(tmp_path / "other").begin().fill()
    foreign = other.save(tmp_path / "foreign.tar.gz")
    before = files_of(node.path)
    for options in (PLAIN, Options(confirm_cluster=CLUSTER)):
        with pytest.raises(RecoveryError, match="the archive is of another cluster") as caught:
            restore(foreign, node.local(), options)
        assert f"--confirm-cluster {other.cluster_id[:8]}:" in str(caught.value.hint)
    assert files_of(node.path) == before
    restore(foreign, node.local(), Options(confirm_cluster=other.cluster_id[:8]))
    folder = DataFolder.open(node.path, node_name="node-1", cluster_name=CLUSTER)
    folder.close()
    assert folder.header is not None
    assert folder.header.cluster_id == folder.identity.cluster_id == other.cluster_id
    assert rows(node.view()) == rows(other.view())


def test_damaged_present_state_does_not_stop_a_restore(node: StoppedNode, archive: Path) -> None:
    """A log that cannot be read is told, there is no safety copy, and the folder stays for
    whoever wants to look."""
    saved = rows(node.view())
    segment = next(node.path.glob("generations/*/log/*.segment"))
    data = bytearray(segment.read_bytes())
    data[300] ^= 1
    segment.write_bytes(data)
    report = restore(archive, node.local())
    assert report.no_safety_copy is not None
    assert "but a later frame follows" in report.no_safety_copy
    assert any("cannot be read" in text for text in report.plan.warnings)
    assert report.plan.parent.voters >= set(list(VOTERS)[1:])
    assert rows(node.view()) == saved
    assert segment.read_bytes() == data


def test_marks_of_the_old_generation_do_not_count_in_the_new(
    node: StoppedNode, archive: Path
) -> None:
    """A contested or frozen node that is restored serves again."""
    folder = DataFolder.open_existing(node.path)
    folder.set_mark("contested", {"reason": "another one serves"})
    folder.set_mark("frozen", {"reason": "restore"})
    folder.close()
    restore(archive, node.local())
    folder = DataFolder.open_existing(node.path)
    assert (folder.mark("contested"), folder.mark("frozen")) == (None, None)
    folder.close()


def test_restore_on_a_node_that_was_leaving(node: StoppedNode, archive: Path) -> None:
    """A node that was killed while it left its generation finishes that first: it never votes
    there again, and the restored generation is not put away at its next start."""
    folder = DataFolder.open_existing(node.path)
    left = {"generation": 2, "restore_id": "elsewhere", "member_id": folder.member_id}
    folder.set_mark("left", left)
    folder.close()
    restore(archive, node.local())
    again = DataFolder.open(node.path, node_name="node-1", cluster_name=CLUSTER)
    again.close()
    assert again.header is not None
    assert again.header.origin == "restore"
    assert again.member_id != folder.member_id
    assert len(list((node.path / "quarantine").iterdir())) == 1


def test_suspect_folder_is_not_restored_into(node: StoppedNode, archive: Path) -> None:
    """After a failed fsync nothing is written to that disk before a reboot."""
    folder = DataFolder.open_existing(node.path)
    folder.mark_suspect("Input/output error")
    folder.close()
    with pytest.raises(NodeFault, match="suspect since a failed write"):
        restore(archive, node.local())
    assert len(list((node.path / "generations").iterdir())) == 1


def test_learners_of_the_old_generation_are_not_fenced(node: StoppedNode, archive: Path) -> None:
    """Only who could vote can go on without us."""
    folder = DataFolder.open_existing(node.path)
    assert folder.header is not None
    learner = MemberSpec("node-4", "127.0.0.1:7104", voter=False)
    grown = folder.header.members.with_member("4" * 32, learner)
    log = Log.open(folder.generation_folder / "log")
    log.append(b"\x02" + grown.encode(), log.last_index + 1, 1)
    log.sync()
    log.close()
    folder.close()
    plan = planned(archive, node.local())
    assert "4" * 32 in plan.present.members.members
    assert plan.parent.members.keys() == plan.present.members.voters
    assert "on node-4, then: sudo systemctl start heroctl-server" in plan.next_steps


def test_revoked_tokens_can_stay_revoked(node: StoppedNode, archive: Path) -> None:
    """--revoke-tokens ends all tokens of the archive; policies stay."""
    restore(archive, node.local(), Options(revoke_tokens=True))
    view = node.view()
    assert not has_token(view, "ci")
    assert view.count("acl") == 1


def test_expired_tokens_do_not_count_as_revived(node: StoppedNode, tmp_path: Path) -> None:
    """A token that has expired by the clock is not valid again."""
    node.write(token("short", expires_ms=T0 + 1000))
    archive = node.save(tmp_path / "snap.tar.gz")
    local = Local(tmp_path / "new", [KEY])
    assert planned(archive, local).revived_tokens == 2


@pytest.mark.parametrize("keys", [[], [OTHER_KEY]], ids=["none", "another"])
def test_without_the_key(node: StoppedNode, archive: Path, keys: list[object]) -> None:
    """An archive that no key opens is refused before anything is changed."""
    before = files_of(node.path)
    with pytest.raises((NoKey, WrongKey)) as caught:
        restore(archive, Local(node.path, keys))  # type: ignore[arg-type]
    assert caught.value.exit_code == 8
    assert files_of(node.path) == before


@pytest.mark.parametrize("at", [0.1, 0.5, 0.99])
def test_damaged_archive(node: StoppedNode, archive: Path, at: float) -> None:
    """A flipped bit anywhere stops the restore before anything is changed."""
    data = bytearray(archive.read_bytes())
    data[int(len(data) * at)] ^= 1
    archive.write_bytes(data)
    before = files_of(node.path)
    with pytest.raises((Damaged, NotAnArchive)):
        restore(archive, node.local())
    assert files_of(node.path) == before


def test_a_secret_that_the_archives_keyring_does_not_open(
    node: StoppedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found before anything is changed, also in the archive of a program that did not look."""
    foreign = Keyring.create().seal("foreign", b"x")
    node.write(PutSecret("foreign", foreign, {}, None))
    monkeypatch.setattr(save, "_opens", lambda _keyring: lambda _name, _row: None)
    archive = node.save(tmp_path / "snap.tar.gz")
    before = files_of(node.path)
    with pytest.raises(WrongKey, match="secret foreign"):
        restore(archive, node.local())
    assert files_of(node.path) == before


def test_folder_in_use(node: StoppedNode, archive: Path) -> None:
    """A running node keeps its folder: the restore is Busy and names it."""
    folder = DataFolder.open_existing(node.path)
    with pytest.raises(Busy, match="is in use by"):
        restore(archive, node.local())
    folder.close()


def test_keyring_is_wrapped_by_the_nodes_own_key(
    node: StoppedNode, archive: Path, tmp_path: Path
) -> None:
    """secrets.key_file wraps the restored keyring; an embedded node's own key does too."""
    local = Local(tmp_path / "a", [KEY], wrapping=OTHER_KEY)
    restore(archive, local)
    assert opened_secret(StoppedNode(local.data_dir).view(), OTHER_KEY) == b"hunter2"
    own = Local(tmp_path / "b", [KEY])
    DataFolder.open(own.data_dir, node_name="node-1", cluster_name=CLUSTER).close()
    generate_key_file(own.data_dir / "cluster.key")
    restore(archive, own)
    key = load_key_file(own.data_dir / "cluster.key")
    assert opened_secret(StoppedNode(own.data_dir).view(), key) == b"hunter2"


def test_steps_are_told_in_order(node: StoppedNode, archive: Path) -> None:
    """Whoever shows progress hears of each step before it is done."""
    heard: list[str] = []
    with offline.open_restore(archive, node.local(), Options(), probe=nobody) as opened:
        opened.execute(heard.append)
    assert tuple(heard) == STEPS
