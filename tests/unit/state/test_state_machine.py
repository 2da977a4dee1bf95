"""What holds for every command: expect, revisions, request ids, time, defects, dumps."""

from __future__ import annotations

import pytest

from heroctl_core import limits
from heroctl_core.codec import pack, unpack
from heroctl_core.errors import StateDefect
from heroctl_core.state.commands import (
    KINDS,
    Command,
    DeleteJob,
    Envelope,
    PutIngress,
    PutJob,
    UnknownKind,
    decode,
    encode,
)
from heroctl_core.state.machine import _RULES, StateMachine
from heroctl_core.state.outcome import Applied, Outcome, Rejected, Stamp
from heroctl_core.state.requests import _DUMP_BYTES_MAX, Requests

NOW_MS = 1_700_000_000_000


class Driver:
    """Applies commands with fresh request ids at a time that the test sets."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self.now_ms = NOW_MS
        self.sent = 0

    def send(self, command: Command, *, request_id: int | None = None, ago_ms: int = 0) -> Outcome:
        self.sent += 1
        number = self.sent if request_id is None else request_id
        envelope = Envelope(number.to_bytes(16), self.now_ms - ago_ms, "operator", "test", command)
        return self.machine.apply(encode(envelope), Stamp(self.sent, self.now_ms))


def put(name: str = "web", expect: int | None = None, spec: bytes = b"\x80") -> PutJob:
    return PutJob(name, spec, {}, expect)


def test_each_applied_command_raises_the_revision_by_one() -> None:
    """Applied carries the revision after the command; a refusal leaves it."""
    driver = Driver()
    assert driver.send(put()) == Applied(1)
    assert driver.send(DeleteJob("ghost")) == Rejected("not_found", "job ghost does not exist", 1)
    assert driver.send(put()) == Applied(2)
    assert driver.machine.revision == 2


def test_a_row_carries_when_it_was_made_and_changed() -> None:
    """created_* stay, modified_ms, revision and version move on with each put."""
    driver = Driver()
    driver.send(put("other"))
    driver.send(put())
    driver.now_ms += 5
    driver.send(put(spec=b"\x81\xa1a\x01"))
    row = driver.machine.get("jobs", "web")
    assert row is not None
    assert unpack(row) == {
        "created_ms": NOW_MS,
        "created_revision": 2,
        "labels": {},
        "modified_ms": NOW_MS + 5,
        "revision": 3,
        "spec": b"\x81\xa1a\x01",
        "version": 2,
    }


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        (0, "job web exists already at revision 1"),
        (2, "job web is at revision 1, not at 2"),
    ],
)
def test_expect_refuses_another_revision(expect: int, message: str) -> None:
    """A put that saw something else is a conflict, and says what is there."""
    driver = Driver()
    driver.send(put(expect=0))
    before = driver.machine.get("jobs", "web")
    assert driver.send(put(expect=expect)) == Rejected("conflict", message, 1)
    assert driver.send(DeleteJob("web", expect)) == Rejected("conflict", message, 1)
    assert driver.machine.get("jobs", "web") == before


def test_expect_of_a_row_that_is_not_there_is_a_conflict() -> None:
    """A put over a revision that was deleted is refused; a delete of nothing is not_found."""
    driver = Driver()
    message = "job web does not exist, revision 7 was expected"
    assert driver.send(put(expect=7)) == Rejected("conflict", message, 0)
    gone = driver.send(DeleteJob("web", 7))
    assert gone == Rejected("not_found", "job web does not exist", 0)


def test_expect_of_the_right_revision_is_applied() -> None:
    """A put and a delete with the revision that is there have their effect."""
    driver = Driver()
    driver.send(put(expect=0))
    assert driver.send(put(expect=1)) == Applied(2)
    assert driver.send(DeleteJob("web", 2)) == Applied(3)
    assert driver.machine.get("jobs", "web") is None


def test_a_repeated_request_id_gives_the_first_outcome() -> None:
    """A retry is not applied again, whether the first try was applied or refused."""
    driver = Driver()
    first = driver.send(put(expect=0), request_id=1)
    refused = driver.send(put(expect=0), request_id=2)
    driver.send(put("other"))
    assert driver.send(put(expect=0), request_id=1) == first == Applied(1)
    assert driver.send(put(expect=0), request_id=2) == refused
    assert driver.machine.revision == 2


@pytest.mark.parametrize(("ago_ms", "expired"), [(-1, False), (0, False), (1, True)])
def test_a_request_older_than_the_table_is_expired(ago_ms: int, expired: bool) -> None:
    """Ten minutes and not a millisecond more after it was made a request is still taken."""
    outcome = Driver().send(put(), ago_ms=limits.REQUEST_AGE_MS + ago_ms)
    assert isinstance(outcome, Rejected) == expired
    if expired:
        assert outcome == Rejected(
            "request_expired",
            "the request was made 600 s ago, its outcome is not kept any more",
            0,
        )


def test_an_id_that_was_dropped_is_refused_and_never_applied_twice() -> None:
    """After its outcome is gone by age, a retry with the old stamp is request_expired."""
    driver = Driver()
    driver.send(put(), request_id=1)
    driver.now_ms += limits.REQUEST_AGE_MS + 1
    driver.send(put("other"))
    retry = driver.send(put(), request_id=1, ago_ms=limits.REQUEST_AGE_MS + 1)
    assert isinstance(retry, Rejected)
    assert retry.reason == "request_expired"
    assert driver.machine.revision == 2


def test_an_id_that_was_crowded_out_is_refused() -> None:
    """When more than REQUEST_IDS newer ones came, an id is expired before ten minutes."""
    table = Requests()
    for i in range(limits.REQUEST_IDS):
        table.record(i.to_bytes(16), NOW_MS + i, NOW_MS + i, Applied(i))
    assert not table.is_expired(NOW_MS, NOW_MS + limits.REQUEST_IDS)
    assert table.outcome((0).to_bytes(16)) == Applied(0)
    table.record(b"n" * 16, NOW_MS + limits.REQUEST_IDS, NOW_MS + limits.REQUEST_IDS, Applied(9))
    assert len(table) == limits.REQUEST_IDS
    assert table.outcome((0).to_bytes(16)) is None
    assert table.is_expired(NOW_MS, NOW_MS + limits.REQUEST_IDS)
    assert not table.is_expired(NOW_MS + 1, NOW_MS + limits.REQUEST_IDS)


def test_a_request_stamped_ahead_is_applied_once_however_late_its_retry_comes() -> None:
    """It is kept until its own stamp is old, and then refused."""
    driver = Driver()
    hour_ms = 3_600_000
    assert driver.send(put(), request_id=1, ago_ms=-hour_ms) == Applied(1)
    for later_ms in (limits.REQUEST_AGE_MS + 1, hour_ms):
        driver.now_ms = NOW_MS + later_ms
        driver.send(put("other"))
        assert driver.send(put(), request_id=1, ago_ms=later_ms - hour_ms) == Applied(1)
    driver.now_ms = NOW_MS + hour_ms + limits.REQUEST_AGE_MS + 1
    driver.send(put("other"))
    late = driver.send(put(), request_id=1, ago_ms=limits.REQUEST_AGE_MS + 1)
    assert isinstance(late, Rejected) and late.reason == "request_expired"


def test_a_clock_ahead_does_not_expire_the_requests_of_others() -> None:
    """A stamp from the future that others crowd out moves the horizon only to the present."""
    table = Requests()
    table.record(b"a" * 16, NOW_MS + 3_600_000, NOW_MS, Applied(1))
    for i in range(limits.REQUEST_IDS):
        table.record(i.to_bytes(16), NOW_MS + 1, NOW_MS + 1, Applied(2 + i))
    assert len(table) == limits.REQUEST_IDS
    assert table.horizon_ms == NOW_MS + 1
    assert not table.is_expired(NOW_MS + 2, NOW_MS + 2)


def test_an_expired_request_is_not_kept() -> None:
    """Refusing an old request does not push out the outcomes of new ones."""
    driver = Driver()
    driver.send(put(), ago_ms=limits.REQUEST_AGE_MS + 1)
    assert len(Requests.from_bytes(driver.machine.dump().request_bytes())) == 0


def test_time_never_goes_back() -> None:
    """An entry with an older time is applied at the time that was reached."""
    driver = Driver()
    driver.send(put())
    driver.now_ms -= 60_000
    driver.send(put("late"))
    row = driver.machine.get("jobs", "late")
    assert row is not None
    assert unpack(row)["created_ms"] == NOW_MS == driver.machine.time_ms


@pytest.mark.parametrize(("kind", "version"), [(0, 1), (99, 1), (1, 2)])
def test_an_unknown_command_is_a_defect(kind: int, version: int) -> None:
    """A kind or version from a newer release stops the node, it is not skipped."""
    data = pack([kind, version, bytes(16), NOW_MS, "operator", "test", ["web", None]])
    with pytest.raises(StateDefect, match="log index 7: command kind"):
        StateMachine().apply(data, Stamp(7, NOW_MS))
    with pytest.raises(UnknownKind):
        decode(data)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        {"kind": 1},
        [1, 1, b"short", NOW_MS, "operator", "test", ["web", b"\x80", {}, None]],
        [True, 1, bytes(16), NOW_MS, "operator", "test", ["web", b"\x80", {}, None]],
        [1, 1, bytes(16), "now", "operator", "test", ["web", b"\x80", {}, None]],
        [1, 1, bytes(16), NOW_MS, None, "test", ["web", b"\x80", {}, None]],
        [1, 1, bytes(16), NOW_MS, "operator", 3, ["web", b"\x80", {}, None]],
        [1, 1, bytes(16), NOW_MS, "operator", "test", ["web", b"\x80", {}]],
        [1, 1, bytes(16), NOW_MS, "operator", "test", "body"],
    ],
)
def test_what_is_no_envelope_is_refused(parts: object) -> None:
    """Wrong parts give Rejected invalid from apply and ValueError from decode."""
    machine = StateMachine()
    outcome = machine.apply(pack(parts), Stamp(1, NOW_MS))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "invalid"
    assert machine.revision == 0
    with pytest.raises(ValueError, match=r"envelope|fields"):
        decode(pack(parts))


def test_an_envelope_comes_back() -> None:
    """decode gives what encode took."""
    envelope = Envelope(b"r" * 16, NOW_MS, "ci", "10.0.0.1", put(expect=3))
    assert decode(encode(envelope)) == envelope


@pytest.mark.parametrize("value", ["\x01" * 170_000, "\U0001f600" * 40_000, "x" * 1000])
def test_a_refusal_is_short_whatever_it_quotes(value: str) -> None:
    """It is kept for ten minutes, and 65 536 of them must fit into a dump that can be loaded."""
    machine = StateMachine()
    spec = {"host": "h", "path": "/", "job": "j", "port": value, "tls": True}
    envelope = Envelope(b"r" * 16, NOW_MS, "ci", "test", PutIngress("x", spec))
    outcome = machine.apply(encode(envelope), Stamp(1, NOW_MS))
    assert isinstance(outcome, Rejected)
    assert outcome.message.startswith("ingress x: port is ")
    assert len(outcome.message.encode()) <= limits.MESSAGE_BYTES
    assert outcome.message.endswith("...")
    assert len(machine.dump().request_bytes()) * limits.REQUEST_IDS < _DUMP_BYTES_MAX


def test_kind_numbers_are_for_ever() -> None:
    """The numbers that logs on disks hold; a change here makes old logs unreadable."""
    assert [KINDS[number].__name__ for number in range(1, 18)] == [
        "PutJob",
        "DeleteJob",
        "PutSecret",
        "DeleteSecret",
        "PutPolicy",
        "DeletePolicy",
        "PutToken",
        "DeleteToken",
        "PutIngress",
        "DeleteIngress",
        "PutNode",
        "DeleteNode",
        "AppendMetrics",
        "ExpireMetrics",
        "PutKeyring",
        "DeleteMetrics",
        "Transaction",
    ]
    assert set(_RULES) == set(KINDS)


@pytest.mark.parametrize(("surplus", "refused"), [(-1, False), (0, False), (1, True)])
def test_a_row_above_the_limit_is_refused_with_both_numbers(surplus: int, refused: bool) -> None:
    """The limit is on the whole row, to the byte."""
    driver = Driver()
    driver.send(put("one", spec=b"x" * 1000))
    small = driver.machine.get("jobs", "one")
    assert small is not None
    frame = len(small) - 1000 + 2  # a spec above 64 KiB has two length bytes more
    spec = b"x" * (limits.ROW_BYTES - frame + surplus)
    outcome = driver.send(put("big", spec=spec))
    if not refused:
        assert outcome == Applied(2)
        return
    size = limits.ROW_BYTES + 1
    message = f"job big has {size} bytes, the limit is {limits.ROW_BYTES}"
    assert outcome == Rejected("too_large", message, 1)
    assert driver.machine.get("jobs", "big") is None


def test_the_number_of_rows_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit a new row is refused, an old one can change, a deleted one gives room."""
    monkeypatch.setattr(limits, "ROWS", 2)
    driver = Driver()
    driver.send(put("a"))
    driver.send(put("b"))
    message = "the state has 2 rows, the limit is 2"
    assert driver.send(put("c")) == Rejected("too_large", message, 2)
    assert driver.send(put("b")) == Applied(3)
    driver.send(DeleteJob("a"))
    assert driver.send(put("c")) == Applied(5)


def test_the_limit_of_rows_counts_loaded_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restore the limit is where it was before."""
    monkeypatch.setattr(limits, "ROWS", 2)
    driver = Driver()
    driver.send(put("a"))
    driver.send(put("b"))
    rows = list(driver.machine.view().rows())
    driver.machine.load(rows, revision=2, epoch=1, time_ms=NOW_MS)
    assert isinstance(driver.send(put("c")), Rejected)
    driver.send(DeleteJob("a"))
    assert isinstance(driver.send(put("c")), Applied)


def test_load_keeps_extension_sections_and_refuses_unknown_ones() -> None:
    """Opaque `ext-` rows are kept and counted; another kind leaves the state as it was."""
    driver = Driver()
    driver.send(put())
    machine = driver.machine
    rows = [*machine.view().rows(), ("ext-billing", "invoice/1", b"\x00opaque")]
    machine.load(rows, revision=9, epoch=2, time_ms=5)
    assert (machine.revision, machine.epoch, machine.time_ms) == (9, 2, 5)
    assert machine.view().kinds[-1] == "ext-billing"
    assert machine.get("ext-billing", "invoice/1") == b"\x00opaque"
    with pytest.raises(ValueError, match="section volumes is not known"):
        machine.load([("volumes", "a", b"")], revision=1, epoch=1, time_ms=1)
    assert machine.revision == 9
    assert machine.count("jobs") == 1


def test_load_refuses_rows_that_no_machine_built() -> None:
    """An ingress row without a job, or one that is no map, is a defect and not half loaded."""
    machine = StateMachine()
    for row in (pack({"host": "x"}), pack([1]), b"\xc1"):
        with pytest.raises(StateDefect):
            machine.load([("ingress", "shop", row)], revision=1, epoch=1, time_ms=1)
    assert machine.count("ingress") == 0


def test_a_damaged_request_table_is_refused() -> None:
    """A dump's request table of another shape is a ValueError and changes nothing."""
    driver = Driver()
    driver.send(put())
    for data in (b"", pack(3), pack([1, [3]]), pack([1, [[b"i", 1]]])):
        with pytest.raises(ValueError):
            driver.machine.load_dump([], data, revision=1, epoch=1, time_ms=1)
    assert driver.machine.count("jobs") == 1
