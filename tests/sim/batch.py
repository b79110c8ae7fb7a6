# SPDX-License-Identifier: GPL-2.0-or-later
"""Many random runs, on all processors."""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Mapping
from typing import Any

from tests.sim.cluster import Cluster

TIMES = int(os.environ.get("SARU_SIM_RUNS", "1"))
STEP = 20  # runs, before a process is given others

Run = Callable[..., Cluster[Any]]
"""The run of a seed, in a setting; a function that a process can be told by its name."""


def some_runs(run: Run, setting: tuple[Any, ...], seeds: range) -> collections.Counter[str]:
    """What has been counted in these runs."""
    total: collections.Counter[str] = collections.Counter()
    for seed in seeds:
        total.update(run(seed, *setting).count)
    return total


def all_runs(run: Run, runs: Mapping[Any, int]) -> collections.Counter[str]:
    """What has been counted in so many runs (`TIMES` as many) of each setting."""
    jobs = []
    total: collections.Counter[str] = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for setting, number in runs.items():
            for first in range(0, number * TIMES, STEP):
                seeds = range(first, min(first + STEP, number * TIMES))
                jobs.append(pool.submit(some_runs, run, setting, seeds))
        for job in concurrent.futures.as_completed(jobs):
            total.update(job.result())
    return total
