# SPDX-License-Identifier: GPL-2.0-or-later
"""Playing a scenario around beats to its end."""

from __future__ import annotations

from saru.core.invariants import InvariantError
from saru.core.settings import Quorum
from tests.sim import faults
from tests.sim.cluster import DEADTIME, INITDEAD, KEEPALIVE, LEASE_PLUS
from tests.sim.network import MS
from tests.sim.plan import plan
from tests.sim.play import play_out, settle
from tests.sim.scenario import Fault, Scenario
from tests.sim.world import MEETING, PING_SETTLE, World

TRIPS = 100 * MS


def bound(world: World) -> int:
    """Within how long all is well again once the network is whole and everybody runs, us.

    At worst those who have just started must take part: their wait. Then L+ (for a lease to end, or
    a promise, or until a master gives up, or the dead are fenced), every candidate's turn, a
    keepalive for one that comes to nothing, who gave way is to take part again, trips and SETs.
    Drift included.
    """
    young = [n.clock() - n.daemon.start for n in world.nodes.values() if n.daemon is not None]
    wait = max(0, INITDEAD - min(young) // 1000)
    turns = (len(world.nodes) + 2) * KEEPALIVE // 2
    pinged = PING_SETTLE if any(n.reach is not None for n in world.nodes.values()) else 0
    return int((wait + LEASE_PLUS + turns + pinged) * 1.01) + TRIPS


def heard_of_the_dead(world: World) -> int:
    """When anybody heard one of the dead last: what they have sent may be held up for long."""
    since = 0
    for node in world.nodes.values():
        if node.daemon is not None:
            for name, peer in node.daemon.peers.items():
                if peer.beat is not None and world.nodes[name].daemon is None:
                    since = max(since, world.now - (node.clock() - peer.received) // 1000)
    return since


def play(scenario: Scenario, *, rules: bool = True, clocks_from: int = 0) -> World:
    """One run. Raises InvariantError, with the scenario that replays it, if a rule is broken.

    Whatever its faults, all is calm at the end, and everybody must be served within `bound`.
    All clocks show `clocks_from` ns more than they would.
    """
    return play_out(World(scenario, rules=rules, clocks_from=clocks_from), faults.happen, end)


def end(world: World) -> None:
    """See to it that all is well, and that those apart agree again where each may go on alone."""
    settle(world, bound(world), lambda: heard_of_the_dead(world))
    if world.settings.quorum is Quorum.NONE:
        cut_off(world)


def cut_off(world: World) -> None:
    """Without a quorum both sides of a partition go on serving, and agree when they meet again."""
    names = "".join(world.nodes)
    middle = len(names) // 2
    sides = names[:middle], names[middle:]
    faults.happen(world, Fault(world.now, ("split", *sides)))
    world.run(world.now + 2 * DEADTIME)
    for side in sides:
        if missing := world.unheld(side):
            raise InvariantError(f"blocks stay unheld by {side}, cut off: {missing}")
    faults.happen(world, Fault(world.now, ("heal",)))
    world.run(world.now + MEETING)
    if wrong := world.wrong():
        raise InvariantError("not together again: " + "; ".join(wrong))


def run(
    seed: int, voters: int = 3, quorum: Quorum = Quorum.MAJORITY, *, rules: bool = True
) -> World:
    """One random run."""
    return play(plan(seed, voters, quorum), rules=rules)
