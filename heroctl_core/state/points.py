"""Samples of one metric block as bytes: about one byte for a sample of a slowly changing value.

A sample is a varint token. Its lowest bit says that the step from the sample before differs from
the step before that; then a zigzag varint with the difference follows. The next bit says that the
value is eight raw bytes (float64, big endian); otherwise the rest of the token is the zigzag
difference to the last value in units of 10^-scale. So a sample in step, whose value moved by at
most 16 units, takes one byte. (Gorilla's bits take less, and far longer in Python.)

Bytes are appended only; what the next sample needs to know is in the block's Tail.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SCALE_MAX: Final = 6
_EXACT: Final = 2**53  # integers below it are exact as float64
_IRREGULAR: Final = 1
_RAW: Final = 2
_FLOAT: Final = struct.Struct(">d")

Sample = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a block ends: the last time and step in milliseconds, the last value in units."""

    count: int
    last_ms: int
    step_ms: int
    last_units: int
    scale: int


def empty_tail(start_ms: int, scale: int = 0) -> Tail:
    """The tail of a block without samples; times are counted from `start_ms`."""
    return Tail(0, start_ms, 0, 0, scale)


def scale_of(value: float) -> int | None:
    """The fewest decimals, up to SCALE_MAX, that hold `value` exactly; None if none do."""
    for scale in range(SCALE_MAX + 1):
        if units_of(value, scale) is not None:
            return scale
    return None


def units_of(value: float, scale: int) -> int | None:
    """`value` as an integer number of 10^-scale, or None when it is not exactly that."""
    scaled = value * 10**scale
    if not -_EXACT < scaled < _EXACT:
        return None
    units = round(scaled)
    # Dividing two exact numbers is correctly rounded, on every machine the same.
    return units if units / 10**scale == value else None


def append(tail: Tail, samples: Iterable[Sample]) -> tuple[bytes, Tail]:
    """The bytes of `samples`, to put behind a block that ends with `tail`, and the new tail.

    Times must rise, and be above the tail's unless the block is empty; values are finite.
    """
    out = bytearray()
    count, last_ms, step_ms = tail.count, tail.last_ms, tail.step_ms
    last_units, scale = tail.last_units, tail.scale
    for time_ms, value in samples:
        turn = time_ms - last_ms - step_ms
        units = units_of(value, scale)
        token = _RAW if units is None else _zigzag(units - last_units) << 2
        _put_varint(out, token | _IRREGULAR if turn else token)
        if turn:
            _put_varint(out, _zigzag(turn))
        if units is None:
            out += _FLOAT.pack(value)
        else:
            last_units = units
        step_ms += turn
        last_ms = time_ms
        count += 1
    return bytes(out), Tail(count, last_ms, step_ms, last_units, scale)


def decode(points: bytes, *, start_ms: int, scale: int) -> list[Sample]:
    """The samples in a block; ValueError for bytes that `append` cannot have made."""
    samples: list[Sample] = []
    at, last_ms, step_ms, last_units = 0, start_ms, 0, 0
    unit = 10**scale
    try:
        while at < len(points):
            token, at = _take_varint(points, at)
            if token & _IRREGULAR:
                turn, at = _take_varint(points, at)
                step_ms += _unzigzag(turn)
            last_ms += step_ms
            if token & _RAW:
                value = float(_FLOAT.unpack_from(points, at)[0])
                at += _FLOAT.size
            else:
                last_units += _unzigzag(token >> 2)
                value = last_units / unit
            samples.append((last_ms, value))
    except (IndexError, struct.error, OverflowError) as error:
        raise ValueError(f"points end within a sample at byte {at}") from error
    if not all(math.isfinite(value) for _, value in samples):
        raise ValueError("points hold a value that is not finite")
    return samples


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _unzigzag(number: int) -> int:
    return -((number + 1) >> 1) if number & 1 else number >> 1


def _put_varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _take_varint(points: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while points[at] & 0x80:
        number |= (points[at] & 0x7F) << shift
        shift += 7
        at += 1
    return number | points[at] << shift, at + 1
