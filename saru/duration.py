# SPDX-License-Identifier: GPL-2.0-or-later
"""Durations as people write them, in integer nanoseconds inside."""

from __future__ import annotations

import re
from decimal import Decimal

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
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no duration; {how}")
    text = value if isinstance(value, str) else format(Decimal(repr(value)), "f")
    match = _WRITTEN.fullmatch(text.strip())
    if match is None or match[2] not in UNITS:
        raise ValueError(f"{value!r} is no duration; {how}")
    return int(Decimal(match[1]) * UNITS[match[2]])


def text(ns: int) -> str:
    """The shortest exact way of writing `ns` that `parse` reads back: "2s", "400ms", "20.405s"."""
    for unit, size in (("s", SECOND), ("ms", MS), ("us", US)):
        if ns >= size or unit == "us":
            number = format((Decimal(ns) / size).normalize(), "f")
            return f"{number}{unit}"
    raise AssertionError("unreachable: every duration is written in some unit")
