# SPDX-License-Identifier: GPL-2.0-or-later
"""The core around a modelled ZooKeeper under random faults: never two, soon one."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import re

import pytest

from saru.core.action import Change
from saru.core.invariants import InvariantError
from tests.sim.ensemble.plan import plan
from tests.sim.ensemble.planted import RANDOM, SCRIPTED, UNSEEN
from tests.sim.ensemble.run import play, run
from tests.sim.ensemble.scenario import parse

# Directors, fail-safe: how many runs. SARU_SIM_RUNS multiplies them, for a night's work.
RUNS = {
    (2, False): 40,
    (3, False): 160,
    (5, False): 40,
    (2, True): 40,
    (3, True): 140,
    (4, True): 40,
}
TIMES = int(os.environ.get("SARU_SIM_RUNS", "1"))
PLANTED_LIMIT = 150  # runs; the slowest of them is seen in some thirty
SEEN = (Change.LAPSED, Change.FENCED, Change.MASTER, Change.RESIGNED, Change.FAILSAFE, Change.LEFT)


def some_runs(directors: int, failsafe: bool, seeds: range) -> collections.Counter[str]:
    total: collections.Counter[str] = collections.Counter()
    for seed in seeds:
        total.update(run(seed, directors, failsafe).count)
    return total


def until_it_fails(failsafe: bool, breach: str) -> None:
    """Run seed after seed until one fails as expected; other failures show nothing."""
    for seed in range(PLANTED_LIMIT):
        try:
            run(seed, 3, failsafe)
        except InvariantError as error:
            if re.search(breach, str(error).partition("\n")[0]):
                raise


def test_never_two_and_every_block_held_again() -> None:
    jobs = []
    total: collections.Counter[str] = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for (directors, failsafe), runs in RUNS.items():
            for first in range(0, runs * TIMES, 20):
                seeds = range(first, first + 20)
                jobs.append(pool.submit(some_runs, directors, failsafe, seeds))
        for job in concurrent.futures.as_completed(jobs):
            total.update(job.result())
    seen = {change.value: total[change] for change in SEEN}
    print(f"{sum(RUNS.values()) * TIMES} runs saw {seen}")
    assert all(seen.values()), f"the runs are too tame to prove anything: {seen}"


@pytest.mark.parametrize("rule", RANDOM)
def test_a_missing_rule_is_noticed(rule: str) -> None:
    plant, failsafe, breach = RANDOM[rule]
    with plant(), pytest.raises(InvariantError, match=breach):
        until_it_fails(failsafe, breach)


@pytest.mark.parametrize("rule", SCRIPTED)
def test_a_missing_rule_is_noticed_by_a_script(rule: str) -> None:
    plant, script, breach = SCRIPTED[rule]
    script()
    with plant(), pytest.raises(InvariantError, match=breach):
        script()


@pytest.mark.parametrize("rule", UNSEEN)
def test_a_rule_with_another_behind_it(rule: str) -> None:
    """When one of these fails, that rule is needed by itself: tell so, and move it."""
    plant, _ = UNSEEN[rule]
    with plant():
        for seed in range(3):
            run(seed, 3, failsafe=seed == 2)


def test_a_run_is_told_as_a_script_that_replays_it() -> None:
    scenario = plan(7, 3, failsafe=True)
    assert parse(str(scenario)) == scenario
    assert play(parse(str(scenario))).story == play(scenario).story
