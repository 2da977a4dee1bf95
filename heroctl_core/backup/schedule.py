"""Cron lines: whether one is valid, and why not. The door of croniter. Must not know the clock."""

from __future__ import annotations

from typing import Final

from croniter import croniter
from croniter.croniter import CroniterBadCronError, CroniterBadDateError

_EXAMPLES: Final = 'five fields as in "0 3 * * *" (minute, hour, day, month, weekday)'


def complaint(line: str) -> str | None:
    """What is wrong with a cron line, together with what is allowed; None when it is valid.

    Strict: five fields only, and neither `R` (random) nor `H` (hashed): a backup must run at the
    same time on every node. A line that never fires, such as 30 February, is refused too.
    """
    fields = line.split()
    if len(fields) != 5:
        return f"has {len(fields)} fields; allowed: {_EXAMPLES}"
    if any(letter in field.upper() for field in fields[:3] for letter in "RH"):
        return f"has a random or hashed field; allowed: {_EXAMPLES}"
    try:
        croniter(line, 0.0).get_next(float)
    except CroniterBadDateError:
        return "never fires"
    except CroniterBadCronError as error:
        return f"is no cron line ({str(error).lower().rstrip('.')}); allowed: {_EXAMPLES}"
    return None
