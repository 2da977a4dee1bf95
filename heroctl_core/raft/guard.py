"""What may be handed on to pysyncobj, and what is answered instead. Pure.

pysyncobj 0.3.17 truncates a follower's log on every AppendEntries, commits tails that nobody
verified and takes late answers for new ones (rows 0, 3, 7 and 13 of docs/engine.md). So no message
reaches it before this table has judged it. `c` is the highest index known to be committed here,
`F` and `L` are the first and the last log index; a message covers `p` (prev_index) to `n`.

The numbers of the cases are those of docs/engine.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from .. import limits
from . import membership

Entry = tuple[bytes, int, int]  # (data, index, term): pysyncobj's order

REGULAR: Final = 0
NO_OP: Final = 1
MEMBERSHIP: Final = 2
CHECK: Final = 4  # compares states (raft/divergence.py); 3 is pysyncobj's code version


# Named tuples: they are built in every turn, and a frozen dataclass costs four times as much.
class AppendEntries(NamedTuple):
    """A leader's message (Raft paper, Figure 2). Without `prev_index` it only carries the term,
    who leads, and a commit index."""

    term: int
    prev_index: int | None
    prev_term: int
    entries: tuple[Entry, ...]
    commit_index: int

    @property
    def last_index(self) -> int:
        """n: the last index that the message covers."""
        return (self.prev_index or 0) + len(self.entries)


class Facts(NamedTuple):
    """What this node knows while it judges. `term_at` answers for first..last only."""

    term: int
    leading: bool
    leader: str | None  # of the present term
    first_index: int
    last_index: int
    committed: int  # max(commit index, last applied)
    term_at: Callable[[int], int]


class Answer(NamedTuple):
    """The follower's next_node_idx: what it holds, or from where the leader shall try."""

    next_index: int
    success: bool


class Verdict(NamedTuple):
    """Exactly one of `stop`, `cut`, `stale` or (`hand_on` and maybe `answer`) counts.

    stop: two leaders or diverging committed entries: the node must stop, for this reason.
    cut: the peer sent rubbish: close its connection, count it.
    stale: answer with our term, nothing else.
    hand_on: what pysyncobj gets; without `answer` it answers itself.
    """

    hand_on: AppendEntries | None = None
    answer: Answer | None = None
    stale: bool = False
    cut: str | None = None
    stop: str | None = None


def malformed(message: AppendEntries) -> str | None:
    """Why a message can come from no honest leader, or None (case 0)."""
    previous = message.prev_term
    if not message.entries:
        return "prev_term above the term" if previous > message.term else None
    if message.prev_index is None:
        return "entries without prev_index"
    for position, (data, index, term) in enumerate(message.entries, message.prev_index + 1):
        if index != position:
            return f"entry {index} where {position} belongs"
        if not previous <= term <= message.term:
            return f"entry {index} has term {term} outside {previous}..{message.term}"
        if not data or data[0] not in (REGULAR, NO_OP, MEMBERSHIP, CHECK):
            return f"entry {index} is of an unknown kind"
        if len(data) > limits.ENTRY_BYTES:
            return f"entry {index} has {len(data)} bytes, the limit is {limits.ENTRY_BYTES}"
        if data[0] == MEMBERSHIP and not membership.is_configuration(data[1:]):
            return f"entry {index} is no configuration"
        previous = term
    return None


def judge(sender: str, message: AppendEntries, facts: Facts) -> Verdict:
    """The verdict over one AppendEntries of `sender` (cases 0 to 8)."""
    if fault := malformed(message):
        return Verdict(cut=fault)
    if message.term < facts.term:
        return Verdict(stale=True)  # 1
    if message.term == facts.term and (
        facts.leading or (facts.leader is not None and facts.leader != sender)
    ):
        other = "this node" if facts.leading else facts.leader
        return Verdict(stop=f"two leaders in term {message.term}: {sender} and {other}")  # 2
    committed = facts.committed
    if message.prev_index is None:
        return _told(message, committed, committed + 1, success=False)  # 8
    if message.last_index <= committed:  # 3
        return _difference(message, facts) or _told(message, committed, committed + 1, success=True)
    if message.prev_index < committed:  # 4
        if wrong := _difference(message, facts):
            return wrong
        message = message._replace(
            prev_index=committed,
            prev_term=facts.term_at(committed),
            entries=message.entries[committed - message.prev_index :],
        )
    return _judge_uncommitted(message, facts)


def _judge_uncommitted(message: AppendEntries, facts: Facts) -> Verdict:
    """Cases 5 to 7: prev_index is at or above the commit index."""
    committed, last, previous = facts.committed, facts.last_index, message.prev_index
    assert previous is not None
    if previous > last:
        return _told(message, committed, last + 1, success=False)  # 5
    if facts.term_at(previous) != message.prev_term:  # 6
        if previous == committed:
            return Verdict(stop=f"committed entry {previous} differs from the leader's")
        return _told(message, committed, _run_start(previous, facts), success=False)
    verified = min(message.commit_index, message.last_index)
    for at, (_, index, term) in enumerate(message.entries):
        if index > last or facts.term_at(index) != term:  # 7b, 7c
            prev_term = facts.term_at(index - 1)
            return Verdict(
                AppendEntries(message.term, index - 1, prev_term, message.entries[at:], verified)
            )
    return _told(message, verified, message.last_index + 1, success=True)  # 7a


def _told(message: AppendEntries, commit_index: int, next_index: int, *, success: bool) -> Verdict:
    """H(commit_index): pysyncobj learns term, leader and a verified commit index, no more."""
    return Verdict(
        AppendEntries(message.term, None, 0, (), commit_index), Answer(next_index, success)
    )


def _difference(message: AppendEntries, facts: Facts) -> Verdict | None:
    """A stop when the message contradicts an entry that is committed here."""
    assert message.prev_index is not None
    claims = [(message.prev_index, message.prev_term)]
    claims += [(index, term) for _, index, term in message.entries]
    for index, term in claims:
        if facts.first_index <= index <= facts.committed and facts.term_at(index) != term:
            return Verdict(stop=f"committed entry {index} differs from the leader's")
    return None


def _run_start(index: int, facts: Facts) -> int:
    """The first index of the run of equal terms that ends at `index`, above the committed part:
    the leader then skips a whole term at once (Raft paper, 5.3)."""
    term = facts.term_at(index)
    while index > max(facts.committed + 1, facts.first_index) and facts.term_at(index - 1) == term:
        index -= 1
    return max(facts.committed + 1, index)
