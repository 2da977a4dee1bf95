"""Words that messages of the library and of the command line share."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 row", "2 rows"; `many` for a plural without a mere s."""
    return f"{number} {one if number == 1 else many or one + 's'}"
