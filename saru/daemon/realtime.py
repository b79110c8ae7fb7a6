# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers that go off in time on a busy host: priority, locked memory, no long collections.

A daemon that waits for its turn behind other programs beats late, and loses its blocks for nothing.
What this host does not permit is told, and done without: everything works then, but later.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any

PRIORITY = 10  # of 1 to 99: before everything ordinary, behind what the kernel does for its devices
SWITCH = 0.0005
"""Seconds that one thread keeps Python's lock from another at most: the loop and the thread that
carries tables into the kernel must not keep each other from their work for milliseconds."""
COLLECT_LOOK = 0.05  # seconds between two looks at how much there is to collect
COLLECT_YOUNG = 2000
"""Objects that have come since the last collection; then it is time. So many cost some 0.3 ms: a
status has thousands to be thrown away, and somebody may ask for it all the time."""
COLLECT_OLDER, COLLECT_ALL = 100, 1200  # every so many looks what is older, and everything
_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4  # <sys/mman.h>; on fault: what is used, not what could be

logger = logging.getLogger("saru")


def run(work: Coroutine[Any, Any, None], *, wanted: bool) -> None:
    """Run `work` on an event loop of its own until it ends; in time, if that is wanted."""
    if wanted:
        enter()
        work = _tended(work)
    asyncio.run(work)


def enter() -> None:
    """Have this process, and the threads that it starts, go before ordinary ones from now on."""
    sys.setswitchinterval(SWITCH)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    except OSError as why:
        logger.warning(
            "no real-time priority: %s; on a busy host beats may be late (give the daemon "
            "CAP_SYS_NICE, or set daemon.realtime = false)",
            why.strerror,
        )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_CURRENT | _FUTURE | _ON_FAULT):
        logger.warning(
            "memory is not locked: %s; a host that swaps may keep the daemon waiting (give it "
            "CAP_IPC_LOCK, or set daemon.realtime = false)",
            os.strerror(ctypes.get_errno()),
        )
    # What there is now stays for good, and need not be looked through again and again.
    gc.collect()
    gc.freeze()


async def _tended(work: Coroutine[Any, Any, None]) -> None:
    """Let garbage be collected between two events, little at a time, and not in the midst of one.

    What is allocated and forgotten for each beat goes without a collection, by counting; only what
    refers to itself in a circle waits for this.
    """
    gc.disable()
    collecting = asyncio.ensure_future(_collect())
    try:
        await work
    finally:
        collecting.cancel()
        gc.enable()


async def _collect() -> None:
    for look in itertools.count(1):
        await asyncio.sleep(COLLECT_LOOK)
        if look % COLLECT_OLDER == 0:
            gc.collect(2 if look % COLLECT_ALL == 0 else 1)
        elif gc.get_count()[0] > COLLECT_YOUNG:
            gc.collect(0)
