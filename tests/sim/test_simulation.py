# SPDX-License-Identifier: GPL-2.0-or-later
"""The core under random faults (`RUNS`), and proof that a missing rule is noticed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from saru.core.action import Change
from saru.core.invariants import InvariantError
from saru.core.settings import Quorum
from tests.sim import notice
from tests.sim.batch import TIMES, all_runs
from tests.sim.plan import plan
from tests.sim.planted.rules import RANDOM, SCRIPTED, TWO, UNSEEN, UNSERVED
from tests.sim.run import play, run
from tests.sim.scenario import parse
from tests.sim.shrink import failure, kind, shrink

# Voters, quorum: how many runs. SARU_SIM_RUNS multiplies them, for a night's work.
RUNS = {
    (3, Quorum.MAJORITY): 200,
    (4, Quorum.MAJORITY): 60,
    (5, Quorum.MAJORITY): 60,
    (6, Quorum.MAJORITY): 10,
    (7, Quorum.MAJORITY): 12,
    (8, Quorum.MAJORITY): 4,
    (9, Quorum.MAJORITY): 6,
    (2, Quorum.NONE): 80,
    (3, Quorum.NONE): 40,
    (4, Quorum.NONE): 20,
}
PLANTED_LIMIT = 300  # runs; the slowest of them is seen in some forty
UNSEEN_RUNS = 30
SEEN = {
    "lapses": Change.LAPSED,
    "fences": Change.FENCED,
    "term changes": Change.TERM,
    "moves": "moves",
}


def test_never_two_and_every_block_held_again(figures: Callable[[str], None]) -> None:
    total = all_runs(run, RUNS)
    seen = {name: total[key] for name, key in SEEN.items()}
    figures(f"{sum(RUNS.values()) * TIMES} runs saw {seen}")
    assert all(seen.values()), f"the runs are too tame to prove anything: {seen}"


@pytest.mark.parametrize("rule", RANDOM)
def test_a_missing_rule_is_noticed(rule: str) -> None:
    """By what it is for, never two and soon one; nobody looks at the rules themselves."""
    plant, voters, breach = RANDOM[rule]
    unwatched = partial(run, voters=voters, rules=False)
    notice.by_random_runs(plant, unwatched, PLANTED_LIMIT, breach)


@pytest.mark.parametrize("rule", SCRIPTED)
def test_a_missing_rule_is_noticed_by_a_script(rule: str) -> None:
    notice.by_a_script(*SCRIPTED[rule])


@pytest.mark.parametrize("rule", UNSEEN)
def test_a_rule_with_another_behind_it(rule: str) -> None:
    """When one of these fails, that rule is needed by itself: tell so, and move it."""
    plant, _ = UNSEEN[rule]
    scripts = dict.fromkeys(script for _, script, _ in SCRIPTED.values())
    notice.by_nobody(plant, partial(run, voters=3, rules=False), UNSEEN_RUNS, scripts)


def test_a_failure_is_told_as_a_script_that_replays_it() -> None:
    plant, voters, breach = RANDOM["the kernel's deadline"]
    with plant():
        with pytest.raises(InvariantError, match=r"^seed \d+, 3 voters: ") as told:
            notice.until_it_fails(partial(run, voters=voters, rules=False), PLANTED_LIMIT, breach)
        text = str(told.value)
        first, _, script = text.partition("\n")
        scenario = parse(script)
        with pytest.raises(InvariantError) as again:
            play(scenario, rules=False)
        assert str(again.value).partition("\n")[0] == first
        short = shrink(scenario, rules=False, tries=60)
        error = failure(parse(str(short)), rules=False)
        assert error is not None
        assert kind(error) == kind(told.value)
        assert len(short.faults) < len(scenario.faults)
    assert TWO in breach
    assert UNSERVED not in breach


@pytest.mark.parametrize("seed", [3, 4])
def test_nothing_in_a_run_depends_on_what_the_clocks_show(seed: int) -> None:
    """They count from any moment: only differences matter, in nftables too."""
    scenario = plan(seed, 3)
    assert scenario.nftables is (seed == 4)

    def told(offset: int) -> list[str]:
        return play(scenario, clocks_from=offset).story

    assert told(0) == told(10**17)
