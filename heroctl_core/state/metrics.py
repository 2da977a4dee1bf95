"""The rules of metric history: one row for each series, set of labels and block of six hours.

Blocks instead of samples keep the number of rows small; six hours instead of two keep the row's
own fields below one byte a sample. Samples of one command are taken all or not at all.
"""

from __future__ import annotations

import math
import re
from hashlib import sha256
from typing import Any, Final

from .. import limits
from ..codec import pack
from . import points
from .points import Sample
from .rows import Refused, Rows, check_size, checked_labels, decode_row

BLOCK_MS: Final = 6 * 3600 * 1000
LABEL_BYTES: Final = 4096

_SERIES: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_:.]{0,127}")
_DIGITS: Final = 9  # of a block number in a key, so that keys sort by time


def series_key(series: str, labels: dict[str, str]) -> str:
    """What the keys of all blocks of a series begin with; `labels` are in canonical order."""
    return f"{series}/{sha256(pack(labels)).hexdigest()[:32]}/"


def block_key(series_key: str, time_ms: int) -> str:
    """The key of the block that a time falls in."""
    return f"{series_key}{time_ms // BLOCK_MS:0{_DIGITS}}"


def block_start_ms(key: str) -> int:
    """The first millisecond of a block, from its key."""
    return int(key.rpartition("/")[2]) * BLOCK_MS


def series_of(key: str) -> str:
    """The part of a key that all blocks of the series share."""
    return key[:-_DIGITS]


def append_metrics(rows: Rows, body: list[Any]) -> None:
    """Adds samples: [[[series, labels, [[time_ms, value], ...]], ...]]."""
    (samples,) = body
    if type(samples) is not list or not samples:
        raise Refused("invalid", "samples must be a list that is not empty")
    blocks: dict[str, tuple[str, dict[str, str], dict[int, float]]] = {}
    for item in samples:
        _sort_into_blocks(rows, item, blocks)
    _check_series(rows, blocks)
    written = {key: _block_row(rows, key, *block) for key, block in blocks.items()}
    for key, row in written.items():
        check_size("metrics", key, row)
    new = [key for key in written if rows.tables["metrics"].get(key) is None]
    rows.check_room(len(new))
    for key, row in written.items():
        rows.put("metrics", key, row)
    for key in new:
        rows.series_blocks.add(series_of(key))


def expire_metrics(rows: Rows, body: list[Any]) -> None:
    """Drops the blocks that end at or before a time: [before_ms]."""
    (before_ms,) = body
    if type(before_ms) is not int or before_ms < 0:
        raise Refused("invalid", "before_ms must be milliseconds since 1970")
    ended = [
        key
        for shard in rows.tables["metrics"].shards
        for key in shard
        if block_start_ms(key) + BLOCK_MS <= before_ms
    ]
    _drop(rows, ended)


def delete_metrics(rows: Rows, body: list[Any]) -> None:
    """Drops every series of a name that has these labels: [series, labels]."""
    series, labels = body
    _check_series_name(series)
    wanted = checked_labels("label", labels).items()
    fits: dict[str, bool] = {}  # by series and labels: all blocks of one have the same labels
    found = []
    for shard in rows.tables["metrics"].shards:
        for key in shard:
            if key.startswith(f"{series}/"):
                one = series_of(key)
                if one not in fits:
                    fits[one] = wanted <= decode_row("metrics", key, shard[key])["labels"].items()
                if fits[one]:
                    found.append(key)
    if not found:
        told = " with these labels" if labels else ""
        raise Refused("not_found", f"metrics {series}{told} does not exist")
    _drop(rows, found)


def _drop(rows: Rows, keys: list[str]) -> None:
    for key in keys:
        rows.delete("metrics", key)
        rows.series_blocks.drop(series_of(key))


def rebuild_series_blocks(rows: Rows) -> None:
    """Counts the blocks of each series anew, after rows came from an archive or a dump."""
    for shard in rows.tables["metrics"].shards:
        for key in shard:
            rows.series_blocks.add(series_of(key))


def samples_of(key: str, fields: dict[str, Any]) -> list[Sample]:
    """The samples in a decoded row, by time; ValueError if they do not fit its other fields."""
    found = points.decode(fields["points"], start_ms=block_start_ms(key), scale=fields["scale"])
    if len(found) != fields["count"]:
        raise ValueError(f"{len(found)} samples, {fields['count']} were counted")
    return found


def _sort_into_blocks(
    rows: Rows, item: object, blocks: dict[str, tuple[str, dict[str, str], dict[int, float]]]
) -> None:
    if type(item) is not list or len(item) != 3:
        raise Refused("invalid", "a sample is [series, labels, [[time_ms, value], ...]]")
    series, labels, values = item
    _check_series_name(series)
    labels = checked_labels("label", labels)
    size = len(pack(labels))
    if size > LABEL_BYTES:
        raise Refused("too_large", f"labels of {series}: {size} bytes, the limit is {LABEL_BYTES}")
    if type(values) is not list or not values:
        raise Refused("invalid", f"series {series} must have values")
    prefix = series_key(series, labels)
    for pair in values:
        time_ms, value = _checked_sample(rows, series, pair)
        key = block_key(prefix, time_ms)
        blocks.setdefault(key, (series, labels, {}))[2][time_ms] = value


def _check_series_name(series: object) -> None:
    if type(series) is not str or not _SERIES.fullmatch(series):
        raise Refused("invalid", f"series {series!r} must be letters, digits, _ : . (up to 128)")


def _checked_sample(rows: Rows, series: str, pair: object) -> Sample:
    """One sample that the window has room for; so a wrong clock cannot make endless blocks."""
    if type(pair) is not list or len(pair) != 2:
        raise Refused("invalid", f"series {series}: a value is [time_ms, value]")
    time_ms, value = pair
    if type(time_ms) is not int or type(value) not in (int, float) or not math.isfinite(value):
        raise Refused("invalid", f"series {series}: a value is [time_ms, finite number]")
    oldest = rows.time_ms - limits.METRIC_WINDOW_MS
    if time_ms // BLOCK_MS < oldest // BLOCK_MS or time_ms < 0:
        raise Refused("invalid", f"series {series}: time {time_ms} is before the window of 7 days")
    if time_ms > rows.time_ms + BLOCK_MS:
        raise Refused("invalid", f"series {series}: time {time_ms} is in the future")
    return time_ms, float(value) + 0.0  # -0.0 becomes 0.0


def _check_series(
    rows: Rows, blocks: dict[str, tuple[str, dict[str, str], dict[int, float]]]
) -> None:
    new = {series_of(key) for key in blocks} - rows.series_blocks.counts.keys()
    count = len(rows.series_blocks) + len(new)
    if new and count > limits.METRIC_SERIES:
        raise Refused("too_large", f"{count} metric series, the limit is {limits.METRIC_SERIES}")


def _block_row(
    rows: Rows, key: str, series: str, labels: dict[str, str], values: dict[int, float]
) -> bytes:
    """The block with the new values in it; a time that it has already takes the new value."""
    packed = rows.tables["metrics"].get(key)
    old = None if packed is None else decode_row("metrics", key, packed)
    encoded, tail = _with_values(key, old, sorted(values.items()))
    fields = {
        "count": tail.count,
        "labels": labels,
        "last_ms": tail.last_ms,
        "last_units": tail.last_units,
        "points": encoded,
        "scale": tail.scale,
        "series": series,
        "step_ms": tail.step_ms,
    }
    return rows.stamped(old, fields)


def _with_values(
    key: str, old: dict[str, Any] | None, new: list[Sample]
) -> tuple[bytes, points.Tail]:
    scale = max((points.scale_of(value) or 0 for _, value in new), default=0)
    start_ms = block_start_ms(key)
    if old is None:
        return points.append(points.empty_tail(start_ms, scale), new)
    if scale <= old["scale"] and new[0][0] > old["last_ms"]:
        end = points.Tail(
            count=old["count"],
            last_ms=old["last_ms"],
            step_ms=old["step_ms"],
            last_units=old["last_units"],
            scale=old["scale"],
        )
        added, tail = points.append(end, new)
        return old["points"] + added, tail
    # More decimals, or samples that come late: write the block anew.
    merged = dict(samples_of(key, old))
    merged.update(new)
    scale = max(scale, old["scale"])
    return points.append(points.empty_tail(start_ms, scale), sorted(merged.items()))
