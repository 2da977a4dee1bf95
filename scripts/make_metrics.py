"""Prints seven days of metric history as documents for `heroctl metrics put -f -`.

Twelve series of the example catalogue, one sample a minute. The same end gives the same text, to
the byte: the wave of day and night and the noise on it depend on the minute only. One document is
one day of one series, as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

MINUTES_A_DAY = 24 * 60
DAYS = 7


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its mean, how far day and night pull it from there, and the size of its noise."""

    name: str
    labels: dict[str, str]
    mean: float
    swing: float
    noise: float

    def value(self, minute: int) -> float:
        """The sample at a minute since 1970, never below zero, with two decimals at most."""
        hours = (minute % MINUTES_A_DAY) / 60
        wave = math.sin((hours - 8) / 24 * 2 * math.pi)
        digest = sha256(f"{self.name} {self.labels} {minute}".encode()).digest()
        jitter = int.from_bytes(digest[:4]) / 2**31 - 1
        return round(max(0.0, self.mean + self.swing * wave + self.noise * jitter), 2)


SERIES = (
    Series("node_cpu_percent", {"node": "node-1"}, 41, 22, 9),
    Series("node_cpu_percent", {"node": "node-2"}, 38, 20, 9),
    Series("node_cpu_percent", {"node": "node-3"}, 35, 19, 8),
    Series("node_cpu_percent", {"node": "node-4"}, 52, -30, 14),
    Series("node_memory_percent", {"node": "node-1"}, 63, 6, 2),
    Series("node_memory_percent", {"node": "node-2"}, 61, 6, 2),
    Series("node_memory_percent", {"node": "node-3"}, 66, 5, 2),
    Series("node_memory_percent", {"node": "node-4"}, 48, -12, 4),
    Series("http_requests_per_s", {"job": "shop-web"}, 180, 150, 40),
    Series("http_p99_ms", {"job": "shop-api"}, 85, 30, 25),
    Series("orders_per_min", {"job": "ship-orders"}, 7, 6, 3),
    Series("payments_failed_percent", {"job": "pay-api"}, 0.8, 0.3, 0.7),
)


def documents(end: datetime, days: int = DAYS) -> Iterator[dict[str, object]]:
    """The documents of all series, oldest day first; the last sample is a minute before `end`."""
    first = end - timedelta(days=days)
    for day in range(days):
        start = first + timedelta(days=day)
        minute = int(start.timestamp()) // 60
        for series in SERIES:
            yield {
                "kind": "metrics",
                "series": series.name,
                "labels": series.labels,
                "start": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "step_s": 60,
                "values": [series.value(minute + i) for i in range(MINUTES_A_DAY)],
            }


def _end(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("say the time zone, as in 2026-04-26T03:00:00Z")
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def main() -> int:
    """The exit code; the documents go to stdout, separated as YAML separates documents."""
    parser = argparse.ArgumentParser(description="prints seven days of metric history")
    parser.add_argument(
        "--end", type=_end, metavar="TIME", help="the end of the seven days (default: now)"
    )
    end = parser.parse_args().end or _end(datetime.now(UTC).isoformat())
    for document in documents(end):
        sys.stdout.write(f"---\n{json.dumps(document, separators=(', ', ': '))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
