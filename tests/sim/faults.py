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
step a MS                   its wall clock is set forward by so much, or back
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

from saru.core.reach import Reach
from tests.sim import verbs
from tests.sim.node import Node
from tests.sim.scenario import Fault
from tests.sim.world import World

PING_NODES = bytes(4)  # the mark of them; they are the same everywhere
REACHED = 2  # when all is calm


def _reach(node: Node, count: str) -> None:
    node.reach = Reach(int(count), PING_NODES)
    node.do(lambda daemon: daemon.reaches(node.reach, node.clock()))


def calm(world: World, dead: str = "") -> None:
    """Everything works again, and everybody runs, but for the `dead`: they lose their power."""
    verbs.clear_up(world)
    for node in world.nodes.values():
        if node.name in dead:
            node.reboot()
            continue
        if node.daemon is not None:
            node.wakes()  # it may have been told to leave while it was paused
        if node.daemon is None or node.daemon.left:
            node.start()
        else:
            verbs.rules(node, "on")
        if node.reach is not None:
            _reach(node, str(REACHED))


NODES = verbs.NODES | {"stop": Node.stop, "reach": _reach}
WORLD = verbs.WORLD | {"calm": calm}


def happen(world: World, fault: Fault) -> None:
    """Let a fault happen now. ValueError if nobody knows what it means."""
    verbs.happen(world, fault, NODES, WORLD)
    world.changed()
