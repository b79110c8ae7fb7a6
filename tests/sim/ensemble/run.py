# SPDX-License-Identifier: GPL-2.0-or-later
"""Playing a scenario around ZooKeeper to its end."""

from __future__ import annotations

from tests.sim.cluster import INITDEAD, LEASE_PLUS
from tests.sim.ensemble import faults
from tests.sim.ensemble.plan import plan
from tests.sim.ensemble.scenario import EnsembleScenario, parse
from tests.sim.ensemble.world import TIMEOUT, EnsembleWorld
from tests.sim.ensemble.zookeeper import ELECTION, SYNC, TICK
from tests.sim.network import MS
from tests.sim.play import play_out, settle

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
    return play_out(EnsembleWorld(scenario), faults.happen, lambda world: settle(world, bound()))


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
