# SPDX-License-Identifier: GPL-2.0-or-later
"""Who notices that the core lacks a rule: random runs, a run by hand, or nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pytest

from saru.core.invariants import InvariantError
from tests.sim.planted.patch import Plant

Run = Callable[[int], object]
"""The run of a seed."""


def until_it_fails(run: Run, limit: int, breach: str) -> None:
    """Run seed after seed until one fails as expected; other failures show nothing."""
    for seed in range(limit):
        try:
            run(seed)
        except InvariantError as error:
            if re.search(breach, str(error).partition("\n")[0]):
                raise


def by_random_runs(plant: Plant, run: Run, limit: int, breach: str) -> None:
    """Fail unless one of so many runs does."""
    with plant(), pytest.raises(InvariantError, match=breach):
        until_it_fails(run, limit, breach)


def by_a_script(plant: Plant, script: Callable[[], None], breach: str) -> None:
    """Fail unless a run goes well with the rule, and not without it."""
    script()
    with plant(), pytest.raises(InvariantError, match=breach):
        script()


def by_nobody(plant: Plant, run: Run, limit: int, scripts: Iterable[Callable[[], None]]) -> None:
    """Fail if one of so many runs does, or a run by hand: then that rule is needed by itself."""
    with plant():
        for seed in range(limit):
            run(seed)
        for script in scripts:
            script()
