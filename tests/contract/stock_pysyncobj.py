"""Stock pysyncobj on a bench: a clock that stands still, messages that wait to be delivered.

A `Bench` owns the time. A `Stock` is one unchanged SyncObj whose outgoing messages lie in `sent`
until the test delivers, repeats or drops them. Nothing runs by itself, so each defect is a short
story with exact numbers. Use the fixture of test_contract_pysyncobj_stock.py: it takes the patches
of pysyncobj's module back after each test.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pysyncobj.syncobj
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.journal import Journal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

Message = dict[str, Any]
Entry = tuple[bytes, int, int]  # content, index, term
NOOP, MEMBERSHIP = b"\x01", b"\x02"
FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
FAR_AWAY = 1e9  # a deadline that no test reaches
FIRST: Entry = (NOOP, 1, 0)  # what every empty log begins with


def command(text: str) -> bytes:
    """The content of a regular entry."""
    return b"\x00" + text.encode()


def membership(verb: str, name: str) -> bytes:
    """The content of an entry that adds or removes a member, as pysyncobj writes it."""
    return MEMBERSHIP + pickle.dumps([verb, name, Node(name)], 2)


def append_entries(
    term: int, entries: Iterable[Entry] = (), *, previous: tuple[int, int], commit: int = 1
) -> Message:
    """An AppendEntries message; `previous` is (index, term) of the entry before the first."""
    return {
        "type": "append_entries",
        "term": term,
        "commit_index": commit,
        "entries": list(entries),
        "prevLogIdx": previous[0],
        "prevLogTerm": previous[1],
    }


def snapshot_parts(term: int, content: bytes, *, commit: int) -> list[Message]:
    """The messages that carry a snapshot: one with all of it, and the empty last one."""
    header = {"type": "append_entries", "term": term, "commit_index": commit}
    return [header | {"serialized": part} for part in ((content, True, False), (b"", False, True))]


class Disk(Journal):
    """A journal that outlives its node: what stands here is what a crash leaves."""

    def __init__(
        self, entries: Iterable[Entry] = (), *, term: int = 0, commit: int = 1, vote: Any = None
    ) -> None:
        self.entries = list(entries)
        self.term, self.vote, self.commit = term, vote, commit

    def copy(self) -> Disk:
        """The same content, for the node that starts after a crash."""
        return Disk(self.entries, term=self.term, commit=self.commit, vote=self.vote)

    def add(self, command: bytes, idx: int, term: int) -> None:
        self.entries.append((command, idx, term))

    def clear(self) -> None:
        self.entries.clear()

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        del self.entries[entryFrom:]

    def deleteEntriesTo(self, entryTo: int) -> None:
        del self.entries[:entryTo]

    def __getitem__(self, item: Any) -> Any:
        return self.entries[item]

    def __len__(self) -> int:
        return len(self.entries)

    def _destroy(self) -> None:
        pass

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        self.commit = raftCommitIndex

    def getRaftCommitIndex(self) -> int:
        return self.commit

    def setCurrentTerm(self, term: int, votedForNodeId: Any) -> None:
        self.term, self.vote = term, votedForNodeId

    def getCurrentTerm(self) -> int:
        return self.term

    def getVotedForNodeId(self) -> Any:
        return self.vote


class Outbox(Transport):
    """Keeps what the core sends."""

    def __init__(self, core: SyncObj, me: Node | None, others: Iterable[Node]) -> None:
        super().__init__(core, me, others)
        self.sent: list[tuple[str, Message]] = []

    def send(self, node: Node, message: Message) -> bool:
        self.sent.append((node.id, dict(message)))
        return True


class Recorder(SyncObj):
    """Stock, except that applying a regular entry writes it down instead of unpickling a call."""

    applied: list[bytes]

    def _SyncObj__doApplyCommand(self, content: bytes) -> Any:
        if content[:1] != b"\x00":
            return SyncObj._SyncObj__doApplyCommand(self, content)
        self.applied.append(content[1:])
        return len(self.applied)


class IdlePoller:
    """Waits for nothing."""

    def poll(self, timeout: float) -> None:
        pass

    def subscribe(self, *_: Any) -> None:
        pass


@dataclass(slots=True)
class Stock:
    """One node on the bench."""

    name: str
    core: Any
    disk: Disk
    outcomes: list[int] = field(default_factory=list)  # what the clients of `propose` were told

    @property
    def log(self) -> list[Entry]:
        return list(self.core._SyncObj__raftLog[0:])

    @property
    def last(self) -> Entry:
        return self.log[-1]

    @property
    def commit(self) -> int:
        return int(self.core.raftCommitIndex)

    @property
    def term(self) -> int:
        return int(self.core.raftCurrentTerm)

    @property
    def leads(self) -> bool:
        return bool(self.core._isLeader())

    @property
    def applied(self) -> list[bytes]:
        return list(self.core.applied)

    @property
    def others(self) -> set[str]:
        """The other voters that this node believes in."""
        return {node.id for node in self.core.otherNodes}

    def connect(self, *names: str) -> None:
        """Reports connections, without which the core does nothing for these nodes."""
        for name in names:
            self.core._SyncObj__onNodeConnected(Node(name))

    def tick(self) -> None:
        self.core.doTick(0)

    def receive(self, sender: str, *messages: Message) -> None:
        for message in messages:
            self.core._SyncObj__onMessageReceived(Node(sender), message)

    def take(self, to: str | None = None, kind: str | None = None) -> list[Message]:
        """Takes the waiting messages (to one node, of one kind) out of the outbox."""
        outbox = self.core._SyncObj__transport
        wanted = [m for m in outbox.sent if to in (None, m[0]) and kind in (None, m[1]["type"])]
        outbox.sent = [m for m in outbox.sent if m not in wanted]
        return [message for _, message in wanted]

    def answer(self) -> Message:
        """The newest next_node_idx; the outbox is empty after it."""
        return self.take(kind="next_node_idx")[-1]

    def propose(self, text: str) -> None:
        """Queues a command; the client's error code comes into `outcomes`."""
        self.core._applyCommand(command(text), lambda _, error: self.outcomes.append(error))

    def stay_follower(self) -> None:
        self.core._SyncObj__raftElectionDeadline = FAR_AWAY


class Bench:
    """Time, and the nodes that were started in it."""

    def __init__(self) -> None:
        self.now = 0.0

    def start(
        self,
        name: str,
        others: str = "",
        disk: Disk | None = None,
        *,
        kind: Callable[..., Any] = Recorder,
        dump: Path | None = None,
        **settings: Any,
    ) -> Stock:
        """A node that knows the members of `others` (one letter each). `dump` is its dump file."""
        disk = disk if disk is not None else Disk()
        if dump is not None:
            settings = {"serializer": write_dump, "deserializer": read_dump} | settings
            settings["fullDumpFile"] = str(dump)
        defaults = {
            "autoTick": False,
            "appendEntriesUseBatch": False,
            "logCompactionMinEntries": 10**9,
            "logCompactionMinTime": 10**9,
            "dynamicMembershipChange": True,
            "commandsWaitLeader": False,
            "journalFile": disk,
        }
        conf = SyncObjConf(**(defaults | settings))
        core = kind(Node(name), [Node(n) for n in others], conf, transportClass=Outbox)
        core.applied = []
        node = Stock(name, core, disk)
        node.connect(*others)
        return node

    def cluster(self, names: str) -> dict[str, Stock]:
        """Connected nodes whose deadlines are far away, so that only the test starts elections."""
        nodes = {n: self.start(n, names.replace(n, "")) for n in names}
        for node in nodes.values():
            node.stay_follower()
        return nodes

    def leader(self, name: str, others: str, disk: Disk | None = None, **settings: Any) -> Stock:
        """A node that has just won an election among `others`; its outbox is empty."""
        node = self.start(name, others, disk, **settings)
        self.campaign(node)
        for voter in others[: len(others) // 2 + 1]:
            node.receive(voter, {"type": "response_vote", "term": node.term})
        assert node.leads
        node.take()
        return node

    def campaign(self, node: Stock) -> None:
        """The node's election deadline passes."""
        self.now += 1
        node.core._SyncObj__raftElectionDeadline = self.now - 0.5
        node.tick()

    def run(self, nodes: dict[str, Stock], rounds: int = 20, *, cut: str = "") -> None:
        """Delivers and ticks. `cut` lists the nodes of one side of a partition."""
        for _ in range(rounds):
            self.now += 0.15  # above the heartbeat's period
            for node in nodes.values():
                for name in nodes:
                    messages = node.take(to=name)
                    if (name in cut) == (node.name in cut):
                        nodes[name].receive(node.name, *messages)
            for node in nodes.values():
                if not node.leads:
                    node.stay_follower()
                node.tick()


def entries(first: int, last: int, term: int = 1) -> list[tuple[bytes, int, int]]:
    """Regular entries with the indexes first to last."""
    return [(command(f"{index} of term {term}"), index, term) for index in range(first, last + 1)]


def led_cluster(bench: Bench, names: str = "ABC") -> dict[str, Stock]:
    """A cluster led by A in term 1, whose no-op is committed everywhere."""
    nodes = bench.cluster(names)
    bench.campaign(nodes["A"])
    bench.run(nodes)
    assert nodes["A"].leads
    assert {node.commit for node in nodes.values()} == {2}
    return nodes


def write_dump(path: str, content: Any) -> None:
    """pysyncobj's serializer hook."""
    Path(path).write_bytes(pickle.dumps(content))


def read_dump(path: str) -> Any:
    """pysyncobj's deserializer hook."""
    return pickle.loads(Path(path).read_bytes())


def dump_at(index: int, term: int, members: str) -> bytes:
    """The content of a dump whose last included entry is (index, term)."""
    last, before = (command("z"), index, term), (command("y"), index - 1, term)
    return pickle.dumps((last, before, [Node(name) for name in members]))


def patch(monkeypatch: Any, bench: Bench) -> None:
    """Puts the bench's clock and journals under pysyncobj until the test ends."""
    module = pysyncobj.syncobj
    monkeypatch.setattr(module, "monotonicTime", lambda: bench.now)
    monkeypatch.setattr(module, "createJournal", lambda journal: journal)
    monkeypatch.setattr(module, "createPoller", lambda kind: IdlePoller())
    monkeypatch.setattr(module, "PIPE_NOTIFIER_ENABLED", False)
