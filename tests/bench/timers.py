# SPDX-License-Identifier: GPL-2.0-or-later
"""How late a daemon's timers go off while a program hogs every core.

usage: tests/bench/timers [--seconds S] [--json FILE]

A process sleeps for 10 ms on an asyncio loop again and again, and makes garbage as a daemon does
that hears 63 others. It runs with nothing done for it, with the niceness of the systemd unit, and
with what `daemon.realtime` does, S seconds each, with one hog on every core meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saru.daemon import realtime

PERIOD_NS = 10_000_000
GARBAGE = 64
KEPT = 2_000
NICENESS = -15
MODES = ("plain", "nice", "realtime")
HOG = "while True: pass"


async def sleeper(seconds: float, late: list[int]) -> None:
    """Sleep and wake, and note in `late` by how many ns too late each time."""
    kept: list[object] = []
    end = time.monotonic_ns() + int(seconds * 1e9)
    while (began := time.monotonic_ns()) < end:
        await asyncio.sleep(PERIOD_NS / 1e9)
        late.append(time.monotonic_ns() - began - PERIOD_NS)
        for number in range(GARBAGE):
            circle: list[object] = [number, {"heard": (number,) * 3}]
            circle.append(circle)
            kept.append(circle)
        del kept[:-KEPT]


def one(mode: str, seconds: float) -> None:
    """Be the process that is measured."""
    if mode == "nice":
        os.nice(NICENESS)
    late: list[int] = []
    realtime.run(sleeper(seconds, late), wanted=mode == "realtime")
    late.sort()
    figures = {
        "timers": len(late),
        "median_us": late[len(late) // 2] / 1000,
        "p99_us": late[len(late) * 99 // 100] / 1000,
        "latest_us": late[-1] / 1000,
        "scheduler": "SCHED_RR" if os.sched_getscheduler(0) == os.SCHED_RR else "SCHED_OTHER",
    }
    print(json.dumps(figures))


@contextmanager
def hogs() -> Iterator[int]:
    """A program on every core that does nothing but that; how many."""
    count = os.cpu_count() or 1
    running = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(count)]
    try:
        yield count
    finally:
        for hog in running:
            hog.kill()
            hog.wait()


def main() -> None:
    """Measure, print, and write the figures where they are asked for."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8, help="of each mode, 10 at most (8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--mode", choices=MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not 0 < arguments.seconds <= 10:
        parser.error(f"--seconds {arguments.seconds:g}: more than 0, and 10 at most")
    if arguments.mode:
        one(arguments.mode, arguments.seconds)
        return
    modes: dict[str, Any] = {}
    with hogs() as count:
        print(f"{count} hogs; us that a timer of 10 ms was late")
        print(f"{'':10} {'median':>8} {'99 %':>8} {'latest':>8}")
        for mode in MODES:
            words = [sys.executable, "-m", "tests.bench.timers", "--mode", mode]
            words += ["--seconds", str(arguments.seconds)]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
            found = modes[mode] = json.loads(done.stdout)
            print(
                f"{mode:10} {found['median_us']:8.0f} {found['p99_us']:8.0f} "
                f"{found['latest_us']:8.0f}  {found['scheduler']}"
            )
    if arguments.json:
        figures = {
            "benchmark": "timers",
            "hogs": count,
            "seconds": arguments.seconds,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "modes": modes,
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
