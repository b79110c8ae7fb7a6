# SPDX-License-Identifier: GPL-2.0-or-later
"""How any scenario is played to its end: what happens in it, then calm, then all must be well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from saru.core.invariants import InvariantError
from tests.sim.cluster import DEADTIME, Cluster
from tests.sim.network import MS
from tests.sim.scenario import Fault

STEP = 25 * MS

AnyCluster = TypeVar("AnyCluster", bound=Cluster[Any])


def play_out(
    world: AnyCluster,
    happen: Callable[[AnyCluster, Fault], None],
    end: Callable[[AnyCluster], None],
) -> AnyCluster:
    """Play a world's scenario; it is judged at the `end`, when all is calm, whatever its faults.

    Raises InvariantError, with the scenario that replays it, if a rule is broken.
    """
    scenario = world.scenario
    rest = list(scenario.faults)
    try:
        while rest:
            world.run(rest[0].time)
            happen(world, rest.pop(0))
        if not scenario.faults or scenario.faults[-1].words[0] != "calm":
            happen(world, Fault(world.now, ("calm",)))
        end(world)
    except InvariantError as error:
        told = "\n".join([scenario.head(), *world.story, "# There it ended.", *map(str, rest)])
        raise InvariantError(
            f"seed {scenario.seed}, {len(world.nodes)} {scenario.WHO}: {error}\n"
            f"# Save what follows, and `python -m tests.sim replay FILE` plays it again.\n{told}"
        ) from error
    return world


def settle(world: Cluster[Any], bound: int, last_failed: Callable[[], int] = lambda: 0) -> None:
    """See to it that all is well within the bound, and stays so.

    It counts from now, or from when the last failure began if that is told of later.
    """
    begin = world.now
    while wrong := world.wrong():
        world.bound = bound + max(0, last_failed() - begin)
        if world.now >= begin + world.bound:
            raise InvariantError("; ".join(wrong))
        world.run(world.now + STEP)
    world.settled = world.now - begin
    world.bound = world.bound or bound
    world.run(world.now + 2 * DEADTIME)
    if wrong := world.wrong():
        raise InvariantError("did not last: " + "; ".join(wrong))
