# SPDX-License-Identifier: GPL-2.0-or-later
"""Random runs: faults of every kind for a while, then a whole network and a bound."""

from __future__ import annotations

from saru.core.invariants import InvariantError
from tests.sim.world import DEADTIME, INITDEAD, MS, Node, World

# With the network whole: a start-up wait for those just restarted, a lapse, an election, a fence,
# and the two steps of a move, with room for lost beats.
SETTLE = INITDEAD + 8 * DEADTIME


def disturb(world: World) -> None:
    """One random fault."""
    random = world.random
    node = random.choice(list(world.nodes.values()))
    names = list(world.nodes)
    kind = random.choices(
        (
            *("crash", "restart", "leave", "guard", "pause", "partition", "one-way", "heal"),
            *("weather", "weight", "stall"),
        ),
        (2, 4, 1, 1, 3, 3, 2, 3, 2, 1, 1),
    )[0]
    if kind == "crash":
        reboot = random.random() < 0.5
        world.say(f"{node.name} crashes{' and reboots' if reboot else ''}")
        node.crash(reboot)
    elif kind == "restart":
        stopped = [n for n in world.nodes.values() if n.daemon is None]
        if stopped or random.random() < 0.3:
            node = random.choice(stopped or [node])
            world.say(f"{node.name} starts")
            node.start()
    elif kind == "leave":
        # It says goodbye, and is gone a little later; "restart" brings it back.
        world.say(f"{node.name} leaves")
        node.do(lambda daemon: daemon.leave(node.clock()))
        life = node.life

        def ends() -> None:
            if node.life == life:
                node.crash(False)

        world.at(world.now + 10 * MS, ends)
    elif kind == "guard":
        able = random.random() < 0.5
        node.do(lambda daemon: daemon.guard(able, "rules", node.clock()))
    elif kind == "pause":
        world.pause(node)
    elif kind == "partition":
        side = set(random.sample(names, random.randrange(1, len(names))))
        world.say(f"the network splits: {sorted(side)} apart")
        world.cut = {(a, b) for a in names for b in names if (a in side) != (b in side)}
    elif kind == "one-way":
        pair = tuple(random.sample(names, 2))
        world.say(f"nothing goes from {pair[0]} to {pair[1]}")
        world.cut.add((pair[0], pair[1]))
    elif kind == "heal":
        world.say("the network is whole")
        world.cut.clear()
    elif kind == "weather":
        world.loss = random.choice((0.0, 0.0, 0.1, 0.3))
        world.double = random.choice((0.0, 0.2))
        world.delay = random.choice((MS, 2 * MS, 20 * MS, DEADTIME // 4))
        world.say(f"loss {world.loss}, doubled {world.double}, delay {world.delay / MS} ms")
    elif kind == "weight":
        weight = random.choice((0, 50, 100, 100, 200))
        world.say(f"{node.name} weighs {weight}")
        node.do(lambda daemon: daemon.weigh(weight, node.clock()))
    else:
        world.stall = random.choice((0.0, 0.0, 0.002))


def calm(world: World) -> None:
    """Everything works again."""
    world.say("all is well from here on")
    world.cut.clear()
    world.loss = world.double = world.stall = 0.0
    world.delay = 2 * MS
    for node in world.nodes.values():
        if node.daemon is None or node.daemon.left:
            node.start()
        else:
            mend(node)


def mend(node: Node) -> None:
    """The node's rules are in place."""
    node.do(lambda daemon: daemon.guard(True, "rules in place", node.clock()))


def run(seed: int, voters: int = 3, length: int = 12 * DEADTIME) -> World:
    """One random run. Raises InvariantError, with the seed and the script, if a rule is broken.

    Every fifth has a witness, which holds nothing, and every fourth two ids.
    """
    world = World(seed, voters, witnesses=seed % 5 == 4, ids=1 + (seed % 4 == 3))
    try:
        for node in world.nodes.values():
            world.at(world.random.randrange(DEADTIME), node.start)
        world.run(INITDEAD + 2 * DEADTIME)
        end = world.now + length
        while world.now < end:
            world.run(world.now + int(world.random.expovariate(1 / (DEADTIME * 0.7))))
            disturb(world)
        calm(world)
        world.run(world.now + 2 * DEADTIME)  # the longest pause ends
        world.run(world.now + SETTLE)
        directors = [n for name, n in world.nodes.items() if name not in world.settings.witnesses]
        able = [n for n in directors if n.daemon is not None and n.daemon.weight]
        if able and (unheld := world.unheld()):
            bitmaps = ", ".join(f"{bitmap:#x} of id {number}" for number, bitmap in unheld.items())
            raise InvariantError(f"blocks stay unheld: {bitmaps}")
        if wrong := world.left_out():
            raise InvariantError("not settled: " + "; ".join(wrong))
    except InvariantError as error:
        raise InvariantError(
            f"seed {seed}, {voters} voters: {error}\n" + "\n".join(world.script)
        ) from error
    return world
