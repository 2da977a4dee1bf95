"""HeroCtl: a control plane that a Python service carries inside itself.

This module is the public surface and nothing else. A name is loaded when it is first used, so
`import heroctl_core` costs a few milliseconds and brings in no third-party library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .errors import (
        ArchiveError,
        Busy,
        CommandRejected,
        ConfigError,
        Damaged,
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
        StorageError,
        Truncated,
        Unreachable,
        UnsupportedVersion,
        UsageError,
        WrongKey,
    )
    from .version import __version__

# Name → the module that has it. tests/test_public_api.py compares the three lists.
_HOMES: Final = {
    "ArchiveError": "errors",
    "Busy": "errors",
    "CommandRejected": "errors",
    "ConfigError": "errors",
    "Damaged": "errors",
    "HeroctlError": "errors",
    "NoKey": "errors",
    "NoLeader": "errors",
    "NodeFault": "errors",
    "NotAnArchive": "errors",
    "NotApplied": "errors",
    "OutcomeUnknown": "errors",
    "Overloaded": "errors",
    "ReadOnly": "errors",
    "RecoveryError": "errors",
    "StorageError": "errors",
    "Truncated": "errors",
    "Unreachable": "errors",
    "UnsupportedVersion": "errors",
    "UsageError": "errors",
    "WrongKey": "errors",
    "__version__": "version",
}

__all__ = [
    "ArchiveError",
    "Busy",
    "CommandRejected",
    "ConfigError",
    "Damaged",
    "HeroctlError",
    "NoKey",
    "NoLeader",
    "NodeFault",
    "NotAnArchive",
    "NotApplied",
    "OutcomeUnknown",
    "Overloaded",
    "ReadOnly",
    "RecoveryError",
    "StorageError",
    "Truncated",
    "Unreachable",
    "UnsupportedVersion",
    "UsageError",
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
