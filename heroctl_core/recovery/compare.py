"""What a restore would change: the present state beside the archive's. Pure."""

from __future__ import annotations

from ..codec import unpack
from ..state.acl import TOKEN_PREFIX
from ..state.machine import View
from .facts import Loss


def losses(present: View | None, restored: View) -> tuple[Loss, ...]:
    """One Loss for each kind that differs; none when the present state is not known."""
    if present is None:
        return ()
    kinds = [*present.kinds, *(kind for kind in restored.kinds if kind not in present.kinds)]
    found = [_loss(kind, present, restored) for kind in kinds if kind != "keyring"]
    return tuple(loss for loss in found if loss.dropped or loss.changed or loss.returned)


def _loss(kind: str, present: View, restored: View) -> Loss:
    if kind not in restored.tables:
        return Loss(kind, present.count(kind), 0, 0)
    if kind not in present.tables:
        return Loss(kind, 0, 0, restored.count(kind))
    if present.fingerprint(kind) == restored.fingerprint(kind):
        return Loss(kind, 0, 0, 0)
    dropped = changed = same = 0
    for key, row in present.items(kind):
        other = restored.get(kind, key)
        if other is None:
            dropped += 1
        elif other != row:
            changed += 1
        else:
            same += 1
    return Loss(kind, dropped, changed, restored.count(kind) - changed - same)


def revived_tokens(present: View | None, restored: View, now_ms: int) -> int:
    """How many tokens become valid again: not expired by the clock, and deleted meanwhile. All of
    them when the present state is not known: nobody can say which were revoked."""
    count = 0
    for key, row in restored.items("acl", TOKEN_PREFIX):
        expires_ms = unpack(row)["expires_ms"]
        expired = expires_ms is not None and expires_ms <= now_ms
        gone = present is None or present.get("acl", key) is None
        count += gone and not expired
    return count
