"""A node's own metrics in Prometheus' text format. Pure: a status in, text out.

The format is a few lines, so they are written here; names are those of the interface document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from .port import Status

CONTENT_TYPE: Final = "text/plain"

# Name without the prefix: type and help.
_FAMILIES: Final[dict[str, tuple[str, str]]] = {
    "raft_has_quorum": ("gauge", "1 while this node hears a majority of the voters."),
    "raft_is_leader": ("gauge", "1 while this node leads."),
    "raft_tick_age_seconds": ("gauge", "Seconds since the engine's last turn."),
    "raft_log_entries": ("gauge", "Entries in the log, not yet compacted."),
    "raft_leader_changes_total": ("counter", "How often this node saw another leader."),
    "raft_failed_installs_total": ("counter", "Snapshots of a leader that could not be loaded."),
    "raft_peers_cut_off_total": ("counter", "Connections ended because the peer sent rubbish."),
    "generation": ("gauge", "Rises with each offline restore or forced bootstrap."),
    "revision": ("gauge", "Revision of the state."),
    "state_rows": ("gauge", "Rows of each kind."),
    "tls_certificate_expiry_timestamp_seconds": (
        "gauge",
        "Until when the certificates between the nodes are valid; absent without TLS.",
    ),
}


def exposition(status: Status) -> str:
    """All metrics of one look at a node."""
    raft = status.raft
    values: dict[str, float | Mapping[str, float]] = {
        "raft_has_quorum": int(status.has_quorum),
        "raft_is_leader": int(raft.role == "leader"),
        "raft_tick_age_seconds": round(raft.tick_age_s, 6),
        "raft_log_entries": max(0, raft.last_index - raft.first_index + 1),
        "raft_leader_changes_total": raft.leader_changes,
        "raft_failed_installs_total": raft.failed_installs,
        "raft_peers_cut_off_total": raft.peers_cut_off,
        "generation": status.generation,
        "revision": status.revision,
        "state_rows": status.rows,
        "tls_certificate_expiry_timestamp_seconds": _expiry(status),
    }
    return "".join(line + "\n" for line in _lines(values))


def _expiry(status: Status) -> Mapping[str, float]:
    if status.tls is None:
        return {}
    return {
        "authority": status.tls.authority_expires_ms // 1000,
        "node": status.tls.node_expires_ms // 1000,
    }


def _lines(values: Mapping[str, float | Mapping[str, float]]) -> Iterator[str]:
    for name, (kind, text) in _FAMILIES.items():
        value = values[name]
        if value == {}:
            continue
        yield f"# HELP heroctl_{name} {text}"
        yield f"# TYPE heroctl_{name} {kind}"
        if isinstance(value, Mapping):
            for label, number in sorted(value.items()):
                yield f'heroctl_{name}{{kind="{label}"}} {number}'
        else:
            yield f"heroctl_{name} {value}"
