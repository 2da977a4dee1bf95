"""The words about what a node takes into quarantine."""

from __future__ import annotations

from heroctl_core.codec import pack
from heroctl_core.raft.guard import Entry
from heroctl_core.raft.left_behind import left_behind
from heroctl_core.state.commands import Command, DeleteJob, Envelope, PutJob, encode


def entry(index: int, *commands: Command) -> Entry:
    envelopes = [encode(Envelope(bytes(16), 1, "root", "test", each)) for each in commands]
    return b"\x00" + pack([1, envelopes]), index, 1


def test_commands_behind_what_is_known_are_named() -> None:
    """By kind and name, in order; neither what is known, nor entries without commands."""
    log = [
        (b"\x01", 1, 0),
        entry(2, PutJob("known", b"", {}, None)),
        (b"\x01", 3, 1),
        entry(4, PutJob("web", b"", {}, None), DeleteJob("db", None)),
    ]
    assert left_behind(log, 2) == "2 commands: PutJob web, DeleteJob db"
    assert left_behind(log, 4) == ""


def test_of_many_only_the_newest_are_named() -> None:
    """The number is of all."""
    log = [entry(i, PutJob(f"j{i}", b"", {}, None)) for i in range(1, 31)]
    words = left_behind(log, 0)
    assert words.startswith("30 commands: 10 older ones, PutJob j11, ")
    assert words.endswith(", PutJob j30")


def test_a_command_of_another_release_is_counted() -> None:
    """It cannot be named here."""
    strange = b"\x00" + pack([1, [pack([9999, 1, bytes(16), 1, "a", "b", []])]])
    assert left_behind([(strange, 5, 1)], 4) == "1 commands: a command of another release"
