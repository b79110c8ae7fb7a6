# SPDX-License-Identifier: GPL-2.0-or-later
"""The core around a modelled ZooKeeper under random faults: never two, soon one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from saru.core.action import Change
from tests.sim import notice
from tests.sim.batch import TIMES, all_runs
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
PLANTED_LIMIT = 150  # runs; the slowest of them is seen in some thirty
UNSEEN_RUNS = 30
SEEN = (Change.LAPSED, Change.FENCED, Change.MASTER, Change.RESIGNED, Change.FAILSAFE, Change.LEFT)


def test_never_two_and_every_block_held_again(figures: Callable[[str], None]) -> None:
    total = all_runs(run, RUNS)
    seen = {change.value: total[change] for change in SEEN}
    figures(f"{sum(RUNS.values()) * TIMES} runs saw {seen}")
    assert all(seen.values()), f"the runs are too tame to prove anything: {seen}"


@pytest.mark.parametrize("rule", RANDOM)
def test_a_missing_rule_is_noticed(rule: str) -> None:
    plant, failsafe, breach = RANDOM[rule]
    notice.by_random_runs(plant, lambda seed: run(seed, 3, failsafe), PLANTED_LIMIT, breach)


@pytest.mark.parametrize("rule", SCRIPTED)
def test_a_missing_rule_is_noticed_by_a_script(rule: str) -> None:
    notice.by_a_script(*SCRIPTED[rule])


@pytest.mark.parametrize("rule", UNSEEN)
def test_a_rule_with_another_behind_it(rule: str) -> None:
    """When one of these fails, that rule is needed by itself: tell so, and move it."""
    plant, _ = UNSEEN[rule]
    scripts = dict.fromkeys(script for _, script, _ in SCRIPTED.values())
    notice.by_nobody(plant, lambda seed: run(seed, 3, seed % 3 == 2), UNSEEN_RUNS, scripts)


def test_a_run_is_told_as_a_script_that_replays_it() -> None:
    scenario = plan(7, 3, failsafe=True)
    assert parse(str(scenario)) == scenario
    assert play(parse(str(scenario))).story == play(scenario).story
