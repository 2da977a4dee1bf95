"""Every error of HeroCtl, its exit code and its HTTP status.

An error answers the caller's only question, "what may I do now?":

    HeroctlError            .hint: one sentence for the operator
    ├─ ConfigError          fix the input
    ├─ UsageError           fix the command line
    ├─ CommandRejected      do not retry: .reason is one of REJECT_REASONS
    ├─ NotApplied           safe to retry: NoLeader, Overloaded, ReadOnly
    ├─ OutcomeUnknown       retry only with the same request id
    ├─ NodeFault            this node stopped itself; StateDefect, LogFault, LogFull
    ├─ ArchiveError         NotAnArchive, UnsupportedVersion, Truncated, Damaged, WrongKey, NoKey
    ├─ StorageError         ObjectMissing, StorageDenied, StorageUnavailable, PartialCopy
    ├─ RecoveryError        refused by a guard; DrillFailed, DrillNoVerdict
    ├─ WatchEnded           watch anew: Compacted, EpochChanged, RightsChanged, SlowConsumer
    ├─ FileFault            the disk refused a read or write; the message names the file
    └─ Unreachable, Busy    no node answers; somebody else holds the lock

The API's problem documents and the tables of the documentation are made from these classes, so a
code is never given twice and never re-used.
"""

from __future__ import annotations

from typing import ClassVar, Final

REJECT_REASONS: Final = {
    # reason: (exit code, HTTP status)
    "not_found": (6, 404),
    "conflict": (14, 409),
    "denied": (5, 403),
    "invalid": (2, 422),
    "too_large": (2, 413),
    "request_expired": (14, 409),
}


class HeroctlError(Exception):
    """Base of all errors. `str()` is the message; `hint` says what the operator can do."""

    reason: str = "error"
    exit_code: int = 1
    http_status: int = 500
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint


class ConfigError(HeroctlError):
    """A configuration that cannot be used; the message names file, line and key."""

    reason, exit_code, http_status = "config", 2, 422


class UsageError(HeroctlError):
    """A call or command line that makes no sense; nothing was done."""

    reason, exit_code, http_status = "usage", 2, 400


class CommandRejected(HeroctlError):
    """The replicated state refused the command, on every node alike. Do not retry it as it is."""

    def __init__(self, reason: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.exit_code, self.http_status = REJECT_REASONS[reason]


class NotApplied(HeroctlError):
    """The write certainly had no effect; it is safe to retry."""

    reason, exit_code, http_status = "not_applied", 4, 503


class NoLeader(NotApplied):
    """There is a quorum, but no leader answered before the deadline."""

    reason = "no_leader"
    default_hint = "an election takes about a second; try again"


class ReadOnly(NotApplied):
    """This node hears no majority of voters, so writes and linearizable reads are refused."""

    reason = "read_only"
    default_hint = (
        "bring the missing nodes back; if they are lost for good: "
        "heroctl snapshot restore FILE --force-bootstrap"
    )


class Overloaded(NotApplied):
    """The queue of waiting proposals is full."""

    reason, http_status = "overloaded", 429
    default_hint = "slow down and retry"


class OutcomeUnknown(HeroctlError):
    """The write may or may not have been applied. Retry only with the same request id."""

    reason, exit_code, http_status = "outcome_unknown", 15, 504
    default_hint = "repeat it with the same request id: it cannot be applied twice"


class NodeFault(HeroctlError):
    """This node stopped itself, because going on could harm the data."""

    reason = "node_fault"
    default_hint = "look at this node's log and disk before it is started again"


class StateDefect(NodeFault):
    """A command that this release does not know, or a row that it cannot have built."""

    reason = "state_defect"
    default_hint = "every node must run a release that knows the command; upgrade this one"


class LogFault(NodeFault):
    """The Raft log could not be read, written or synced; it refuses everything until a restart."""

    reason = "log_fault"


class LogFull(NodeFault):
    """There is no space for the Raft log. Nothing of the call counts; it may be made again."""

    reason, http_status = "log_full", 507
    default_hint = "make room on the file system of the data folder"


class ArchiveError(HeroctlError):
    """A snapshot archive, a dump or a log that cannot be used."""

    reason, exit_code, http_status = "archive", 7, 422


class NotAnArchive(ArchiveError):
    """The bytes are no HeroCtl snapshot."""

    reason = "not_an_archive"
    default_hint = "check the path: snapshots are made by heroctl snapshot save"


class UnsupportedVersion(ArchiveError):
    """The file was written by a newer HeroCtl; the message names the version that is needed."""

    reason = "unsupported_version"


class Truncated(ArchiveError):
    """The file ends too early."""

    reason = "truncated"
    default_hint = "the copy is not complete: copy it again, or take another one"


class Damaged(ArchiveError):
    """The content does not fit its checksums; the message names member and chunk."""

    reason = "damaged"
    default_hint = "take another copy of it"


class WrongKey(ArchiveError):
    """The archive is whole, but no configured key opens it."""

    reason, exit_code = "wrong_key", 8


class NoKey(ArchiveError):
    """No key, or a key file that cannot be used: missing, readable by others, wrong length."""

    reason, exit_code = "no_key", 8
    default_hint = "make one with: heroctl key generate FILE"


class StorageError(HeroctlError):
    """A backup destination failed."""

    reason, exit_code, http_status = "storage", 10, 502


class ObjectMissing(StorageError):
    """The destination has no such object."""

    reason, exit_code, http_status = "object_missing", 6, 404


class StorageDenied(StorageError):
    """The destination refused our credentials or rights."""

    reason, exit_code = "storage_denied", 5


class StorageUnavailable(StorageError):
    """The destination did not answer; the wrapper retries."""

    reason = "storage_unavailable"


class PartialCopy(StorageError):
    """The snapshot is safe here, but at least one remote copy failed."""

    reason = "partial_copy"


class RecoveryError(HeroctlError):
    """A guard refused a restore or forced bootstrap; the message says which, the hint how on."""

    reason, exit_code, http_status = "refused", 9, 409


class DrillFailed(RecoveryError):
    """A restore test found the backup to be bad."""

    reason, exit_code = "drill_failed", 11


class DrillNoVerdict(RecoveryError):
    """A restore test could not come to a verdict."""

    reason, exit_code = "drill_no_verdict", 12


class Unreachable(HeroctlError):
    """No node answered at the given address."""

    reason, exit_code, http_status = "unreachable", 3, 503


class Busy(HeroctlError):
    """Somebody else holds the lock."""

    reason, exit_code, http_status = "busy", 13, 423


class WatchEnded(HeroctlError):
    """A watch cannot go on where it was; the state itself is well."""

    reason, exit_code, http_status = "watch_ended", 14, 410


class Compacted(WatchEnded):
    """What changed since the cursor is not known on this node any more."""

    reason = "compacted"
    default_hint = "open a new watch, then list what it watches: nothing is missed between the two"


class EpochChanged(WatchEnded):
    """The state was restored: revisions of before mean nothing any more."""

    reason = "epoch_changed"
    default_hint = Compacted.default_hint


class RightsChanged(WatchEnded):
    """Policies or tokens were written: who watches with a token must show anew what it may see."""

    reason = "rights_changed"
    default_hint = "go on from the cursor of the last change"


class SlowConsumer(WatchEnded):
    """The watcher did not take its changes; it was cut off, so that nobody else waits."""

    reason = "slow_consumer"
    default_hint = "go on from the cursor of the last change, and take changes faster"


class FileFault(HeroctlError):
    """A file could not be read or written; the message names it and what the system said."""

    reason, http_status = "file", 507


class Interrupted(HeroctlError):
    """The operator pressed Ctrl-C."""

    reason, exit_code = "interrupted", 130
