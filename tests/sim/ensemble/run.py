# SPDX-License-Identifier: GPL-2.0-or-later
"""Playing a scenario around ZooKeeper to its end."""

from __future__ import annotations

from saru.core.invariants import InvariantError
from tests.sim.ensemble import faults
from tests.sim.ensemble.plan import plan
from tests.sim.ensemble.scenario import EnsembleScenario, parse
from tests.sim.ensemble.world import DEADTIME, INITDEAD, TIMEOUT, EnsembleWorld
from tests.sim.ensemble.zookeeper import ELECTION, SYNC, TICK
from tests.sim.network import MS
from tests.sim.scenario import Fault

STEP = 25 * MS
LEASE_PLUS = DEADTIME * 101 // 99
TRIPS = 300 * MS


def bound() -> int:
    """Within how long all is well again once everything works and everybody runs, us.

    At worst the servers must find a leader first; it gives every session its whole time; then L+
    for the fence, or for the eviction of one that hangs, and one more for its fence; those who have
    just started must say that they have moved, if nobody has yet.
    """
    servers = SYNC + ELECTION + 2 * TICK
    return int((servers + TIMEOUT + 2 * TICK + INITDEAD + 2 * LEASE_PLUS) * 1.01) + TRIPS


def play(scenario: EnsembleScenario) -> EnsembleWorld:
    """One run. Raises InvariantError, with the scenario that replays it, if a rule is broken."""
    world = EnsembleWorld(scenario)
    rest = list(scenario.faults)
    try:
        while rest:
            world.run(rest[0].time)
            faults.happen(world, rest.pop(0))
        if not scenario.faults or scenario.faults[-1].words[0] != "calm":
            faults.happen(world, Fault(world.now, ("calm",)))
        settle(world)
    except InvariantError as error:
        told = "\n".join([scenario.head(), *world.story, "# There it ended.", *map(str, rest)])
        raise InvariantError(
            f"seed {scenario.seed}, {len(scenario.directors)} directors: {error}\n"
            "# Save what follows, and `python -m tests.sim replay FILE` plays it again.\n"
            f"{told}"
        ) from error
    return world


def settle(world: EnsembleWorld) -> None:
    """See to it that all is well within the bound, and stays so."""
    begin = world.now
    world.bound = bound()
    while wrong := world.wrong():
        if world.now >= begin + world.bound:
            raise InvariantError("; ".join(wrong))
        world.run(world.now + STEP)
    world.settled = world.now - begin
    world.run(world.now + 2 * DEADTIME)
    if wrong := world.wrong():
        raise InvariantError("did not last: " + "; ".join(wrong))


def run(seed: int, directors: int = 3, failsafe: bool = False) -> EnsembleWorld:
    """One random run."""
    return play(plan(seed, directors, failsafe))


def is_one(text: str) -> bool:
    """Whether a text is a scenario of this kind."""
    return any(line.startswith("directors ") for line in text.splitlines())


def replay(text: str) -> list[str]:
    """Play a scenario again; what was told."""
    scenario = parse(text)
    return [scenario.head(), *play(scenario).story]
