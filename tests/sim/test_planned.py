# SPDX-License-Identifier: GPL-2.0-or-later
"""What must not move a block, and what must: pauses within the lease, and ping nodes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest

from tests.sim import faults
from tests.sim.cluster import BLOCKS, DEADTIME, INITDEAD
from tests.sim.network import MS
from tests.sim.scenario import Fault, Scenario
from tests.sim.world import PING_SETTLE, World

SETTLED = INITDEAD + 3 * DEADTIME
EVERYTHING = (1 << BLOCKS) - 1
STEP = 2 * MS


def held(world: World) -> dict[str, int]:
    """What each kernel accepts now."""
    return {name: node.kernels[1].accepts() for name, node in world.nodes.items()}


def play(
    scenario: Scenario, steps: Iterable[Fault], end: int, look: Callable[[World], None]
) -> World:
    """Let everybody start and settle, then let the faults happen; `look` all the time from then."""
    world = World(scenario)
    for name in scenario.voters:
        faults.happen(world, Fault(0, ("start", name)))
    world.run(SETTLED)
    rest = sorted(steps, key=lambda fault: fault.time)
    while world.now < end:
        world.run(world.now + STEP)
        while rest and rest[0].time <= world.now:
            faults.happen(world, rest.pop(0))
        look(world)
    return world


@pytest.mark.parametrize("seed", range(6))
def test_a_pause_within_the_lease_moves_no_block(seed: int) -> None:
    """Whoever it is, the master too, one after the other: nobody loses or gains anything."""
    dice = random.Random(seed)
    voters = "abcdefg"[: 3 + seed % 3]
    steps, time = [], SETTLED + 50 * MS
    for name in dice.sample(voters, len(voters)):
        steps.append(Fault(time, ("stop", name)))
        steps.append(Fault(time + dice.choice((20, 60, 120)) * MS, ("start", name)))
        time += 2 * DEADTIME
    before: dict[str, int] = {}

    def look(world: World) -> None:
        before.update({} if before else held(world))
        assert held(world) == before, "\n".join(world.story)

    world = play(Scenario(seed=seed, voters=voters), steps, time, look)
    assert sum(daemon.session.number for n in world.nodes.values() if (daemon := n.daemon)) == len(
        voters
    ), "somebody lapsed"


def reaching(time: int, counts: dict[str, int]) -> list[Fault]:
    return [Fault(time, ("reach", name, str(count))) for name, count in counts.items()]


@pytest.mark.parametrize("lost", [{"a": 1}, {"b": 0}, {"a": 0, "c": 1}])
def test_who_reaches_fewer_ping_nodes_gives_its_blocks_away_and_gets_them_back(
    lost: dict[str, int],
) -> None:
    """No block is without a holder for longer than a move takes, and nobody lapses."""
    gone, back = SETTLED + DEADTIME, SETTLED + 6 * DEADTIME
    steps = reaching(SETTLED, dict.fromkeys("abc", 2)) + reaching(gone, lost)
    steps += reaching(back, dict.fromkeys(lost, 2))
    seen: list[tuple[int, dict[str, int]]] = []
    world = play(
        Scenario(seed=1, voters="abc"),
        steps,
        back + 6 * DEADTIME,
        lambda world: seen.append((world.now, held(world))),
    )
    middle = [blocks for time, blocks in seen if back - DEADTIME < time < back]
    assert all(not blocks[name] for blocks in middle for name in lost), "\n".join(world.story)
    assert all(sum(blocks.values()) == EVERYTHING for blocks in middle)
    assert all(seen[-1][1].values()), "\n".join(world.story)
    assert sum(seen[-1][1].values()) == EVERYTHING


@pytest.mark.parametrize("apart", [0, PING_SETTLE // 2])
def test_if_all_lose_all_ping_nodes_nothing_changes(apart: int) -> None:
    """Nor if they lose them one after the other, as long as that is sooner than it settles."""
    steps = reaching(SETTLED, dict.fromkeys("abc", 2))
    for turn, name in enumerate("bca"):
        steps += reaching(SETTLED + DEADTIME + turn * apart // 2, {name: 0})
    before: dict[str, int] = {}

    def look(world: World) -> None:
        before.update({} if before else held(world))
        assert held(world) == before, "\n".join(world.story)

    play(Scenario(seed=1, voters="abc"), steps, SETTLED + 8 * DEADTIME, look)
