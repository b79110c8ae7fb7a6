# SPDX-License-Identifier: GPL-2.0-or-later
"""The core under random faults: over a thousand runs, and proof that a missing rule is noticed."""

from __future__ import annotations

import collections
import concurrent.futures
import os

import pytest

from saru.core.action import Change
from saru.core.invariants import InvariantError
from tests.sim import faults
from tests.sim.planted import PLANTED, SCRIPTED, TWO

# Voters: how many runs. SARU_SIM_RUNS multiplies them, for a night's work.
RUNS = {3: 640, 4: 160, 5: 160, 7: 60}
TIMES = int(os.environ.get("SARU_SIM_RUNS", "1"))
PLANTED_LIMIT = 400  # runs; the slowest of them is seen in some thirty
SEEN = {
    "lapses": Change.LAPSED,
    "fences": Change.FENCED,
    "term changes": Change.TERM,
    "moves": "moves",
}


def some_runs(voters: int, seeds: range) -> collections.Counter[str]:
    total: collections.Counter[str] = collections.Counter()
    for seed in seeds:
        total.update(faults.run(seed, voters).count)
    return total


def test_never_two_and_every_block_held_again() -> None:
    jobs = []
    total: collections.Counter[str] = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for voters, runs in RUNS.items():
            step = 20
            for first in range(0, runs * TIMES, step):
                jobs.append(pool.submit(some_runs, voters, range(first, first + step)))
        for job in concurrent.futures.as_completed(jobs):
            total.update(job.result())
    seen = {name: total[key] for name, key in SEEN.items()}
    print(f"{sum(RUNS.values()) * TIMES} runs saw {seen}")
    assert all(seen.values()), f"the runs are too tame to prove anything: {seen}"


@pytest.mark.parametrize("rule", PLANTED)
def test_a_missing_rule_is_noticed(rule: str) -> None:
    with PLANTED[rule](), pytest.raises(InvariantError, match=TWO):
        some_runs(3, range(PLANTED_LIMIT))


@pytest.mark.parametrize("rule", SCRIPTED)
def test_a_missing_rule_is_noticed_by_a_script(rule: str) -> None:
    plant, script, breach = SCRIPTED[rule]
    script()
    with plant(), pytest.raises(InvariantError, match=breach):
        script()


def test_a_failure_names_its_seed_and_replays() -> None:
    scripts = []
    with PLANTED["the kernel's deadline"]():
        for _ in range(2):
            with pytest.raises(InvariantError, match=r"^seed \d+, 3 voters: ") as failure:
                some_runs(3, range(PLANTED_LIMIT))
            scripts.append(str(failure.value))
    assert scripts[0] == scripts[1]
    assert "pauses for" in scripts[0] or "crashes" in scripts[0] or "splits" in scripts[0]
