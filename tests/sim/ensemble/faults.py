# SPDX-License-Identifier: GPL-2.0-or-later
"""What the words of a scenario do to a world with a ZooKeeper.

start a, crash a, reboot a, leave a, pause a MS, wake a, drift a PERCENT, weigh a WEIGHT,
rules a on|off, stall PART  as in `tests.sim.faults`
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

from collections.abc import Callable

from tests.sim.ensemble.director import Director
from tests.sim.ensemble.world import EnsembleWorld
from tests.sim.ensemble.zookeeper import Op, Server
from tests.sim.faults import LINKS
from tests.sim.network import MS, Weather
from tests.sim.scenario import Fault

Verb = Callable[..., None]


def _weigh(node: Director, weight: str) -> None:
    node.weight = int(weight)
    node.do(lambda daemon: daemon.weigh(int(weight), node.clock()))


def _rules(node: Director, state: str) -> None:
    node.do(lambda daemon: daemon.guard(state == "on", f"rules {state}", node.clock()))


def _evict(node: Director) -> None:
    node.world.zookeeper.outsider(Op("delete", f"directors/{node.name}"))


def _near(node: Director) -> None:
    node.unreachable.clear()
    node.be_late(0, 0)


NODES: dict[str, Verb] = {
    "start": Director.start,
    "crash": Director.end,
    "reboot": Director.reboot,
    "leave": Director.leave,
    "pause": lambda node, ms: node.pause(round(float(ms) * MS)),
    "wake": Director.wakes,
    "hang": lambda node, ms: node.hang(round(float(ms) * MS)),
    "drift": lambda node, percent: node.drift(float(percent) / 100),
    "weigh": _weigh,
    "rules": _rules,
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


def _weather(world: EnsembleWorld, loss: str, double: str, late: str, delay: str) -> None:
    delay_us = round(float(delay) * MS)
    world.network.weather = Weather(float(loss), float(double), float(late), delay_us)


def _stall(world: EnsembleWorld, part: str) -> None:
    world.stall = float(part)


def calm(world: EnsembleWorld, dead: str = "") -> None:
    """Everything works again, and everybody runs, but for the `dead`: they lose their power."""
    world.network.heal()
    world.network.weather = Weather()
    world.zookeeper.heal()
    world.stall = 0.0
    for node in world.nodes.values():
        _near(node)
        node.hung_until = 0
        if node.name in dead:
            node.reboot()
        elif node.daemon is None or node.daemon.left:
            node.start()
        else:
            node.wakes()
            _rules(node, "on")


WORLD: dict[str, Verb] = {
    "down": lambda world, number: _up(world, number, False),
    "up": lambda world, number: _up(world, number, True),
    "cut": _cut,
    "lag": _lag,
    "slow": _slow,
    "mend": lambda world: world.zookeeper.heal(),
    "weather": _weather,
    "stall": _stall,
    "calm": calm,
}


def happen(world: EnsembleWorld, fault: Fault) -> None:
    """Let a fault happen now. ValueError if nobody knows what it means."""
    verb, *arguments = fault.words
    world.story.append(str(fault))
    try:
        if verb in NODES:
            name, *arguments = arguments
            NODES[verb](world.nodes[name], *arguments)
        else:
            (LINKS | WORLD)[verb](world, *arguments)
    except (KeyError, TypeError) as error:
        raise ValueError(f"what does this mean: {fault}") from error
