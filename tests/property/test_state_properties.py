"""Properties of the state machine over generated lists of commands, good and malformed."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from heroctl_core.codec import pack, pack_canonical, unpack
from heroctl_core.state.commands import FIELD_COUNTS, KINDS, decode
from heroctl_core.state.invariants import violations
from heroctl_core.state.machine import StateMachine
from heroctl_core.state.metrics import samples_of
from heroctl_core.state.outcome import Applied, Outcome, Rejected, Stamp
from heroctl_core.state.points import append, empty_tail, scale_of
from heroctl_core.state.points import decode as decode_points
from heroctl_core.state.tables import FINGERPRINT_MASK, row_digest

NOW_MS = 1_700_000_000_000

names = st.sampled_from(["a", "b", "team/c", "", "..", "d\n", "x" * 254])
expects = st.sampled_from([None, None, None, 0, 1, 2, 5, -1, True, "1"])
labels = st.dictionaries(st.sampled_from(["k", "l", "m"]), st.text(max_size=3), max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
specs = st.dictionaries(st.text(max_size=3), json_values, max_size=3).map(pack_canonical)
rules = st.fixed_dictionaries(
    {
        "resource": st.sampled_from(["job", "*", "cheese"]),
        "name": st.sampled_from(["*", "web-*"]),
        "actions": st.lists(st.sampled_from(["read", "write", "*"]), max_size=3),
        "effect": st.sampled_from(["allow", "deny"]),
    }
)
ingress_specs = st.fixed_dictionaries(
    {
        "host": st.just("shop.example.org"),
        "path": st.sampled_from(["/", "/x", "x"]),
        "job": names,
        "port": st.sampled_from([80, 0, 65_536, True]),
        "tls": st.booleans(),
    }
)
values = st.integers(-50, 50).map(lambda n: n / 10) | st.floats() | st.integers(-(2**63), 2**63)
times = st.integers(NOW_MS - 8 * 24 * 3_600_000, NOW_MS + 8 * 3_600_000)
samples = st.lists(
    st.tuples(
        st.sampled_from(["cpu", "mem", "bad name"]),
        labels,
        st.lists(st.tuples(times, values).map(list), max_size=6),
    ).map(list),
    max_size=3,
)
accessors = st.sampled_from(["t1", "t2", "T_"])
policies = st.lists(names, max_size=2)
hashes = st.sampled_from([b"h" * 32, b"h"])

BODIES: dict[int, st.SearchStrategy[Any]] = {
    1: st.tuples(names, specs, labels, expects),
    2: st.tuples(names, expects),
    3: st.tuples(names, st.binary(max_size=3), labels, expects),
    4: st.tuples(names, expects),
    5: st.tuples(names, st.lists(rules, max_size=2), expects),
    6: st.tuples(names, expects),
    7: st.tuples(accessors, names, hashes, policies, st.sampled_from([None, 5, -1]), expects),
    8: st.tuples(accessors, expects),
    9: st.tuples(names, ingress_specs, expects),
    10: st.tuples(names, expects),
    11: st.tuples(names, st.just("10.0.0.1"), labels, st.dictionaries(names, values), expects),
    12: st.tuples(names, expects),
    13: st.tuples(samples),
    14: st.tuples(times),
    15: st.tuples(st.binary(max_size=3), expects),
    16: st.tuples(st.sampled_from(["cpu", "mem", "bad name"]), labels),
}
expectations = st.tuples(
    st.just(0), st.tuples(st.sampled_from(["jobs", "nodes", "acl"]), names, expects).map(list)
)
operations = st.sampled_from([1, 1, 2, 3, 4, 9, 9, 10, 11, 12, 5]).flatmap(
    lambda kind: st.tuples(st.just(kind), BODIES[kind].map(list))
)
BODIES[17] = st.tuples(st.lists((operations | expectations).map(list), max_size=6))
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.binary(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def _packable(value: object) -> bool:
    try:
        pack(value)
    except (OverflowError, TypeError, ValueError):
        return False
    return True


@st.composite
def commands(draw: st.DrawFn, kinds: tuple[int, ...] = tuple(BODIES)) -> tuple[bytes, Stamp]:
    """An encoded envelope of a known kind, usually with a body of its shape, and a stamp."""
    kind = draw(st.sampled_from(kinds))
    body: Any = list(draw(BODIES[kind]))
    if draw(st.integers(0, 9)) == 0:  # replace a field, so that only one thing is wrong
        body[draw(st.integers(0, len(body) - 1))] = draw(junk)
    request_id = bytes([draw(st.integers(0, 40))]) * 16
    request_ms = NOW_MS + draw(st.sampled_from([0, 0, 0, 0, -700_000, 700_000]))
    time_ms = NOW_MS + draw(st.integers(-1000, 1000))
    parts = [kind, 1, request_id, request_ms, "operator", "test", body]
    if not _packable(parts):
        parts[-1] = []
    return pack(parts), Stamp(1, time_ms)


histories = st.lists(commands(), max_size=40)


def run(machine: StateMachine, history: list[tuple[bytes, Stamp]]) -> list[Outcome]:
    return [machine.apply(command, stamp) for command, stamp in history]


def contents(machine: StateMachine) -> tuple[Any, ...]:
    view = machine.view()
    prints = [view.fingerprint(kind) for kind in view.kinds]
    return view.revision, view.epoch, view.time_ms, prints, list(view.rows())


def test_every_kind_has_a_strategy() -> None:
    """The properties below cover each command kind that exists."""
    assert set(BODIES) == set(KINDS) == set(FIELD_COUNTS)


@given(histories)
def test_equal_commands_give_equal_machines(history: list[tuple[bytes, Stamp]]) -> None:
    """Two machines that apply the same list have equal outcomes, rows and fingerprints."""
    one, two = StateMachine(), StateMachine()
    assert run(one, history) == run(two, history)
    assert contents(one) == contents(two)
    assert one.dump().request_bytes() == two.dump().request_bytes()


@given(histories)
def test_every_reachable_state_is_sound(history: list[tuple[bytes, Stamp]]) -> None:
    """After any list of commands no invariant is violated and the fingerprint is the recomputed."""
    machine = StateMachine()
    run(machine, history)
    view = machine.view()
    assert violations(view) == []
    for kind in view.kinds:
        digests = sum(row_digest(kind, key, row) for key, row in view.items(kind))
        assert view.fingerprint(kind) == digests & FINGERPRINT_MASK


@given(histories, commands(kinds=(17,)))
def test_a_refused_transaction_leaves_nothing(
    history: list[tuple[bytes, Stamp]], transaction: tuple[bytes, Stamp]
) -> None:
    """Rows, fingerprints and events are as before, and references too."""
    machine = StateMachine()
    run(machine, history)
    before, events = contents(machine), machine.history.after(0, 10**6)
    if isinstance(machine.apply(*transaction), Rejected):
        assert contents(machine)[3:] == before[3:]
        assert machine.revision == before[0]
        assert machine.history.after(0, 10**6) == events
        loaded = StateMachine()
        loaded.load(machine.view().rows(), revision=0, epoch=1, time_ms=0)
        assert machine._rows.total == loaded._rows.total
        assert machine._rows.job_references.counts == loaded._rows.job_references.counts
        assert machine._rows.policy_references.counts == loaded._rows.policy_references.counts
        assert machine._rows.series_blocks.counts == loaded._rows.series_blocks.counts


@given(histories, histories)
def test_load_of_the_rows_is_the_identity(
    before: list[tuple[bytes, Stamp]], after: list[tuple[bytes, Stamp]]
) -> None:
    """A machine loaded with another one's rows equals it, and goes on to the same rows."""
    source, target = StateMachine(), StateMachine()
    run(source, before)
    view = source.view()
    source.load(list(view.rows()), revision=view.revision, epoch=view.epoch, time_ms=view.time_ms)
    target.load(view.rows(), revision=view.revision, epoch=view.epoch, time_ms=view.time_ms)
    assert contents(target) == contents(source)
    assert run(target, after) == run(source, after)
    assert contents(target) == contents(source)


@given(histories, histories)
def test_a_dump_carries_everything(
    before: list[tuple[bytes, Stamp]], after: list[tuple[bytes, Stamp]]
) -> None:
    """A machine loaded from a dump gives the outcomes and rows that the dumped one gives."""
    source, target = StateMachine(), StateMachine()
    run(source, before)
    dump = source.dump()
    target.load_dump(
        dump.view.rows(),
        dump.request_bytes(),
        revision=dump.view.revision,
        epoch=dump.view.epoch,
        time_ms=dump.view.time_ms,
    )
    assert target.dump().request_bytes() == dump.request_bytes()
    assert run(target, before + after) == run(source, before + after)
    assert contents(target) == contents(source)


@given(histories, histories)
def test_a_view_does_not_change(
    before: list[tuple[bytes, Stamp]], after: list[tuple[bytes, Stamp]]
) -> None:
    """What a view shows stays the same while the machine goes on, and the machine as without it."""
    machine, undisturbed = StateMachine(), StateMachine()
    run(machine, before)
    view = machine.view()
    rows, prints = list(view.rows()), [view.fingerprint(kind) for kind in view.kinds]
    run(machine, after)
    assert list(view.rows()) == rows
    assert [view.fingerprint(kind) for kind in view.kinds] == prints
    run(undisturbed, before + after)
    assert contents(machine) == contents(undisturbed)


@settings(max_examples=300)
@given(st.sampled_from(sorted(BODIES)), junk | st.lists(junk, max_size=6), st.integers(0, 6))
def test_malformed_bodies_are_refused(kind: int, body: Any, seed: int) -> None:
    """Any body of a known kind gives an outcome, never an exception, and a refusal no effect."""
    machine = StateMachine()
    parts = [kind, 1, bytes([seed]) * 16, NOW_MS, "operator", "test", body]
    if not _packable(parts):
        return
    outcome = machine.apply(pack(parts), Stamp(1, NOW_MS))
    if isinstance(outcome, Rejected):
        assert sum(machine.count(kind) for kind in machine.view().kinds) == 0
        assert machine.revision == 0
    else:
        assert violations(machine.view()) == []


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_a_defect(data: bytes) -> None:
    """Bytes that are no envelope are refused; decode says ValueError for them."""
    outcome = StateMachine().apply(data, Stamp(1, NOW_MS))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "invalid"
    try:
        decode(data)
    except ValueError:
        return
    raise AssertionError("decode took what apply refused")


sample_maps = st.dictionaries(
    st.integers(0, 10**8), st.floats(allow_nan=False, allow_infinity=False), max_size=30
)


@given(sample_maps, st.integers(0, 6), st.integers(0, 30))
def test_points_come_back(found: dict[int, float], scale: int, cut: int) -> None:
    """Samples encoded in two parts decode to themselves, whatever the scale."""
    ordered = [(time_ms, value + 0.0) for time_ms, value in sorted(found.items())]
    first, tail = append(empty_tail(0, scale), ordered[:cut])
    second, tail = append(tail, ordered[cut:])
    assert decode_points(first + second, start_ms=0, scale=scale) == ordered
    assert tail.count == len(ordered)


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_decimals_have_a_scale(number: int, scale: int) -> None:
    """A decimal number with up to six places is found at that scale or a smaller one."""
    found = scale_of(number / 10**scale)
    assert found is not None
    assert found <= scale


@given(st.lists(st.lists(st.tuples(st.integers(0, 10**5), st.integers(0, 10**6)), min_size=1)))
def test_samples_in_any_order_are_the_newest_value_of_each_time(
    batches: list[list[tuple[int, int]]],
) -> None:
    """However samples are cut and ordered, a block holds each time once, with its last value."""
    machine, expected = StateMachine(), {}
    start_ms = NOW_MS - NOW_MS % 21_600_000
    for i, batch in enumerate(batches):
        pairs = [[start_ms + at, number / 1000] for at, number in batch]
        expected.update(dict(pairs))
        parts = [13, 1, i.to_bytes(16), NOW_MS, "", "", [[["cpu", {}, pairs]]]]
        assert isinstance(machine.apply(pack(parts), Stamp(i, NOW_MS)), Applied)
    found = {
        time_ms: value
        for key, row in machine.view().items("metrics")
        for time_ms, value in samples_of(key, unpack(row))
    }
    assert found == expected
