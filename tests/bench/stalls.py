# SPDX-License-Identifier: GPL-2.0-or-later
"""When the machine itself stood still: what no program on it could have done anything about.

On each core a process with a real-time priority above every contender's sleeps for a millisecond
again and again. What it comes late by, everybody else on that core comes late by, too: another
machine had the core, or the kernel of this one would not let go of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Self

PRIORITY = 60
PERIOD = 0.001
LEAST = 0.002
"""Seconds; shorter stalls are not told of."""


class Stalls:
    """The stalls of all cores since it was entered. Times are CLOCK_MONOTONIC in ns."""

    def __init__(self) -> None:
        self._told: list[tuple[int, int]] = []  # began, ended
        self._running: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for core in sorted(os.sched_getaffinity(0)):
            words = [sys.executable, __file__, str(core)]
            one = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            self._running.append(one)
            reader = threading.Thread(target=self._read, args=(one,), daemon=True)
            reader.start()
            self._readers.append(reader)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._running:
            one.kill()
            one.wait()
        for reader in self._readers:
            reader.join()

    def _read(self, one: subprocess.Popen[str]) -> None:
        assert one.stdout is not None
        for line in one.stdout:
            began, ended = map(int, line.split())
            self._told.append((began, ended))

    def worst(self, since: int, until: int) -> float:
        """The longest stall, in seconds, any part of which lies between two times; 0.0 without."""
        found = [(e - b) / 1e9 for b, e in list(self._told) if e > since and b < until]
        return max(found, default=0.0)

    def longer_than(self, seconds: float, since: int) -> int:
        """How many stalls were longer than that."""
        return sum(e > since and (e - b) / 1e9 > seconds for b, e in list(self._told))


def watch(core: int) -> None:
    """Be the process of a core."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    before = time.monotonic_ns()
    while True:
        time.sleep(PERIOD)
        now = time.monotonic_ns()
        due = before + int(PERIOD * 1e9)
        if now - due > LEAST * 1e9:
            try:
                print(due, now, flush=True)
            except BrokenPipeError:  # who wanted to know was killed
                os._exit(1)
        before = time.monotonic_ns()


if __name__ == "__main__":
    watch(int(sys.argv[1]))
