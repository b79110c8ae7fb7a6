# SPDX-License-Identifier: GPL-2.0-or-later
"""Durations as people write them, in integer nanoseconds inside."""

from __future__ import annotations

import re
from decimal import Decimal

from saru.config.quotation import line, shown

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

UNITS = {"us": US, "ms": MS, "s": SECOND, "m": MINUTE, "min": MINUTE, "h": HOUR, "": SECOND}
_WRITTEN = re.compile(r"(\d{1,12}(?:\.\d{1,18})?) ?([a-z]*)", re.ASCII)


def parse(value: object) -> int:
    """The nanoseconds of a number (seconds) or of a text such as "100ms", "2s", "1.5m".

    Raises ValueError with a text that says how to write one. Never negative.
    """
    how = 'write a number of seconds, or a text such as "100ms", "2s" or "1m"'
    match = _WRITTEN.fullmatch(_written(value))
    if match is None or match[2] not in UNITS:
        written = line(repr(value)) if isinstance(value, str | float) else shown(value)
        raise ValueError(f"{written} is no duration; {how}")
    return int(Decimal(match[1]) * UNITS[match[2]])


def _written(value: object) -> str:
    """What stands for the value in a file; empty for what is neither number nor text."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, bool) or not isinstance(value, int) or value.bit_length() > 64:
        return ""
    return str(value)


def text(ns: int) -> str:
    """The shortest exact way of writing `ns` that `parse` reads back: "2s", "400ms", "20.405s"."""
    for unit, size in (("s", SECOND), ("ms", MS), ("us", US)):
        if ns >= size or unit == "us":
            number = format((Decimal(ns) / size).normalize(), "f")
            return f"{number}{unit}"
    raise AssertionError("unreachable: every duration is written in some unit")
