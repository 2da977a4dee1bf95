"""Put, get, list and delete of each kind of resource, and what is refused before it is proposed."""

from __future__ import annotations

import json
from datetime import date
from enum import StrEnum
from typing import Any

import pytest

from heroctl_core import limits
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.catalogue.writes import Written
from heroctl_core.codec import unpack
from heroctl_core.errors import CommandRejected, Damaged, UsageError
from heroctl_core.state.metrics import BLOCK_MS
from heroctl_core.testing.clock import ManualClock
from heroctl_core.testing.replicator import InMemoryReplicator


class Colour(StrEnum):
    RED = "red"


def rejected(error: pytest.ExceptionInfo[CommandRejected]) -> tuple[str, str]:
    return error.value.reason, error.value.message


def test_a_job_comes_back(catalogue: Catalogue, clock: ManualClock) -> None:
    """Spec, labels, revision, version and times are those of the last put."""
    spec = {"image": "shop/web:2.14", "replicas": 3, "ports": [80, {"name": "x"}], "cpu": 0.5}
    assert catalogue.jobs.put("web", spec, labels={"team": "shop"}, expect=0) == Written(1)
    made_ms = clock.time_ms()
    clock.advance(60)
    assert catalogue.jobs.put("web", spec, expect=1) == Written(2)
    job = catalogue.jobs.get("web")
    assert job.spec == spec
    assert job.labels == {}
    assert (job.version, job.revision) == (2, 2)
    assert (job.created_ms, job.modified_ms) == (made_ms, made_ms + 60_000)
    assert json.loads(json.dumps(job.to_json()))["spec"] == spec


def test_a_secret_comes_back_and_is_hidden(
    catalogue: Catalogue, replicator: InMemoryReplicator
) -> None:
    """The state holds no plain value, repr and lists show none, get gives it."""
    catalogue.secrets.put("db-password", b"correct horse", metadata={"owner": "shop"})
    row = replicator.machine.get("secrets", "db-password")
    assert row is not None
    assert b"correct horse" not in row
    secret = catalogue.secrets.get("db-password")
    assert secret.value == b"correct horse"
    assert "correct horse" not in repr(secret)
    assert secret.to_json()["value"] == "correct horse"
    (listed,) = catalogue.secrets.list()
    assert listed.value is None
    assert "value" not in listed.to_json()
    assert listed.metadata == {"owner": "shop"}


def test_a_secret_that_is_no_text_is_shown_as_base64(catalogue: Catalogue) -> None:
    """Any bytes are a value; in JSON they are base64 when they are no UTF-8. Text is UTF-8."""
    catalogue.secrets.put("key", b"\xff\x00")
    assert catalogue.secrets.get("key").to_json()["value_base64"] == "/wA="
    catalogue.secrets.put("word", "größe")
    assert catalogue.secrets.get("word").value == "größe".encode()


def test_a_secret_moved_to_another_name_does_not_open(catalogue: Catalogue) -> None:
    """A sealed value is bound to its name."""
    command = catalogue.secrets.put_command("a", b"value")
    moved = type(command)("b", command.sealed, {}, None)
    catalogue.submit(moved).result()
    with pytest.raises(Damaged, match="secret b: tag mismatch"):
        catalogue.secrets.get("b")


def test_a_route_and_a_node_come_back(catalogue: Catalogue) -> None:
    """Fields of ingress routes and nodes, with the defaults of a route."""
    catalogue.jobs.put("web", {})
    catalogue.ingress.put("shop", host="shop.example.org", job="web", port=8080)
    route = catalogue.ingress.get("shop")
    assert (route.host, route.path, route.job, route.port, route.tls) == (
        "shop.example.org",
        "/",
        "web",
        8080,
        True,
    )
    catalogue.nodes.put("n1", address="10.0.0.1", labels={"hall": "a"}, resources={"cpu": 16})
    node = catalogue.nodes.get("n1")
    assert (node.address, node.labels, node.resources) == ("10.0.0.1", {"hall": "a"}, {"cpu": 16})
    assert json.dumps([route.to_json(), node.to_json()])
    assert [each.name for each in catalogue.ingress.list()] == ["shop"]
    assert [each.name for each in catalogue.nodes.list()] == ["n1"]


def test_delete_drops_a_row(catalogue: Catalogue) -> None:
    """After a delete, get and a second delete are not_found."""
    catalogue.jobs.put("web", {})
    catalogue.secrets.put("db", b"x")
    catalogue.nodes.put("n1", address="10.0.0.1")
    catalogue.ingress.put("shop", host="h", job="web", port=1)
    for facade, name in (
        (catalogue.ingress, "shop"),
        (catalogue.jobs, "web"),
        (catalogue.secrets, "db"),
        (catalogue.nodes, "n1"),
    ):
        facade.delete(name)  # type: ignore[attr-defined]
        for call in (facade.get, facade.delete):  # type: ignore[attr-defined]
            with pytest.raises(CommandRejected) as caught:
                call(name)
            assert caught.value.reason == "not_found"
            assert name in caught.value.message


def test_what_the_state_refuses_is_an_error(catalogue: Catalogue) -> None:
    """Conflicts and references of the state reach the caller with reason and message."""
    catalogue.jobs.put("web", {})
    with pytest.raises(CommandRejected) as caught:
        catalogue.jobs.put("web", {}, expect=0)
    assert rejected(caught) == ("conflict", "job web exists already at revision 1")
    catalogue.ingress.put("shop", host="h", job="web", port=1)
    with pytest.raises(CommandRejected) as caught:
        catalogue.jobs.delete("web")
    assert rejected(caught) == ("conflict", "job web is used by ingress shop")


def test_lists_are_sorted_cut_and_continued(catalogue: Catalogue) -> None:
    """By name over all shards; prefix, limit and after make pages without gaps."""
    names = [f"{team}/job-{i}" for team in ("a", "b") for i in range(10)]
    for name in reversed(names):
        catalogue.jobs.put(name, {})
    assert [job.name for job in catalogue.jobs.list()] == names
    assert [job.name for job in catalogue.jobs.list("b/")] == names[10:]
    paged: list[str] = []
    while page := catalogue.jobs.list(limit=7, after=paged[-1] if paged else None):
        assert len(page) <= 7
        paged += [job.name for job in page]
    assert paged == names


@pytest.mark.parametrize("limit", [0, -1, True, "3"])
def test_a_limit_is_a_number_from_one(catalogue: Catalogue, limit: Any) -> None:
    """Anything else is an error of the call, not an empty list."""
    for call in (catalogue.jobs.list, catalogue.metrics.list, catalogue.acl.list_tokens):
        with pytest.raises(UsageError, match="not a number from 1"):
            call(limit=limit)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (["a"], "spec of job web is a list, not a map"),
        ({"since": date(2026, 1, 1)}, "spec of job web.since is a date: quote this"),
        ({"a": [1, {"b": b"x"}]}, "spec of job web.a[1].b is bytes, which JSON cannot hold"),
        ({"a": float("nan")}, "spec of job web.a is nan, which JSON cannot hold: quote this"),
        ({"a": [float("-inf")]}, "spec of job web.a[0] is -inf, which JSON cannot hold: quote"),
        ({"env": {False: "x"}}, "spec of job web.env has the key False, which is no text: quote"),
        ({"a": 2**63}, f"spec of job web.a is {2**63}, beyond 64 bits"),
        ({"a": Colour.RED}, "spec of job web.a is a Colour: quote this"),
        ({"a": "\ud800"}, "spec of job web.a is no valid unicode text"),
    ],
)
def test_values_that_json_cannot_hold_are_refused(
    catalogue: Catalogue, spec: Any, message: str
) -> None:
    """The message names the place and what to do, before anything is proposed."""
    with pytest.raises(CommandRejected) as caught:
        catalogue.jobs.put("web", spec)
    assert caught.value.reason == "invalid"
    assert caught.value.message.startswith(message)


def test_endless_nesting_is_refused(catalogue: Catalogue) -> None:
    """A value that holds itself, or is nested too deeply, ends with an error."""
    endless: dict[str, Any] = {}
    endless["a"] = endless
    with pytest.raises(CommandRejected, match=f"nested deeper than {limits.NESTING} levels"):
        catalogue.jobs.put("web", endless)


def test_a_big_job_is_refused_with_the_limit_and_its_size(catalogue: Catalogue) -> None:
    """Ten megabytes do not travel to the state to be refused."""
    with pytest.raises(CommandRejected) as caught:
        catalogue.jobs.put("web", {"a": "x" * 10_000_000})
    reason, message = rejected(caught)
    assert reason == "too_large"
    assert message == f"spec of job web has 10000008 bytes, the limit is {limits.ROW_BYTES}"
    with pytest.raises(CommandRejected) as caught:
        catalogue.secrets.put("s", bytes(limits.ROW_BYTES + 1))
    assert rejected(caught)[0] == "too_large"


def test_a_command_beyond_an_entry_is_refused(catalogue: Catalogue, clock: ManualClock) -> None:
    """So many samples at once do not fit the log's entry; the message has both numbers."""
    samples = [(clock.time_ms() + i, 1.5) for i in range(20_000)]
    with pytest.raises(
        CommandRejected, match=f"bytes, the limit is {limits.ENTRY_BYTES}"
    ) as caught:
        catalogue.metrics.append("cpu", samples)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("name", ["", "..", "../x", "/x", "a\n", "x" * 254, None, b"x"])
def test_bad_names_are_refused(catalogue: Catalogue, name: Any) -> None:
    """Every facade refuses a name that is empty, too long or would leave a folder."""
    calls = [
        lambda: catalogue.jobs.put(name, {}),
        lambda: catalogue.secrets.put(name, b"x"),
        lambda: catalogue.ingress.put(name, host="h", job="web", port=1),
        lambda: catalogue.nodes.put(name, address="10.0.0.1"),
        lambda: catalogue.acl.put_policy(name, []),
        lambda: catalogue.acl.put_token(name, []),
        lambda: catalogue.jobs.delete(name),
    ]
    for call in calls:
        with pytest.raises(CommandRejected) as caught:
            call()
        assert caught.value.reason == "invalid"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"a": 1}, "labels of job web.a is a int, not text: quote this"),
        ({"a": date(2026, 1, 1)}, "labels of job web.a is a date, not text: quote this"),
        ({1: "a"}, "labels of job web has the key 1, which is no text: quote this"),
        (["a"], "labels of job web is a list, not a map of text to text"),
    ],
)
def test_labels_are_text(catalogue: Catalogue, labels: Any, message: str) -> None:
    """A label that YAML made a number or a date is refused with its place."""
    with pytest.raises(CommandRejected) as caught:
        catalogue.jobs.put("web", {}, labels=labels)
    assert rejected(caught) == ("invalid", message)


@pytest.mark.parametrize("expect", [-1, True, "1", 1.0])
def test_expect_is_a_revision(catalogue: Catalogue, expect: Any) -> None:
    """Anything else is refused and never taken for "do not care"."""
    with pytest.raises(CommandRejected, match="not a revision"):
        catalogue.jobs.put("web", {}, expect=expect)


def test_a_spec_is_stored_canonically(catalogue: Catalogue, replicator: InMemoryReplicator) -> None:
    """The order of keys in the caller's map does not matter to the bytes."""
    catalogue.jobs.put("a", {"x": 1, "b": {"d": 1, "c": 2}})
    catalogue.jobs.put("b", {"b": {"c": 2, "d": 1}, "x": 1})
    specs = [unpack(replicator.machine.get("jobs", name) or b"")["spec"] for name in "ab"]
    assert specs[0] == specs[1]


def test_metrics_come_back(catalogue: Catalogue, clock: ManualClock) -> None:
    """Samples by series, labels and time; the list gives counts, expiry drops old blocks."""
    now = clock.time_ms()
    old = now - 2 * BLOCK_MS
    catalogue.metrics.append("cpu", [(old, 1), (now, 2.5)], labels={"node": "a"})
    catalogue.metrics.append("cpu", [(now, 3)], labels={"node": "b"})
    catalogue.metrics.append("mem", [(now, 4)])
    both = catalogue.metrics.get("cpu")
    assert [(each.labels["node"], each.samples) for each in both] == [
        ("a", ((old, 1.0), (now, 2.5))),
        ("b", ((now, 3.0),)),
    ]
    (late,) = catalogue.metrics.get("cpu", labels={"node": "a"}, start_ms=old + 1)
    assert late.samples == ((now, 2.5),)
    (early,) = catalogue.metrics.get("cpu", start_ms=old, end_ms=now)
    assert early.samples == ((old, 1.0),)
    assert [(each.series, each.count) for each in catalogue.metrics.list()] == [
        ("cpu", 2),
        ("cpu", 1),
        ("mem", 1),
    ]
    assert [each.series for each in catalogue.metrics.list(after="cpu")] == ["mem"]
    catalogue.metrics.delete("mem")
    with pytest.raises(CommandRejected, match="metrics mem does not exist"):
        catalogue.metrics.delete("mem")
    catalogue.metrics.expire(now - now % BLOCK_MS)
    assert [each.count for each in catalogue.metrics.list("cpu")] == [1, 1]
    assert json.dumps([each.to_json() for each in both])


@pytest.mark.parametrize("samples", [[1, 2], [(1, 2, 3)], 5])
def test_samples_are_pairs(catalogue: Catalogue, samples: Any) -> None:
    """Anything else is invalid."""
    with pytest.raises(CommandRejected, match="pairs of time and value"):
        catalogue.metrics.append("cpu", samples)
