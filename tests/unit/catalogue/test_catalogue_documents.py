"""Documents as writes: each kind, its fields, times, order, and the example catalogue."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from heroctl_core.catalogue.access import Actor
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.catalogue.documents import in_order, parse, put, time_ms_of
from heroctl_core.config.documents import values_of
from heroctl_core.errors import CommandRejected
from heroctl_core.testing.clock import ManualClock

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "catalogue"
NOW_MS = 1_700_000_000_000
DOCUMENTS: list[dict[str, Any]] = [
    {"kind": "ingress", "name": "shop", "host": "h", "path": "/", "job": "web", "port": 1,
     "tls": False},
    {"kind": "token", "name": "ci", "policies": ["deployers"], "expires": "2027-01-01T00:00:00Z"},
    {"kind": "policy", "name": "deployers",
     "rules": [{"resource": "job", "name": "web-*", "actions": ["read"]}]},
    {"kind": "job", "name": "web", "labels": {"team": "shop"}, "spec": {"replicas": 3}},
    {"kind": "secret", "name": "text", "value": "v1", "metadata": {"owner": "x"}},
    {"kind": "secret", "name": "bytes", "value_base64": "/wA="},
    {"kind": "node", "name": "node-1", "address": "10.20.0.11", "labels": {"hall": "a"},
     "resources": {"cpu": 16}},
    {"kind": "metrics", "series": "cpu", "labels": {"node": "node-1"}, "start": "-1h",
     "step_s": 60, "values": [1, 2.5, None, 3]},
]  # fmt: skip


def document(kind: str, **change: Any) -> dict[str, Any]:
    found = next(dict(each) for each in DOCUMENTS if each["kind"] == kind)
    found.update(change)
    return {key: value for key, value in found.items() if value is not ...}


def test_every_kind_is_written_in_an_order_that_works(catalogue: Catalogue) -> None:
    """Documents in any order: what others point at is written first."""
    for each in in_order(parse(DOCUMENTS, now_ms=NOW_MS)):
        put(catalogue, each)
    assert catalogue.ingress.get("shop").tls is False
    assert catalogue.jobs.get("web").labels == {"team": "shop"}
    assert catalogue.secrets.get("text").value == b"v1"
    assert catalogue.secrets.get("bytes").value == b"\xff\x00"
    assert catalogue.acl.get_token("ci").expires_ms == 1_798_761_600_000
    assert catalogue.nodes.get("node-1").resources == {"cpu": 16}
    (series,) = catalogue.metrics.get("cpu")
    start_ms = NOW_MS - 3_600_000
    assert series.samples == (
        (start_ms, 1.0), (start_ms + 60_000, 2.5), (start_ms + 180_000, 3.0),
    )  # fmt: skip


def test_the_examples_can_be_loaded(catalogue: Catalogue) -> None:
    """All files of examples/catalogue, in any order, become what the guide counts; and twice."""
    found = [
        each
        for path in sorted(EXAMPLES.glob("*.yaml"))
        for value in values_of(path.read_text(encoding="utf-8"), name=path.name)
        for each in parse(value, now_ms=NOW_MS)
    ]
    for each in [*in_order(found), *in_order(found)]:
        put(catalogue, each)
    assert len(catalogue.jobs.list()) == 47
    assert len(catalogue.secrets.list()) == 23
    assert sum(len(policy.rules) for policy in catalogue.acl.list_policies()) == 12
    assert len(catalogue.nodes.list()) == 4
    assert len(catalogue.acl.list_tokens()) == 5


def test_put_carries_actor_expect_and_request_id(catalogue: Catalogue) -> None:
    """A document is written as somebody, with compare-and-set, and once."""
    (job,) = parse(document("job"), now_ms=NOW_MS)
    request_id = catalogue.writer.new_request_id()
    first = put(catalogue, job, expect=0, request_id=request_id)
    assert put(catalogue, job, expect=0, request_id=request_id) == first
    with pytest.raises(CommandRejected, match="exists already"):
        put(catalogue, job, expect=0)
    with pytest.raises(CommandRejected, match="nobody may not write job web"):
        put(catalogue, job, actor=Actor("nobody"))
    (series,) = parse(document("metrics"), now_ms=NOW_MS)
    with pytest.raises(CommandRejected, match="expect has no meaning"):
        put(catalogue, series, expect=0)


def test_one_list_or_nothing() -> None:
    """A value is a document, a list of them, or empty."""
    assert parse(None, now_ms=NOW_MS) == []
    assert parse([], now_ms=NOW_MS) == []
    assert len(parse(document("job"), now_ms=NOW_MS)) == 1
    assert len(parse([document("job"), None], now_ms=NOW_MS)) == 1


def test_the_kind_of_a_command_is_taken_and_checked() -> None:
    """`job put` needs no kind in its document and refuses another one."""
    without = {key: value for key, value in document("job").items() if key != "kind"}
    (found,) = parse(without, now_ms=NOW_MS, kind="job")
    assert (found.kind, found.name) == ("job", "web")
    with pytest.raises(CommandRejected, match="document 1: kind is secret, job was expected"):
        parse(document("secret"), now_ms=NOW_MS, kind="job")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("web", "document 1 is a str, not a map with a kind"),
        ({"name": "web"}, "document 1: kind is None, allowed: ingress, job, metrics, node, "),
        ({"kind": "pod"}, "document 1: kind is 'pod', allowed: ingress, job"),
        ({"kind": ["job"]}, "document 1: kind is ['job'], allowed"),
        ([document("job"), document("job", spec=...)], "document 2 (job) lacks the field spec"),
        (document("job", sepc={}), "document 1 (job) has the unknown field 'sepc', allowed: name"),
        (document("job", spec=[]), "document 1 (job): spec is a list, not a map"),
        (document("job", name=8080), "document 1 (job): name is a number, not text"),
        (document("job", name="../x"), "document 1: job name '../x' has \"..\" in it"),
        (document("ingress", port=True), "document 1 (ingress): port is true or false, not a num"),
        (document("token", expires=date(2027, 1, 1)), "document 1 (token): expires is a date: quo"),
        (document("token", expires="soon"), "document 1 (token ci): expires 'soon' is no time"),
        (document("token", expires="-7d"), "document 1 (token ci): expires '-7d' is no time"),
        (document("token", expires="2027-01-01T00:00:00"), "document 1 (token ci): expires '2027"),
        (document("secret", value=5), "document 1 (secret): value is a number, not text"),
        (document("secret", value=...), "document 1 (secret text) must have one of value and val"),
        (document("secret", value_base64="eA=="), "document 1 (secret text) must have one of"),
        (document("secret", value=..., value_base64="*"), "document 1 (secret text): value_base64"),
        (document("metrics", values=[1, "2"]), "document 1 (metrics cpu): values[1] is text, not"),
        (document("metrics", step_s=0), "document 1 (metrics cpu): step_s must be above 0"),
        (document("metrics", step_s="60"), "document 1 (metrics): step_s is text, not a number or"),
    ],
)
def test_documents_that_cannot_be_used(value: Any, message: str) -> None:
    """Refused before anything is written, with number, field and what is allowed."""
    with pytest.raises(CommandRejected) as caught:
        parse(value, now_ms=NOW_MS)
    assert caught.value.reason == "invalid"
    assert caught.value.message.startswith(message), caught.value.message


def test_a_secret_is_never_in_a_message_or_a_repr() -> None:
    """Neither a refused nor a good secret document shows its value."""
    for change in ({"value": 12345678}, {"value": ..., "value_base64": "s3cret!"}):
        with pytest.raises(CommandRejected) as caught:
            parse(document("secret", **change), now_ms=NOW_MS)
        assert "12345678" not in caught.value.message
        assert "s3cret" not in caught.value.message
    (good,) = parse(document("secret", value="s3cret"), now_ms=NOW_MS)
    assert "s3cret" not in repr(good)


def test_parse_leaves_the_callers_value_alone() -> None:
    """A document can be parsed again: nothing was taken out of it."""
    value = document("metrics")
    assert parse(value, now_ms=NOW_MS) == parse(value, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2027-01-01T00:00:00Z", 1_798_761_600_000),
        ("2027-01-01T01:00:00+01:00", 1_798_761_600_000),
        ("2027-01-01T00:00:00.250Z", 1_798_761_600_250),
        ("-7d", NOW_MS - 7 * 86_400_000),
        ("-90m", NOW_MS - 90 * 60_000),
        ("-0s", NOW_MS),
    ],
)
def test_times(text: str, time_ms: int) -> None:
    """RFC 3339 with a zone, or a span before now."""
    assert time_ms_of("start", text, now_ms=NOW_MS) == time_ms


def test_metrics_of_the_window_can_be_loaded(catalogue: Catalogue, clock: ManualClock) -> None:
    """Seven days from `-7d` are taken even when some time goes by before they are written."""
    value = document("metrics", start="-7d", step_s=3600, values=[1] * (7 * 24))
    (series,) = parse(value, now_ms=clock.time_ms())
    clock.advance(5)
    put(catalogue, series)
    assert catalogue.metrics.list()[0].count == 7 * 24
