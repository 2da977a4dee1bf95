"""How a restore is shown, refused and confirmed."""

from __future__ import annotations

import io
from typing import Any

import pytest

from heroctl_cli import restores
from heroctl_core.errors import RecoveryError, UsageError

PLAN: dict[str, Any] = {
    "archive": "/b/snap.tar.gz", "archive_sha256": "ab" * 32, "archive_created_at": "T",
    "archive_node": "n1", "age_s": 7200, "cluster": "prod", "cluster_id": "cd" * 16,
    "generation": 3, "restore_id": "ef" * 8, "warnings": [],
    "counts": {"jobs": 47, "secrets": 23, "acl_rules": 12, "nodes": 4},
    "lost": [
        {"kind": "jobs", "dropped": 2, "changed": 1, "returned": 0},
        {"kind": "metrics", "dropped": 319, "changed": 0, "returned": 0},
    ],
    "revived_tokens": 5, "not_in_archive": ["server.yaml", "logs"], "refusals": [],
    "safety_copy": None, "no_safety_copy": "the folder was empty", "finished": False,
    "next_steps": ["on n1, first: start"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"),
        (7199, "119 minutes"), (7200, "2 hours"), (172_799, "47 hours"), (172_800, "2 days"),
    ],
)  # fmt: skip
def test_an_age_is_told_in_the_largest_unit_that_fits_twice(seconds: int, text: str) -> None:
    """So that 119 minutes are never called 1 hour."""
    assert restores.age(seconds) == text


def test_the_plan_shows_what_comes_and_what_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, losses, tokens that live again, and what an archive never has."""
    restores.tell_plan(PLAN)
    shown = capsys.readouterr().out
    for words in (
        "brings back  47 jobs, 23 secrets, 12 acl rules, 4 nodes",
        "jobs: 2 only in the state before: lost, 1 changed since: go back",
        "metric blocks of six hours: 319 only in the state before: lost",
        "revoked or not known here, valid again: 5 tokens; --revoke-tokens",
        "not in an archive: server.yaml, logs",
        "2 hours",
    ):
        assert words in shown


def test_the_report_ends_with_what_to_type_next(capsys: pytest.CaptureFixture[str]) -> None:
    """And says why there is no safety copy; a finished restore is called so."""
    restores.tell_report({**PLAN, "finished": True, "restored_at": "2026-05-28T20:26:40Z"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "restored already at 2026-05-28T20:26:40Z: cluster prod, generation 3"
    assert "no safety copy of the state before: the folder was empty" in lines
    assert lines[-2:] == ["next:", "  on n1, first: start"]


def test_a_refusal_is_exit_code_9_with_its_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The first is the error, the others are told too."""
    restores.refuse(PLAN)
    refusals = [{"message": "a", "hint": "do x"}, {"message": "b", "hint": "do y"}]
    with pytest.raises(RecoveryError, match="a") as caught:
        restores.refuse({**PLAN, "refusals": refusals})
    assert (caught.value.exit_code, caught.value.hint) == (9, "do x")
    assert "also refused: b" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("yes", "name"), [(False, None), (True, None), (False, "prod"), (True, "prodd")]
)
def test_without_a_terminal_both_words_must_be_said_and_fit(
    monkeypatch: pytest.MonkeyPatch, yes: bool, name: str | None
) -> None:
    """Otherwise nothing is done, exit code 2."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match=r"prod|terminal"):
        restores.confirm(PLAN, yes=yes, confirm_cluster=name)
    restores.confirm(PLAN, yes=True, confirm_cluster="prod")


def test_a_foreign_archive_is_confirmed_by_its_clusters_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags that a script always says are not enough; the error says what is."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    foreign = {**PLAN, "foreign": True}
    with pytest.raises(UsageError, match="'prod' is not cdcdcdcd: nothing was changed"):
        restores.confirm(foreign, yes=True, confirm_cluster="prod")
    with pytest.raises(UsageError) as caught:
        restores.confirm(foreign, yes=True, confirm_cluster=None)
    assert caught.value.hint == "say --yes --confirm-cluster cdcdcdcd"
    restores.confirm(foreign, yes=True, confirm_cluster="cdcdcdcd")


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("foreign", "wrong", "right"), [(False, "prodd", "prod"), (True, "prod", "cdcdcdcd")]
)
def test_the_question_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    foreign: bool,
    wrong: str,
    right: str,
) -> None:
    """The name, or of a foreign archive its cluster's id; the name is no answer then."""
    plan = {**PLAN, "foreign": foreign}
    monkeypatch.setattr("sys.stdin", Terminal(f"{wrong}\n"))
    with pytest.raises(UsageError, match=f"'{wrong}' is not {right}: nothing was changed"):
        restores.confirm(plan, yes=False, confirm_cluster=None)
    monkeypatch.setattr("sys.stdin", Terminal(f"{right}\n"))
    restores.confirm(plan, yes=False, confirm_cluster=None)
    asked = capsys.readouterr()
    assert f"({right}) to restore" in asked.out + asked.err
