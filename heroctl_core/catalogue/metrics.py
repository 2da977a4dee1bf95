"""Metric history of seven days: append, query, list the series, delete them, expire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import limits
from ..codec import unpack
from ..state.commands import AppendMetrics, DeleteMetrics, ExpireMetrics
from ..state.metrics import BLOCK_MS, block_start_ms, samples_of, series_of
from .access import OPERATOR, Actor
from .reads import Consistency, Fields, Reader, check_limit, may_list
from .values import invalid, text_map
from .writes import Writer, Written

Sample = tuple[int, float]


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """One series with its labels. `samples` are (time in milliseconds, value) by time; a list of
    series leaves them out and gives their number."""

    series: str
    labels: dict[str, str]
    samples: tuple[Sample, ...]
    count: int
    first_ms: int  # of a list: the start of the oldest block
    last_ms: int

    def to_json(self) -> dict[str, Any]:
        """The series as the API and the command line show it."""
        return {
            "kind": "metrics",
            "series": self.series,
            "labels": self.labels,
            "count": self.count,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "samples": [list(sample) for sample in self.samples],
        }


class Metrics:
    """Appends, gets, lists, deletes and expires metric history. Any thread."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    def append(
        self,
        series: str,
        samples: Sequence[Sample],
        *,
        labels: Mapping[str, str] | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Adds samples of the last seven days to a series; a repeated time takes the new value."""
        actor.check("write", "metrics", str(series))
        labels = text_map(f"labels of {series}", labels)
        try:
            pairs = [[time_ms, value] for time_ms, value in samples]
        except (TypeError, ValueError) as error:
            raise invalid(f"samples of {series} must be pairs of time and value") from error
        command = AppendMetrics([[series, labels, pairs]])
        return self._writer.write(command, actor, request_id)

    def get(
        self,
        series: str,
        *,
        labels: Mapping[str, str] | None = None,
        start_ms: int = 0,
        end_ms: int | None = None,
        consistency: Consistency = "linearizable",
        actor: Actor = OPERATOR,
    ) -> list[MetricSeries]:
        """The series of that name that have these labels, with their samples from `start_ms` until
        before `end_ms`; by labels."""
        actor.check("read", "metrics", series)
        wanted = (labels or {}).items()
        found: dict[str, tuple[dict[str, str], list[Sample]]] = {}
        for key, row in self._reader.view(consistency).by_name("metrics", f"{series}/"):
            block_ms = block_start_ms(key)
            if block_ms + BLOCK_MS <= start_ms or (end_ms is not None and block_ms >= end_ms):
                continue
            fields = unpack(row)
            if not wanted <= fields["labels"].items():
                continue
            found.setdefault(series_of(key), (fields["labels"], []))[1].extend(
                sample
                for sample in samples_of(key, fields)
                if start_ms <= sample[0] and (end_ms is None or sample[0] < end_ms)
            )
        return sorted(
            (_with_samples(series, *each) for each in found.values() if each[1]),
            key=lambda each: sorted(each.labels.items()),
        )

    def list(
        self,
        prefix: str = "",
        *,
        limit: int | None = None,
        after: str | None = None,
        consistency: Consistency = "linearizable",
        actor: Actor = OPERATOR,
    ) -> list[MetricSeries]:
        """The series that the actor may see, by name and labels, without samples; `after` is the
        name of a series, of which and of all before it none is shown."""
        may_list(actor, "metrics")
        check_limit(limit)
        summaries: dict[str, MetricSeries] = {}
        for key, row in self._reader.view(consistency).by_name("metrics", prefix):
            series = key.partition("/")[0]
            if actor.may_see("metrics", series) and (after is None or series > after):
                one = series_of(key)
                summaries[one] = _summary(summaries.get(one), key, unpack(row))
        ordered = sorted(
            summaries.values(), key=lambda each: (each.series, sorted(each.labels.items()))
        )
        return ordered[:limit]

    def delete(
        self,
        series: str,
        *,
        labels: Mapping[str, str] | None = None,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Drops the series of that name that have these labels; without labels all of that name.
        CommandRejected not_found when there is none."""
        actor.check("delete", "metrics", str(series))
        command = DeleteMetrics(series, text_map(f"labels of {series}", labels))
        return self._writer.write(command, actor, request_id)

    def expire(
        self,
        before_ms: int,
        *,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Drops the blocks that ended before a time; the leader calls this for the window."""
        return self._writer.write(ExpireMetrics(before_ms), actor, request_id)


def window_start_ms(now_ms: int) -> int:
    """What `expire` gets so that seven days are kept."""
    return max(0, now_ms - limits.METRIC_WINDOW_MS)


def _with_samples(series: str, labels: dict[str, str], samples: list[Sample]) -> MetricSeries:
    return MetricSeries(series, labels, tuple(samples), len(samples), samples[0][0], samples[-1][0])


def _summary(before: MetricSeries | None, key: str, fields: Fields) -> MetricSeries:
    """The series up to and including this block; blocks come by time."""
    return MetricSeries(
        series=fields["series"],
        labels=fields["labels"],
        samples=(),
        count=fields["count"] + (before.count if before else 0),
        first_ms=before.first_ms if before else block_start_ms(key),
        last_ms=fields["last_ms"],
    )
