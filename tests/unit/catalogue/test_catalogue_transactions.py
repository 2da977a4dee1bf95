"""Transactions as a service uses them: parts made by the resources, rights checked for each."""

from __future__ import annotations

import pytest

from heroctl_core import limits
from heroctl_core.catalogue.access import Actor, Policy, Rule
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.catalogue.writes import Written
from heroctl_core.errors import CommandRejected, OutcomeUnknown
from heroctl_core.testing.replicator import InMemoryReplicator


def actor(*rules: Rule) -> Actor:
    return Actor("ci", (Policy("p", rules),))


def test_a_release_is_one_write(catalogue: Catalogue) -> None:
    """A job, its secret, its route and its node appear at once; what they replace is gone."""
    old = catalogue.jobs.put("web-1", {}).revision
    written = catalogue.transaction(
        [
            catalogue.jobs.put_command("web-2", {"image": "web:2"}, expect=0),
            catalogue.secrets.put_command("web-2", b"fake"),
            catalogue.ingress.put_command("web", host="example.org", job="web-2", port=80),
            catalogue.nodes.put_command("node-1", address="10.0.0.1:1"),
            catalogue.jobs.delete_command("web-1", expect=old),
            catalogue.jobs.expectation("web-3", 0),
        ]
    )
    assert written == Written(old + 1)
    assert catalogue.jobs.get("web-2").revision == catalogue.ingress.get("web").revision == old + 1
    assert catalogue.secrets.get("web-2").value == b"fake"
    with pytest.raises(CommandRejected, match="does not exist"):
        catalogue.jobs.get("web-1")


def test_one_refusal_refuses_all(catalogue: Catalogue) -> None:
    """With the number of the part."""
    catalogue.jobs.put("web", {})
    with pytest.raises(CommandRejected, match="operation 2: job web is at revision 1") as caught:
        catalogue.transaction(
            [
                catalogue.jobs.put_command("new", {}),
                catalogue.jobs.expectation("web", 7),
                catalogue.nodes.put_command("node-1", address="10.0.0.1:1"),
            ]
        )
    assert caught.value.reason == "conflict"
    assert [job.name for job in catalogue.jobs.list()] == ["web"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule("job", "*", ("write",)), "may not write secret db"),
        (Rule("secret", "*", ("write",)), "may not write job web"),
        (Rule("*", "*", ("write",)), "may not read job other"),
        (Rule("*", "*", ("write", "read")), None),
    ],
)
def test_every_part_needs_its_right(catalogue: Catalogue, rule: Rule, words: str | None) -> None:
    """Also an expectation: it would tell the revision of a row that one may not read."""
    parts = [
        catalogue.jobs.put_command("web", {}),
        catalogue.secrets.put_command("db", b"x"),
        catalogue.jobs.expectation("other", 0),
    ]
    if words is None:
        catalogue.transaction(parts, actor=actor(rule))
        return
    with pytest.raises(CommandRejected, match=words) as caught:
        catalogue.transaction(parts, actor=actor(rule))
    assert caught.value.reason == "denied"
    assert catalogue.jobs.list() == []


def test_a_part_is_validated_where_it_is_made(catalogue: Catalogue) -> None:
    """Before anything is sent."""
    for make in (
        lambda: catalogue.jobs.delete_command("../x"),
        lambda: catalogue.jobs.expectation("web", -1),
        lambda: catalogue.nodes.put_command("", address="x"),
        lambda: catalogue.ingress.put_command("i", host="h", job="j", port=1, expect=-1),
    ):
        with pytest.raises(CommandRejected) as caught:
            make()
        assert caught.value.reason == "invalid"


def test_rights_cannot_be_part_of_one(catalogue: Catalogue) -> None:
    """They are judged by the rows that are there, which earlier parts could change."""
    with pytest.raises(CommandRejected, match="operation 1: a command of kind 6 cannot be part"):
        catalogue.transaction([catalogue.acl.policies.delete_command("p")])


def test_a_transaction_too_large_for_an_entry_is_refused(catalogue: Catalogue) -> None:
    """With both numbers, before it is sent."""
    spec = {"filling": "x" * 100_000}
    with pytest.raises(CommandRejected, match=f"the limit is {limits.ENTRY_BYTES}") as caught:
        catalogue.transaction([catalogue.jobs.put_command(f"job-{n}", spec) for n in range(3)])
    assert caught.value.reason == "too_large"


def test_a_lost_answer_is_safe_to_retry(
    catalogue: Catalogue, replicator: InMemoryReplicator
) -> None:
    """Under its id it is applied once."""
    request_id = catalogue.writer.new_request_id()
    parts = [catalogue.jobs.put_command("web", {}, expect=0)]
    replicator.lose_outcomes()
    with pytest.raises(OutcomeUnknown):
        catalogue.transaction(parts, request_id=request_id)
    replicator.lose_outcomes(losing=False)
    assert catalogue.transaction(parts, request_id=request_id) == Written(1)
