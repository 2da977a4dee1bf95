"""Any sequence of calls with power cuts anywhere, against the simplest model of a log."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from heroctl_core.raft.log import Log
from heroctl_core.raft.records import DumpRef
from heroctl_core.testing.crash_disk import CrashDisk, PowerCut

SEGMENT = 8192
State = tuple[int, int, dict[int, tuple[bytes, int]], int, str | None, DumpRef | None]


class LogModel:
    """A log as one would explain it: an anchor and a mapping from index to entry."""

    def __init__(self) -> None:
        self.anchor: tuple[int, int] = (1, 0)
        self.rows: dict[int, tuple[bytes, int]] = {}
        self.term = 0
        self.vote: str | None = None
        self.dump: DumpRef | None = None

    @property
    def last(self) -> int:
        return max(self.rows, default=self.anchor[0])

    def term_at(self, index: int) -> int:
        return self.anchor[1] if index == self.anchor[0] else self.rows[index][1]

    def state(self) -> State:
        return (*self.anchor, dict(self.rows), self.term, self.vote, self.dump)

    def load(self, state: State) -> None:
        index, term, rows, self.term, self.vote, self.dump = state
        self.anchor, self.rows = (index, term), dict(rows)


def state_of(log: Log) -> State:
    (_, index, term), *rest = log.entries
    return (index, term, {i: (data, t) for data, i, t in rest}, log.term, log.vote, log.dump)


class LogMachine(RuleBasedStateMachine):
    """Calls on the log, its model, and what the disk must or may show after a power cut."""

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.root = Path(tempfile.mkdtemp(prefix="log-"))
        self.disk = CrashDisk()
        self.log = Log.create(self.root / "log", segment_bytes=SEGMENT, disk=self.disk)
        self.model = LogModel()
        self.durable = self.model.state()

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.log.close()
            shutil.rmtree(self.root)

    @rule(sizes=st.lists(st.sampled_from([0, 1, 100, 3000, 20_000]), min_size=1, max_size=4))
    def append(self, sizes: list[int]) -> None:
        for size in sizes:
            index, data = self.model.last + 1, self.chance.randbytes(size)
            term = max(self.model.term, self.model.term_at(self.model.last))
            self.log.append(data, index, term)
            self.model.rows[index] = (data, term)

    @precondition(lambda self: self.model.rows)
    @rule(back=st.integers(0, 6))
    def truncate(self, back: int) -> None:
        index = max(self.model.last - back, self.model.anchor[0] + 1)
        self.log.truncate_from(index)
        self.model.rows = {i: row for i, row in self.model.rows.items() if i < index}

    @rule(cut=st.booleans())
    def sync(self, cut: bool) -> None:
        self.durably(self.log.sync, self.model.state(), cut=cut and self.log.dirty)

    @rule(step=st.integers(0, 2), vote=st.sampled_from([None, "a" * 32]), cut=st.booleans())
    def set_term(self, step: int, vote: str | None, cut: bool) -> None:
        term = self.model.term + step
        before = self.model.state()
        if (term, vote) == before[3:5]:
            self.log.set_term(term, vote)
            return
        after = (*before[:3], term, vote, before[5])
        self.durably(lambda: self.log.set_term(term, vote), after, cut=cut)

    @rule(back=st.integers(0, 5), keep=st.integers(0, 5), cut=st.booleans())
    def compact(self, back: int, keep: int, cut: bool) -> None:
        index = max(self.model.last - back, self.model.anchor[0])
        start = max(index - keep, self.model.anchor[0])
        dump = DumpRef(index, self.model.term_at(index), "0" * 64, f"dump-{index}")
        rows = {i: row for i, row in self.model.rows.items() if i > start}
        after = (start, self.model.term_at(start), rows, self.model.term, self.model.vote, dump)
        self.durably(lambda: self.log.compact(dump, start), after, cut=cut)

    @rule(ahead=st.integers(1, 50), cut=st.booleans())
    def install(self, ahead: int, cut: bool) -> None:
        term = max(self.model.term, self.model.term_at(self.model.last))
        dump = DumpRef(self.model.last + ahead, term, "1" * 64, "installed")
        after: State = (dump.index, term, {}, self.model.term, self.model.vote, dump)
        self.durably(lambda: self.log.install(dump), after, cut=cut)

    @rule()
    def power_cut(self) -> None:
        self.reopen([self.durable])

    def durably(self, call: object, after: State, *, cut: bool) -> None:
        """Makes a call that promises to be durable, or loses power in the middle of it."""
        assert callable(call)
        if cut:
            self.disk.stop_at = len(self.disk.operations) + self.chance.randint(0, 6)
        try:
            call()
        except PowerCut:
            # The frame may have reached the disk as a whole, or not at all.
            self.reopen([self.durable, after])
            return
        self.disk.stop_at = None
        self.model.load(after)
        self.durable = after

    def reopen(self, possible: list[State]) -> None:
        self.disk.power_cut(self.chance)
        self.disk = CrashDisk()
        self.log = Log.open(self.root / "log", segment_bytes=SEGMENT, disk=self.disk)
        found = state_of(self.log)
        assert found in possible
        self.model.load(found)
        self.durable = found

    @invariant()
    def agrees_with_the_model(self) -> None:
        if hasattr(self, "log"):
            assert state_of(self.log) == self.model.state()


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
