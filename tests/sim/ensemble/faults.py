# SPDX-License-Identifier: GPL-2.0-or-later
"""What the words of a scenario do to a world with a ZooKeeper.

start a, crash a, reboot a, leave a, pause a MS, wake a, drift a PERCENT, step a MS,
weigh a WEIGHT, rules a on|off, stall PART  as in `tests.sim.faults`
hang a MS                   the daemon does nothing, but its connection is kept up
expire a                    somebody ends its session from outside
evict a                     somebody deletes its node
far a N                     it does not reach server N any more
near a                      it reaches all servers, and is answered at once
late a MS MS                what it asks, and what it is told, comes up to so much later
down N, up N                a server is stopped; it goes on
cut N M                     two servers do not hear each other
lag N MS                    a server learns of everything so much later
slow MS                     how long servers take to tell each other, on average
mend                        all servers run and hear each other
split, mute, lossy, heal, weather  what becomes of beats, as in `tests.sim.faults`
calm [ab]                   everything works again, and everybody (else) runs
"""

from __future__ import annotations

from tests.sim import verbs
from tests.sim.ensemble.director import Director
from tests.sim.ensemble.world import EnsembleWorld
from tests.sim.ensemble.zookeeper import Op, Server
from tests.sim.network import MS
from tests.sim.scenario import Fault


def _evict(node: Director) -> None:
    node.world.zookeeper.outsider(Op("delete", f"directors/{node.name}"))


def _near(node: Director) -> None:
    node.unreachable.clear()
    node.be_late(0, 0)


NODES = verbs.NODES | {
    "hang": lambda node, ms: node.hang(round(float(ms) * MS)),
    "expire": Director.expire,
    "evict": _evict,
    "far": lambda node, number: node.unreachable.add(int(number)),
    "near": _near,
    "late": lambda node, asks, answers: node.be_late(float(asks), float(answers)),
}


def _server(world: EnsembleWorld, number: str) -> Server:
    return world.zookeeper.servers[int(number)]


def _up(world: EnsembleWorld, number: str, up: bool) -> None:
    _server(world, number).up = up


def _cut(world: EnsembleWorld, one: str, other: str) -> None:
    world.zookeeper.cut.add(frozenset((int(one), int(other))))


def _lag(world: EnsembleWorld, number: str, ms: str) -> None:
    _server(world, number).lag = round(float(ms) * MS)


def _slow(world: EnsembleWorld, ms: str) -> None:
    world.zookeeper.delay = max(1, round(float(ms) * MS))


def calm(world: EnsembleWorld, dead: str = "") -> None:
    """Everything works again, and everybody runs, but for the `dead`: they lose their power."""
    verbs.clear_up(world)
    world.zookeeper.heal()
    for node in world.nodes.values():
        _near(node)
        node.hung_until = 0
        if node.name in dead:
            node.reboot()
        elif node.daemon is None or node.daemon.left:
            node.start()
        else:
            node.wakes()
            verbs.rules(node, "on")


WORLD = verbs.WORLD | {
    "down": lambda world, number: _up(world, number, False),
    "up": lambda world, number: _up(world, number, True),
    "cut": _cut,
    "lag": _lag,
    "slow": _slow,
    "mend": lambda world: world.zookeeper.heal(),
    "calm": calm,
}


def happen(world: EnsembleWorld, fault: Fault) -> None:
    """Let a fault happen now. ValueError if nobody knows what it means."""
    verbs.happen(world, fault, NODES, WORLD)
