"""The plan of a restore: which generation comes next, what is refused, what is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heroctl_core.raft.membership import EMPTY, Configuration, MemberSpec
from heroctl_core.recovery.facts import ArchiveFacts, Options, Peer, Present
from heroctl_core.recovery.plan import RestorePlan, make_plan
from heroctl_core.recovery.restore import shown_plan
from heroctl_core.snapshot.manifest import ManifestHeader

NOW = 1_780_000_000_000
SHA = "ab" * 32
VOTERS = Configuration(
    {c * 32: MemberSpec(f"node-{c}", f"127.0.0.1:710{c}", voter=True) for c in "123"}
)
HEAD = ManifestHeader(
    cluster_name="prod",
    cluster_id="c1",
    lineage=((1, "first"),),
    epoch=4,
    revision=100,
    raft_index=120,
    raft_term=3,
    created_ms=NOW - 3_600_000,
    time_ms=NOW - 3_700_000,
    node="node-2",
)
ARCHIVE = ArchiveFacts("/b/snap.tar.gz", SHA, 4000, HEAD, encrypted=True, counts={"jobs": 2})
PRESENT = Present(
    node_name="node-1",
    member_id="1" * 32,
    cluster_name="prod",
    cluster_id="c1",
    lineage=((1, "first"),),
    members=VOTERS,
    fence=VOTERS,
    known_term=5,
    known_index=130,
    revision=117,
    epoch=6,
    time_ms=NOW - 1000,
)
PLAIN = Options()
NEW_DISK = Present("node-1", "", "prod")
FAR = "c9" * 16
FOREIGN = replace(ARCHIVE, header=replace(HEAD, cluster_id=FAR, lineage=((3, "far"),)))
UP = Peer("127.0.0.1:7102", "node-2", "c1", has_quorum=False, lineage=((1, "first"),))
SERVING = replace(UP, has_quorum=True)


def plan(
    archive: ArchiveFacts = ARCHIVE,
    present: Present = PRESENT,
    peers: tuple[Peer, ...] = (),
    options: Options = PLAIN,
) -> RestorePlan:
    return make_plan(archive, present, peers, options, restore_id="mine", now_ms=NOW)


def refusal(made: RestorePlan) -> str:
    assert len(made.refusals) == 1, made.refusals
    return f"{made.refusals[0].message} | {made.refusals[0].hint}"


def test_next_generation_of_the_folder() -> None:
    """The new generation continues the folder's lineage and fences its voters; revision and epoch
    go on above the largest seen."""
    made = plan()
    assert made.refusals == ()
    assert made.lineage == ((1, "first"), (2, "mine"))
    assert made.parent == VOTERS
    assert (made.revision, made.epoch, made.time_ms) == (117, 7, NOW - 1000)
    assert (made.cluster_id, made.cluster_name) == ("c1", "prod")
    assert made.age_s == 3600


def test_archive_that_is_ahead_of_the_folder() -> None:
    """The archive's numbers count where they are larger."""
    ahead = replace(ARCHIVE, header=replace(HEAD, revision=500, epoch=9, time_ms=NOW))
    made = plan(ahead)
    assert (made.revision, made.epoch, made.time_ms) == (500, 10, NOW)


def test_an_archive_of_a_later_generation_than_the_folder() -> None:
    """Nobody here knows who voted there: the folder's voters are asked, and confirm nothing."""
    later = replace(ARCHIVE, header=replace(HEAD, lineage=((1, "first"), (2, "other"))))
    made = plan(later, PRESENT)
    assert made.lineage == ((1, "first"), (2, "other"), (3, "mine"))
    assert made.parent.members.keys() == PRESENT.fence.members.keys()
    assert made.parent.voters == frozenset()


def test_new_disk() -> None:
    """In an empty folder the generation continues the archive's lineage and fences nobody."""
    made = plan(present=NEW_DISK)
    assert made.lineage == ((1, "first"), (2, "mine"))
    assert made.parent == EMPTY
    assert "on each other node, then" in made.next_steps[-1]


@pytest.mark.parametrize(
    ("archive", "folder", "expected"),
    [
        (((1, "first"),), ((1, "first"), (2, "b")), ((1, "first"), (2, "b"), (3, "mine"))),
        (((1, "first"), (2, "b")), ((1, "first"),), ((1, "first"), (2, "b"), (3, "mine"))),
        (((1, "first"), (4, "x")), ((1, "first"), (2, "b")), ((1, "first"), (2, "b"), (5, "mine"))),
    ],
    ids=["older archive", "newer archive", "fork"],
)
def test_lineage_continues_what_old_peers_know(
    archive: tuple[tuple[int, str], ...],
    folder: tuple[tuple[int, str], ...],
    expected: tuple[tuple[int, str], ...],
) -> None:
    """The longer of two lineages is continued; in a fork the folder's, with a number above both."""
    made = plan(
        replace(ARCHIVE, header=replace(HEAD, lineage=archive)), replace(PRESENT, lineage=folder)
    )
    assert made.lineage == expected
    assert made.refusals == ()
    told = any("a restore that this folder knows nothing of" in text for text in made.warnings)
    assert told == (expected[-1][0] == 5)


def test_number_is_above_everything_seen() -> None:
    """Receipt and peers count too."""
    receipt = {"generation": 6, "archive_sha256": "other", "restore_id": "gone"}
    assert plan(present=replace(PRESENT, receipt=receipt)).generation == 7
    peer = replace(UP, lineage=((1, "first"), (9, "z")))
    options = Options(force_bootstrap=True)
    assert (
        plan(present=replace(PRESENT, receipt=receipt), peers=(peer,), options=options).generation
        == 10
    )


@pytest.mark.parametrize(
    ("peers", "force", "words"),
    [
        ((UP,), False, "nodes of this cluster are running: node-2 (127.0.0.1:7102) | stop them"),
        ((UP,), True, None),
        ((SERVING,), False, "the cluster serves with a quorum: node-2 (127.0.0.1:7102) | nothing"),
        ((UP, SERVING), True, "the cluster serves with a quorum: node-2 (127.0.0.1:7102)"),
        ((replace(SERVING, cluster_id="another"),), False, None),
    ],
)
def test_live_peers(peers: tuple[Peer, ...], force: bool, words: str | None) -> None:
    """Running peers need --force-bootstrap, nothing overrides a quorum, foreign clusters do not
    matter."""
    made = plan(peers=peers, options=Options(force_bootstrap=force))
    if words is None:
        assert made.refusals == ()
    else:
        assert words in refusal(made)


def test_archive_of_another_cluster() -> None:
    """A foreign archive needs its cluster's id typed; then its id counts, its lineage is continued
    and nobody is fenced."""
    text = refusal(plan(FOREIGN))
    assert f"the archive is of another cluster: id {FAR} (prod), the folder has c1 (prod)" in text
    assert "--confirm-cluster c9c9c9c9:" in text
    made = plan(FOREIGN, options=Options(confirm_cluster="c9c9c9c9"))
    assert made.refusals == ()
    assert made.is_foreign
    assert (made.cluster_id, made.lineage) == (FAR, ((3, "far"), (4, "mine")))
    assert made.parent == EMPTY


@pytest.mark.parametrize("theirs", ["prod", "staging"])
@pytest.mark.parametrize("given", ["prod", "staging", "c9c9c9c", "c1", "", FAR[1:], FAR + "0"])
def test_no_name_confirms_an_archive_of_another_cluster(theirs: str, given: str) -> None:
    """Neither side's name does, whatever a script says each time, nor a shorter piece of the id."""
    foreign = replace(FOREIGN, header=replace(FOREIGN.header, cluster_name=theirs))
    made = plan(foreign, options=Options(confirm_cluster=given))
    assert f"id {FAR} ({theirs})" in refusal(made)


def test_the_id_confirms_the_same_cluster_too() -> None:
    """So the same command comes to its end after a kill: the folder is not foreign any more."""
    present = replace(PRESENT, cluster_id=FAR)
    for given in ("prod", FAR, FAR[:8]):
        assert plan(FOREIGN, present, options=Options(confirm_cluster=given)).refusals == ()
    assert "this is cluster prod" in refusal(
        plan(FOREIGN, present, options=Options(confirm_cluster=FAR[:7]))
    )


def test_a_name_that_differs_is_told() -> None:
    """Also in an empty folder, which is nobody's: its name stays."""
    foreign = replace(FOREIGN, header=replace(FOREIGN.header, cluster_name="staging"))
    for present in (PRESENT, NEW_DISK):
        (text,) = plan(foreign, present).warnings
        assert text == "the archive was saved in cluster staging: here the name stays prod"
    assert plan(FOREIGN).warnings == ()


def test_wrong_name_typed() -> None:
    """A name that is not this cluster's stops everything."""
    text = refusal(plan(options=Options(confirm_cluster="staging")))
    assert "--confirm-cluster says staging, this is cluster prod" in text


def test_pinned_digest() -> None:
    """--expect-sha256 takes exactly one file, in either case of letters."""
    assert plan(options=Options(expect_sha256=SHA.upper())).refusals == ()
    text = refusal(plan(options=Options(expect_sha256="00" * 32)))
    assert f"has the sha256 {SHA}, expected was 0000" in text


RECEIPT = {
    "archive_sha256": SHA,
    "generation": 2,
    "restore_id": "mine",
    "restored_at": "2026-05-28T20:26:40Z",
    "revision": 110,
    "revoke_tokens": False,
}
RESTORED = replace(PRESENT, lineage=((1, "first"), (2, "mine")), receipt=RECEIPT)


@pytest.mark.parametrize(
    ("present", "force", "refused"),
    [
        (RESTORED, True, True),
        (replace(RESTORED, lineage=((1, "first"), (2, "mine"), (3, "later"))), True, True),
        (RESTORED, False, False),
        (replace(RESTORED, lineage=((1, "first"),)), True, False),
        (replace(RESTORED, receipt={**RECEIPT, "archive_sha256": "00"}), True, False),
        (replace(RESTORED, receipt={}), True, False),
    ],
    ids=["again", "again, later", "plain", "another disk", "another archive", "no receipt"],
)
def test_the_same_forced_restore_again(present: Present, force: bool, refused: bool) -> None:
    """A unit file with --force-bootstrap in it must not drop the new writes at each start."""
    made = plan(present=present, options=Options(force_bootstrap=force))
    if refused:
        assert "was restored here at 2026-05-28T20:26:40Z as generation 2" in refusal(made)
    else:
        assert made.refusals == ()


def test_unfinished_restore_is_only_finished() -> None:
    """After a kill between switch and receipt nothing is in the way of the same command."""
    present = replace(RESTORED, receipt={}, unfinished=RECEIPT, untouched=True)
    made = plan(present=present, peers=(SERVING,), options=Options(force_bootstrap=True))
    assert made.is_finishing
    assert made.refusals == ()
    other = plan(replace(ARCHIVE, sha256="cd" * 32), present)
    assert not other.is_finishing
    served = replace(present, untouched=False)
    assert not plan(present=served).is_finishing
    forced = Options(force_bootstrap=True)
    assert "was restored here at" in refusal(plan(present=served, options=forced))


@pytest.mark.parametrize(
    ("untouched", "options", "finishing"),
    [
        (True, Options(force_bootstrap=True), True),
        (False, Options(force_bootstrap=True), False),
        (True, Options(), False),
        (True, Options(force_bootstrap=True, revoke_tokens=True), False),
    ],
)
def test_forced_restore_again_before_the_first_start(
    untouched: bool, options: Options, finishing: bool
) -> None:
    """Nothing can be lost yet, so the same command succeeds; any other makes a new generation."""
    assert plan(present=replace(RESTORED, untouched=untouched), options=options).is_finishing == (
        finishing
    )


def test_a_restore_that_was_done_shows_what_it_made() -> None:
    """Not the generation that another restore would make. The wrong cluster is refused even so."""
    options = Options(force_bootstrap=True)
    made = plan(present=replace(RESTORED, untouched=True), options=options)
    shown = shown_plan(made)
    for key in ("generation", "restore_id", "revision", "restored_at"):
        assert shown[key] == RECEIPT[key]
    assert shown["epoch"] == RESTORED.epoch
    wrong = replace(options, confirm_cluster="staging")
    assert "--confirm-cluster says staging" in refusal(
        plan(present=replace(RESTORED, untouched=True), options=wrong)
    )


def test_several_refusals_are_all_told() -> None:
    """The operator sees everything that is wrong at once."""
    made = plan(peers=(SERVING,), options=Options(confirm_cluster="x", expect_sha256="y"))
    assert len(made.refusals) == 3


def test_warnings() -> None:
    """What the operator should know, without being stopped by it."""
    doubtful = replace(ARCHIVE, header=replace(HEAD, stale=True), encrypted=False)
    present = replace(PRESENT, unreadable="segment 3 is damaged", uncommitted=4)
    text = "\n".join(plan(doubtful, present).warnings)
    for words in (
        "saved without a quorum",
        "not encrypted",
        "cannot be read (segment 3 is damaged)",
        "never seen committed here: 4 log entries; in the safety copy",
    ):
        assert words in text
    assert plan().warnings == ()


def test_next_steps_name_every_node_in_order() -> None:
    """This node first, then the others by name."""
    assert plan().next_steps == (
        "on node-1, first: sudo systemctl start heroctl-server",
        "on node-1: heroctl status (wait for a leader)",
        "on node-2, then: sudo systemctl start heroctl-server",
        "on node-3, then: sudo systemctl start heroctl-server",
    )


def test_a_node_that_runs_is_not_told_to_start() -> None:
    """It restored itself, so there is nothing to start but the others."""
    assert plan(present=replace(PRESENT, runs=True)).next_steps == (
        "on node-1: heroctl status (wait for a leader)",
        "on node-2, then: sudo systemctl start heroctl-server",
        "on node-3, then: sudo systemctl start heroctl-server",
    )
    again = plan(present=replace(RESTORED, runs=True), options=Options(force_bootstrap=True))
    assert "| heroctl status shows it. If you do mean it" in refusal(again)


def test_revived_tokens_are_none_when_all_are_revoked() -> None:
    """--revoke-tokens leaves nothing to warn of."""
    more = {"restore_id": "mine", "now_ms": NOW, "revived_tokens": 3}
    assert make_plan(ARCHIVE, PRESENT, (), Options(), **more).revived_tokens == 3  # type: ignore[arg-type]
    revoked = Options(revoke_tokens=True)
    assert make_plan(ARCHIVE, PRESENT, (), revoked, **more).revived_tokens == 0  # type: ignore[arg-type]


def test_receipt() -> None:
    """The receipt names archive, generation and time."""
    assert plan(options=Options(force_bootstrap=True)).receipt() == {
        "archive": "/b/snap.tar.gz",
        "archive_sha256": SHA,
        "cluster_id": "c1",
        "forced": True,
        "generation": 2,
        "restore_id": "mine",
        "restored_at": "2026-05-28T20:26:40Z",
        "revision": 117,
        "revoke_tokens": False,
    }
