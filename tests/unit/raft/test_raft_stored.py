"""Reading a stopped generation: dump, committed entries, and what is not known to be committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from heroctl_core.codec import pack, pack_canonical
from heroctl_core.errors import Damaged
from heroctl_core.raft.dump import write_dump
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.log import Log
from heroctl_core.raft.membership import Configuration, MemberSpec
from heroctl_core.raft.stored import StoredState, read_stored
from heroctl_core.state.commands import Envelope, PutJob, encode
from heroctl_core.state.machine import StateMachine
from heroctl_core.state.outcome import Stamp

T0 = 1_780_000_000_000
THREE = {c * 32: (f"node-{c}", f"127.0.0.1:710{c}") for c in "123"}


def entry(number: int) -> bytes:
    """A log entry with one command that writes job-NUMBER."""
    return b"\x00" + pack([T0 + number, [command(number)]])


def command(number: int) -> bytes:
    job = PutJob(f"job-{number}", pack_canonical({"n": number}), {}, None)
    return encode(Envelope(number.to_bytes(16), T0 + number, "root", "test", job))


class Generation:
    """A founded generation with `voters`, whose log a test writes."""

    def __init__(self, path: Path, voters: int) -> None:
        folder = DataFolder.open(path, node_name="node-1", cluster_name="prod")
        self.header = folder.found("prod", dict(list(THREE.items())[:voters]))
        self.path = folder.generation_folder
        folder.close()
        self.log = Log.open(self.path / "log")
        self.log.set_term(1, None)

    def add(self, *entries: bytes, commit: int) -> None:
        for data in entries:
            self.log.append(data, self.log.last_index + 1, 1)
        self.log.set_commit(commit)
        self.log.sync()

    def read(self, *, include_uncommitted: bool = False) -> StoredState:
        return read_stored(self.path, self.header, include_uncommitted=include_uncommitted)

    def dump(self, index: int, numbers: range) -> None:
        """Compacts the log to a dump of jobs `numbers` at `index`."""
        machine = StateMachine()
        for number in numbers:
            machine.apply(command(number), Stamp(number, T0 + number))
        ref = write_dump(
            self.path / "dumps",
            lineage=self.header.lineage,
            index=index,
            term=1,
            configuration=self.header.members.encode(),
            state=machine.dump(),
            pause=lambda: None,
        )
        self.log.compact(ref, index)


def jobs(stored: StoredState) -> list[str]:
    return [key for key, _ in stored.machine.view().by_name("jobs")]


def test_empty_log(tmp_path: Path) -> None:
    """A founded cluster without a write has an empty state."""
    stored = Generation(tmp_path / "data", 3).read()
    assert (stored.index, stored.last_index, stored.uncommitted, jobs(stored)) == (1, 1, 0, [])


def test_committed_entries_only(tmp_path: Path) -> None:
    """What is not known to be committed is left out and counted, or taken when asked for."""
    generation = Generation(tmp_path / "data", 3)
    generation.add(b"\x01", entry(1), entry(2), entry(3), commit=4)
    stored = generation.read()
    assert (stored.index, stored.term, stored.last_index, stored.uncommitted) == (4, 1, 5, 1)
    assert jobs(stored) == ["job-1", "job-2"]
    everything = generation.read(include_uncommitted=True)
    assert (everything.index, everything.uncommitted) == (5, 1)
    assert jobs(everything) == ["job-1", "job-2", "job-3"]


def test_only_voter_has_committed_everything(tmp_path: Path) -> None:
    """One voter: what is on its disk is committed, noted or not."""
    generation = Generation(tmp_path / "data", 1)
    generation.add(b"\x01", entry(1), commit=1)
    stored = generation.read()
    assert (stored.uncommitted, jobs(stored)) == (0, ["job-1"])


def test_dump_and_the_log_behind_it(tmp_path: Path) -> None:
    """The state is the dump's with the entries behind it, each applied once."""
    generation = Generation(tmp_path / "data", 3)
    generation.add(b"\x01", entry(1), entry(2), commit=4)
    generation.dump(4, range(1, 3))
    generation.add(entry(3), commit=5)
    stored = generation.read()
    assert jobs(stored) == ["job-1", "job-2", "job-3"]
    assert stored.machine.revision == 3
    assert (stored.index, stored.uncommitted) == (5, 0)


def test_newest_configuration_counts(tmp_path: Path) -> None:
    """A membership entry counts from the moment it is in the log."""
    generation = Generation(tmp_path / "data", 3)
    smaller = Configuration({"1" * 32: MemberSpec("node-1", "127.0.0.1:7101", voter=True)})
    generation.add(b"\x02" + smaller.encode(), commit=1)
    assert generation.read().configuration == smaller


def test_nothing_is_changed(tmp_path: Path) -> None:
    """The folder is evidence: not a byte of it changes, not even a torn write is cut."""
    generation = Generation(tmp_path / "data", 3)
    generation.add(b"\x01", entry(1), commit=3)
    generation.log.close()
    (segment,) = (generation.path / "log").iterdir()
    data = bytearray(segment.read_bytes())
    end = len(bytes(data).rstrip(b"\0"))
    data[end + 40] = 1
    segment.write_bytes(data)
    assert jobs(generation.read()) == ["job-1"]
    assert segment.read_bytes() == data


def test_missing_dump(tmp_path: Path) -> None:
    """A log that names a dump which is gone cannot be read."""
    generation = Generation(tmp_path / "data", 3)
    generation.add(b"\x01", entry(1), commit=3)
    generation.dump(3, range(1, 2))
    next((generation.path / "dumps").iterdir()).unlink()
    with pytest.raises(Damaged, match="is missing, and the log needs it"):
        generation.read()
