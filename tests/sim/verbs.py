# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of a scenario that mean the same in every world; `tests.sim.faults` explains them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.sim.cluster import Cluster
from tests.sim.host import Host
from tests.sim.network import MS, Weather
from tests.sim.scenario import Fault

Verb = Callable[..., None]


def weigh(node: Host[Any], weight: str) -> None:
    """Give it another weight."""
    node.weight = int(weight)
    node.do(lambda daemon: daemon.weigh(int(weight), node.clock()))


def rules(node: Host[Any], state: str) -> None:
    """Its rules are there from now on, or gone."""
    node.do(lambda daemon: daemon.guard(state == "on", f"rules {state}", node.clock()))


def _weather(world: Cluster[Any], loss: str, double: str, late: str, delay: str) -> None:
    delay_us = round(float(delay) * MS)
    world.network.weather = Weather(float(loss), float(double), float(late), delay_us)


def _stall(world: Cluster[Any], part: str) -> None:
    world.stall = float(part)


# Every kind of host does these in its own way.
NODES: dict[str, Verb] = {
    "start": lambda node: node.start(),
    "crash": lambda node: node.end(),
    "reboot": lambda node: node.reboot(),
    "leave": lambda node: node.leave(),
    "pause": lambda node, ms: node.pause(round(float(ms) * MS)),
    "wake": lambda node: node.wakes(),
    "drift": lambda node, percent: node.drift(float(percent) / 100),
    "step": lambda node, ms: node.step(round(float(ms) * 1_000_000)),
    "weigh": weigh,
    "rules": rules,
}
WORLD: dict[str, Verb] = {
    "split": lambda world, *groups: world.network.split(groups),
    "mute": lambda world, one, other: world.network.mute(one, other),
    "lossy": lambda world, one, other, loss: world.network.lossy(one, other, float(loss)),
    "flap": lambda world, one, other, ms: world.network.flap(one, other, round(float(ms) * MS)),
    "heal": lambda world: world.network.heal(),
    "weather": _weather,
    "stall": _stall,
}


def clear_up(world: Cluster[Any]) -> None:
    """The network works again, and no daemon stalls."""
    world.network.heal()
    world.network.weather = Weather()
    world.stall = 0.0


def happen(
    world: Cluster[Any], fault: Fault, nodes: Mapping[str, Verb], rest: Mapping[str, Verb]
) -> None:
    """Let a fault happen now, to one of the `nodes` or to something else.

    ValueError if nobody knows what it means.
    """
    verb, *arguments = fault.words
    world.story.append(str(fault))
    try:
        if verb in nodes:
            name, *arguments = arguments
            nodes[verb](world.nodes[name], *arguments)
        else:
            rest[verb](world, *arguments)
    except (KeyError, TypeError) as error:
        raise ValueError(f"what does this mean: {fault}") from error
