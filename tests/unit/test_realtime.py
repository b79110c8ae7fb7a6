# SPDX-License-Identifier: GPL-2.0-or-later
"""Real-time priority, locked memory, and collections: what is in force, and what is told."""

from __future__ import annotations

import subprocess
import sys

from deploy.lab.cache import PROJECT

PROGRAM = """
import gc, logging, os, pathlib, threading
logging.basicConfig(format="%(message)s")
from saru.daemon import realtime
def facts():
    locked = [l for l in pathlib.Path("/proc/self/status").read_text().splitlines() if "VmLck" in l]
    return os.sched_getscheduler(0) == os.SCHED_RR, int(locked[0].split()[1]) > 0, gc.isenabled()
async def work():
    found = []
    thread = threading.Thread(target=lambda: found.append(facts()[0]))
    thread.start(); thread.join()
    print(*facts(), *found, gc.get_freeze_count() > 0)
realtime.run(work(), wanted=WANTED)
print(gc.isenabled())
"""
PERMITTED = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"


def run(program: str, *prefix: str) -> subprocess.CompletedProcess[str]:
    words = [*prefix, sys.executable, "-c", program]
    return subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_what_is_permitted_is_done_and_what_is_not_is_told() -> None:
    done = run(PROGRAM.replace("WANTED", "True"))
    # Not every kernel gives a real-time priority to every group of processes.
    may = run(PERMITTED).returncode == 0
    assert done.stdout == f"{may} True False {may} True\nTrue\n", done.stderr
    assert ("no real-time priority" in done.stderr) == (not may)


def test_without_the_right_to_it_everything_else_is_done() -> None:
    drop = ("setpriv", "--bounding-set", "-sys_nice,-ipc_lock")
    limited = ("prlimit", "--rtprio=0", "--memlock=0", *drop)
    done = run(PROGRAM.replace("WANTED", "True"), *limited)
    assert done.stdout == "False False False False True\nTrue\n"
    first, second = done.stderr.splitlines()
    assert first == (
        "no real-time priority: Operation not permitted; on a busy host beats may be late (give "
        "the daemon CAP_SYS_NICE, or set daemon.realtime = false)"
    )
    assert second.startswith("memory is not locked: ")


def test_it_can_be_left_alone() -> None:
    done = run(PROGRAM.replace("WANTED", "False"))
    assert done.stdout == "False False True False False\nTrue\n"
    assert done.stderr == ""


GARBAGE = """
import asyncio, gc, time
from saru.daemon import realtime
young = []
gc.callbacks.append(
    lambda phase, info: phase == "stop" and info["generation"] == 0 and young.append(info)
)
async def work():
    made, end = 0, time.monotonic() + 60
    while len(young) < 5 and time.monotonic() < end:
        for _ in range(100):
            circle = []
            circle.append(circle)
        made += 100
        await asyncio.sleep(0.001)
    print(len(young) >= 5, sum(info["collected"] for info in young) > made / 2)
realtime.run(work(), wanted=True)
"""


def test_what_is_thrown_away_is_collected_little_by_little() -> None:
    """Left for seconds, what a status leaves behind would keep the beats for many milliseconds."""
    done = run(GARBAGE)
    assert done.stdout == "True True\n", done.stderr
