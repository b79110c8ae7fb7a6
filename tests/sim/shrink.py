# SPDX-License-Identifier: GPL-2.0-or-later
"""Making a scenario that fails as short as can be."""

from __future__ import annotations

import re

from saru.core.invariants import InvariantError
from tests.sim.run import play
from tests.sim.scenario import Scenario

KIND = re.compile(r"accept them|R\d is broken|blocks stay unheld|left out|masters are left")


def failure(scenario: Scenario, *, rules: bool = True) -> InvariantError | None:
    """How a scenario fails; None if it goes well."""
    try:
        play(scenario, rules=rules)
    except InvariantError as error:
        return error
    return None


def kind(error: InvariantError) -> str:
    """What sort of failure that is: only a failure of the same sort is the same failure."""
    found = KIND.search(str(error))
    return found.group() if found else "other"


def shrink(scenario: Scenario, *, rules: bool = True, tries: int = 400) -> Scenario:
    """The scenario without the faults that its failure does not need; at most `tries` runs.

    Parts of the list are left out, first halves, then smaller and smaller ones, as long as it still
    fails in the same way.
    """
    error = failure(scenario, rules=rules)
    if error is None:
        raise ValueError("this scenario does not fail")
    wanted = kind(error)
    faults = list(scenario.faults)
    size = len(faults) // 2
    while size and tries:
        first, smaller = 0, False
        while first < len(faults) and tries:
            tries -= 1
            fewer = faults[:first] + faults[first + size :]
            error = failure(scenario.only(fewer), rules=rules)
            if error is not None and kind(error) == wanted:
                faults, smaller = fewer, True
            else:
                first += size
        if not smaller or size > 1:
            size //= 2
    return scenario.only(faults)
