"""What becomes of a write or a read when the quorum, the answer or the time is missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from heroctl_core import limits
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.catalogue.writes import Written
from heroctl_core.errors import CommandRejected, NodeFault, OutcomeUnknown, ReadOnly, UsageError
from heroctl_core.raft.port import Mode
from heroctl_core.state.commands import (
    REQUEST_ID_BYTES,
    Command,
    DeleteJob,
    PutJob,
    decode,
    new_request_id,
    request_stamp_ms,
)
from heroctl_core.state.outcome import Applied, Rejected
from heroctl_core.testing.clock import ManualClock
from heroctl_core.testing.replicator import InMemoryReplicator


def test_read_only_refuses_writes_and_linearizable_reads(
    catalogue: Catalogue, replicator: InMemoryReplicator
) -> None:
    """A stale read answers without a quorum; everything works again when it is back."""
    catalogue.jobs.put("web", {"a": 1})
    replicator.go_read_only()
    assert replicator.status().mode is Mode.READ_ONLY
    for call in (
        lambda: catalogue.jobs.put("web", {}),
        lambda: catalogue.jobs.get("web"),
        lambda: catalogue.jobs.list(),
        lambda: catalogue.metrics.get("cpu"),
    ):
        with pytest.raises(ReadOnly):
            call()
    assert catalogue.jobs.get("web", consistency="stale").spec == {"a": 1}
    assert len(catalogue.jobs.list(consistency="stale")) == 1
    replicator.go_normal()
    assert catalogue.jobs.put("web", {}) == Written(2)


def test_request_ids_differ_whatever_threads_draw_them(catalogue: Catalogue) -> None:
    """Across several refills of what is drawn ahead; the stamp is the moment of the call."""
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: catalogue.writer.new_request_id(), range(2000)))
    assert len({request_id[6:] for request_id in ids}) == len(ids)
    assert {len(request_id) for request_id in ids} == {REQUEST_ID_BYTES}
    assert {request_stamp_ms(request_id, 0) for request_id in ids} == {request_stamp_ms(ids[0], 0)}


def test_a_lost_answer_is_safe_to_retry_with_its_id(
    catalogue: Catalogue, replicator: InMemoryReplicator, clock: ManualClock
) -> None:
    """The retry gets the first try's outcome and is not applied again, whatever the time."""
    request_id = catalogue.writer.new_request_id()
    replicator.lose_outcomes()
    with pytest.raises(OutcomeUnknown):
        catalogue.jobs.put("web", {}, expect=0, request_id=request_id)
    replicator.lose_outcomes(losing=False)
    catalogue.jobs.put("other", {})
    clock.advance(30)
    assert catalogue.jobs.put("web", {}, expect=0, request_id=request_id) == Written(1)
    assert replicator.machine.revision == 2


def test_a_retry_after_the_outcome_is_gone_is_refused(
    catalogue: Catalogue, replicator: InMemoryReplicator, clock: ManualClock
) -> None:
    """An id carries when it was made, so a very late retry is expired, not applied twice."""
    request_id = catalogue.writer.new_request_id()
    catalogue.jobs.put("web", {}, request_id=request_id)
    clock.advance(limits.REQUEST_AGE_MS / 1000 + 1)
    catalogue.jobs.put("other", {})
    with pytest.raises(CommandRejected) as caught:
        catalogue.jobs.put("web", {}, request_id=request_id)
    assert caught.value.reason == "request_expired"
    assert replicator.machine.revision == 2


def test_an_id_from_elsewhere_is_stamped_when_it_arrives(
    catalogue: Catalogue, replicator: InMemoryReplicator
) -> None:
    """Sixteen random bytes carry no time and are taken; other lengths are refused."""
    assert catalogue.jobs.put("web", {}, request_id=b"\xff" * 16) == Written(1)
    assert catalogue.jobs.put("web", {}, request_id=b"\xff" * 16) == Written(1)
    assert catalogue.jobs.put("web", {}, request_id=b"\x00" * 16) == Written(2)
    with pytest.raises(CommandRejected, match="request id of 15 bytes, not 16"):
        catalogue.jobs.put("web", {}, request_id=bytes(15))


def test_a_request_id_carries_its_time() -> None:
    """The stamp comes back from the id; a time far away is that of no id of ours."""
    now_ms = 1_700_000_000_000
    request_id = new_request_id(now_ms, b"r" * 16)
    assert len(request_id) == 16
    assert request_stamp_ms(request_id, now_ms + 60_000) == now_ms
    assert request_stamp_ms(b"\xff" * 16, now_ms) == now_ms


def test_no_answer_until_the_deadline_is_outcome_unknown(
    replicator: InMemoryReplicator, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the request id that makes a retry safe."""
    monkeypatch.setattr("heroctl_core.catalogue.writes._GRACE_S", 0.0)
    catalogue = Catalogue(replicator, lambda: None, clock, deadline_s=0.01)  # type: ignore[arg-type,return-value]
    replicator.stall()
    request_id = catalogue.writer.new_request_id()
    with pytest.raises(OutcomeUnknown, match=request_id.hex()):
        catalogue.jobs.put("web", {}, request_id=request_id)


def test_a_clock_behind_the_state_does_not_make_old_requests(
    catalogue: Catalogue, clock: ManualClock
) -> None:
    """After another leader's clock was an hour ahead, writes from here are not expired."""
    catalogue.jobs.put("web", {})
    clock.set_time_ms(clock.time_ms() - 3_600_000)
    assert catalogue.jobs.put("web", {}) == Written(2)


def test_submit_gives_outcomes_as_values(catalogue: Catalogue) -> None:
    """A pipeline of futures: applied or refused, in the order of the calls."""
    commands: list[Command] = [
        catalogue.jobs.put_command("web", {"a": 1}, labels={"team": "shop"}, expect=0),
        PutJob("web", b"\x80", {}, 0),
        DeleteJob("web"),
    ]
    outcomes = [future.result() for future in [catalogue.submit(each) for each in commands]]
    assert outcomes[0] == Applied(1)
    assert isinstance(outcomes[1], Rejected)
    assert outcomes[2] == Applied(2)


def test_a_command_that_cannot_be_encoded_is_refused(catalogue: Catalogue) -> None:
    """A hand-made command with a value that msgpack does not know is invalid, not a crash."""
    labels: Any = {"a": object()}
    with pytest.raises(CommandRejected, match="cannot be encoded") as caught:
        catalogue.submit(PutJob("web", b"\x80", labels))
    assert caught.value.reason == "invalid"


def test_the_envelope_says_who_asked(
    catalogue: Catalogue, replicator: InMemoryReplicator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actor and source travel with the command, for the audit."""
    seen: list[bytes] = []
    write = replicator.write

    def spy(command: bytes, request_id: bytes, timeout_s: float) -> Any:
        seen.append(command)
        return write(command, request_id, timeout_s)

    monkeypatch.setattr(replicator, "write", spy)
    catalogue.jobs.put("web", {})
    envelope = decode(seen[0])
    assert (envelope.actor, envelope.source) == ("operator", "local")
    assert isinstance(envelope.command, PutJob)


def test_an_unknown_consistency_is_an_error_of_the_call(catalogue: Catalogue) -> None:
    """A typing mistake does not give a stale answer."""
    consistency: Any = "Linearizable"
    with pytest.raises(UsageError, match='allowed: "linearizable", "stale"'):
        catalogue.jobs.list(consistency=consistency)


def test_a_stopped_replicator_fails_writes(
    catalogue: Catalogue, replicator: InMemoryReplicator
) -> None:
    """After close a write is a NodeFault."""
    replicator.close()
    with pytest.raises(NodeFault):
        catalogue.jobs.put("web", {})
