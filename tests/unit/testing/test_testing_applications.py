"""The memory of what was applied finds what it is for: twice, elsewhere otherwise, never at all."""

from __future__ import annotations

from heroctl_core import codec
from heroctl_core.state.commands import Envelope, PutJob, encode
from heroctl_core.state.outcome import Applied, Stamp
from heroctl_core.testing.simulated_machine import Applications, WatchedMachine
from heroctl_core.testing.weakened import ForgetfulMachine

ONE, TWO = bytes([1]) * 16, bytes([2]) * 16


def put(request_id: bytes, number: int, key: str = "web") -> bytes:
    """Writes a job."""
    return encode(Envelope(request_id, 1_000, "sim", "sim", PutJob(key, codec.pack(number), {})))


def watched(seen: Applications, kind: type[WatchedMachine] = WatchedMachine) -> WatchedMachine:
    """A machine of one more node."""
    machine = kind()
    machine.watched = seen
    return machine


def test_the_same_log_on_two_machines_is_right() -> None:
    """Also with a repeated request, in an entry of its own and in the same one."""
    seen = Applications()
    for machine in (watched(seen), watched(seen)):
        for index, commands in ((2, [put(ONE, 1), put(ONE, 1)]), (3, [put(TWO, 2), put(ONE, 1)])):
            for command in commands:
                machine.apply(command, Stamp(index, 1_000))
    assert seen.fault is None
    assert (seen.value_at("web", 0), seen.value_at("web", 1), seen.value_at("web", 9)) == (
        None,
        1,
        2,
    )


def test_a_request_that_takes_effect_twice_is_found() -> None:
    """By a machine that forgot it."""
    seen = Applications()
    machine = watched(seen, ForgetfulMachine)
    machine.apply(put(ONE, 1), Stamp(2, 1_000))
    machine.apply(put(ONE, 1), Stamp(5, 1_000))
    assert "took effect twice" in str(seen.fault)


def test_another_outcome_elsewhere_is_found() -> None:
    """A machine that comes from other rows."""
    seen = Applications()
    watched(seen).apply(put(ONE, 1), Stamp(2, 1_000))
    other = watched(seen)
    other.load([], revision=5, epoch=1, time_ms=0)
    other.apply(put(ONE, 1), Stamp(2, 1_000))
    assert "elsewhere" in str(seen.fault)


def test_what_a_client_is_told_must_have_happened() -> None:
    """At that revision."""
    seen = Applications()
    watched(seen).apply(put(ONE, 1), Stamp(2, 1_000))
    assert seen.acknowledge(ONE, Applied(1)) is None
    assert "it was 1" in str(seen.acknowledge(ONE, Applied(2)))
    assert "had no effect" in str(seen.acknowledge(TWO, Applied(2)))
