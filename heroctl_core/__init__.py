"""HeroCtl: a control plane that a Python service carries inside itself.

This module is the public surface and nothing else. A name is loaded when it is first used, so
`import heroctl_core` costs a few milliseconds and brings in no third-party library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .catalogue.access import OPERATOR, Actor, Policy, Rule
    from .catalogue.acl import Token, TokenWritten
    from .catalogue.ingress import IngressRoute
    from .catalogue.jobs import Job
    from .catalogue.metrics import MetricSeries
    from .catalogue.nodes import Node
    from .catalogue.secrets import Secret
    from .catalogue.watch import Change, Watch
    from .catalogue.writes import Written
    from .config.model import Config
    from .control_plane import ControlPlane
    from .errors import (
        ArchiveError,
        Busy,
        CommandRejected,
        Compacted,
        ConfigError,
        Damaged,
        EpochChanged,
        FileFault,
        HeroctlError,
        NodeFault,
        NoKey,
        NoLeader,
        NotAnArchive,
        NotApplied,
        OutcomeUnknown,
        Overloaded,
        ReadOnly,
        RecoveryError,
        RightsChanged,
        SlowConsumer,
        StorageError,
        Truncated,
        Unreachable,
        UnsupportedVersion,
        UsageError,
        WatchEnded,
        WrongKey,
    )
    from .raft.port import Member, Mode
    from .server.port import Status
    from .version import __version__

# Name → the module that has it. tests/test_public_api.py compares the three lists.
_HOMES: Final = {
    "OPERATOR": "catalogue.access",
    "Actor": "catalogue.access",
    "ArchiveError": "errors",
    "Busy": "errors",
    "Change": "catalogue.watch",
    "CommandRejected": "errors",
    "Compacted": "errors",
    "Config": "config.model",
    "ConfigError": "errors",
    "ControlPlane": "control_plane",
    "Damaged": "errors",
    "EpochChanged": "errors",
    "FileFault": "errors",
    "HeroctlError": "errors",
    "IngressRoute": "catalogue.ingress",
    "Job": "catalogue.jobs",
    "Member": "raft.port",
    "MetricSeries": "catalogue.metrics",
    "Mode": "raft.port",
    "NoKey": "errors",
    "NoLeader": "errors",
    "Node": "catalogue.nodes",
    "NodeFault": "errors",
    "NotAnArchive": "errors",
    "NotApplied": "errors",
    "OutcomeUnknown": "errors",
    "Overloaded": "errors",
    "Policy": "catalogue.access",
    "ReadOnly": "errors",
    "RecoveryError": "errors",
    "RightsChanged": "errors",
    "Rule": "catalogue.access",
    "Secret": "catalogue.secrets",
    "SlowConsumer": "errors",
    "Status": "server.port",
    "StorageError": "errors",
    "Token": "catalogue.acl",
    "TokenWritten": "catalogue.acl",
    "Truncated": "errors",
    "Unreachable": "errors",
    "UnsupportedVersion": "errors",
    "UsageError": "errors",
    "Watch": "catalogue.watch",
    "WatchEnded": "errors",
    "Written": "catalogue.writes",
    "WrongKey": "errors",
    "__version__": "version",
}

__all__ = [
    "OPERATOR",
    "Actor",
    "ArchiveError",
    "Busy",
    "Change",
    "CommandRejected",
    "Compacted",
    "Config",
    "ConfigError",
    "ControlPlane",
    "Damaged",
    "EpochChanged",
    "FileFault",
    "HeroctlError",
    "IngressRoute",
    "Job",
    "Member",
    "MetricSeries",
    "Mode",
    "NoKey",
    "NoLeader",
    "Node",
    "NodeFault",
    "NotAnArchive",
    "NotApplied",
    "OutcomeUnknown",
    "Overloaded",
    "Policy",
    "ReadOnly",
    "RecoveryError",
    "RightsChanged",
    "Rule",
    "Secret",
    "SlowConsumer",
    "Status",
    "StorageError",
    "Token",
    "TokenWritten",
    "Truncated",
    "Unreachable",
    "UnsupportedVersion",
    "UsageError",
    "Watch",
    "WatchEnded",
    "Written",
    "WrongKey",
    "__version__",
]


def __getattr__(name: str) -> object:
    """The public object of that name, loaded now and kept."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
