# SPDX-License-Identifier: GPL-2.0-or-later
"""What the words of a scenario do to a world.

start a                     the daemon starts
crash a                     it is killed; the kernel's tables stay
reboot a                    the power is cut: tables gone, too
stop a                      a planned pause: `start a` goes on from the state that it leaves
leave a                     it says goodbye and ends
pause a MS                  SIGSTOP for so long
wake a                      SIGCONT
drift a PERCENT             its clock is fast by so much from now on
weigh a WEIGHT              0 drains it
rules a on|off              its rules are there, or gone
reach a COUNT               so many ping nodes answer it
split ab bcd                who has no group in common with another does not reach it
mute a b                    nothing goes from a to b
lossy a b PART              so much of it is lost
flap a b MS                 the way from a to b comes and goes, once in so long
heal                        all links work
weather PART PART PART MS   on all links: lost, doubled, long held up; the mean delay
stall PART                  how likely a daemon stops between computing and acting
calm [ab]                   everything works again, and everybody (else) runs
"""

from __future__ import annotations

from collections.abc import Callable

from saru.core.reach import Reach
from tests.sim.network import MS, Weather
from tests.sim.node import Node
from tests.sim.scenario import Fault
from tests.sim.world import World

Verb = Callable[..., None]
PING_NODES = bytes(4)  # the mark of them; they are the same everywhere
REACHED = 2  # when all is calm


def _weigh(node: Node, weight: str) -> None:
    node.weight = int(weight)
    node.do(lambda daemon: daemon.weigh(int(weight), node.clock()))


def _rules(node: Node, state: str) -> None:
    node.do(lambda daemon: daemon.guard(state == "on", f"rules {state}", node.clock()))


def _reach(node: Node, count: str) -> None:
    node.reach = Reach(int(count), PING_NODES)
    node.do(lambda daemon: daemon.reaches(node.reach, node.clock()))


NODES: dict[str, Verb] = {
    "start": Node.start,
    "crash": Node.end,
    "reboot": Node.reboot,
    "stop": Node.stop,
    "leave": Node.leave,
    "pause": lambda node, ms: node.pause(round(float(ms) * MS)),
    "wake": Node.wakes,
    "drift": lambda node, percent: node.drift(float(percent) / 100),
    "weigh": _weigh,
    "rules": _rules,
    "reach": _reach,
}
LINKS: dict[str, Verb] = {
    "split": lambda world, *groups: world.network.split(groups),
    "mute": lambda world, one, other: world.network.mute(one, other),
    "lossy": lambda world, one, other, loss: world.network.lossy(one, other, float(loss)),
    "flap": lambda world, one, other, ms: world.network.flap(one, other, round(float(ms) * MS)),
    "heal": lambda world: world.network.heal(),
}


def _weather(world: World, loss: str, double: str, late: str, delay: str) -> None:
    delay_us = round(float(delay) * MS)
    world.network.weather = Weather(float(loss), float(double), float(late), delay_us)


def _stall(world: World, part: str) -> None:
    world.stall = float(part)


def calm(world: World, dead: str = "") -> None:
    """Everything works again, and everybody runs, but for the `dead`: they lose their power."""
    world.network.heal()
    world.network.weather = Weather()
    world.changed()
    world.stall = 0.0
    for node in world.nodes.values():
        if node.name in dead:
            node.reboot()
            continue
        if node.daemon is not None:
            node.wakes()  # it may have been told to leave while it was paused
        if node.daemon is None or node.daemon.left:
            node.start()
        else:
            _rules(node, "on")
        if node.reach is not None:
            _reach(node, str(REACHED))


WORLD: dict[str, Verb] = {"weather": _weather, "stall": _stall, "calm": calm}


def happen(world: World, fault: Fault) -> None:
    """Let a fault happen now. ValueError if nobody knows what it means."""
    verb, *arguments = fault.words
    world.story.append(str(fault))
    try:
        if verb in NODES:
            name, *arguments = arguments
            NODES[verb](world.nodes[name], *arguments)
        elif verb in LINKS:
            LINKS[verb](world, *arguments)
            world.changed()
        else:
            WORLD[verb](world, *arguments)
            world.changed()
    except (KeyError, TypeError) as error:
        raise ValueError(f"what does this mean: {fault}") from error
