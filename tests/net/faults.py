# SPDX-License-Identifier: GPL-2.0-or-later
"""What can happen to a cluster of namespaces: faults that begin, last, and end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence

from deploy.lab import topology
from deploy.lab.cluster import Cluster
from deploy.lab.node import Node
from tests.net.relay import Relay
from tests.storm import Fault, Kind

LOSS = 30
"""Percent."""
TWICE = 0.2
"""The share of late beats that come twice."""
BEATS = ("eth1", "eth2")
VIP = "eth0"


Make = Callable[[Cluster, Node, random.Random], Fault]


def frozen(_: Cluster, node: Node, __: random.Random) -> Fault:
    """The daemon does nothing, and does not know of it."""
    return Fault(f"{node.name}'s daemon frozen", (node.name,), node.freeze, node.thaw)


def killed(_: Cluster, node: Node, __: random.Random) -> Fault:
    """The daemon dies; the kernel's table stays until its deadline."""

    def again() -> None:
        node.start()
        node.wait_ready()

    return Fault(f"{node.name}'s daemon killed", (node.name,), node.kill, again)


def stopped(_: Cluster, node: Node, __: random.Random) -> Fault:
    """The daemon is told to stop, and hands its blocks over."""

    def again() -> None:
        node.start()
        node.wait_ready()

    return Fault(f"{node.name}'s daemon stopped", (node.name,), node.stop, again)


def powerless(cluster: Cluster, node: Node, _: random.Random) -> Fault:
    """The whole machine is gone, and boots again."""
    return Fault(
        f"{node.name} without power",
        (node.name,),
        lambda: cluster.power_cut(node.name),
        lambda: cluster.boot(node.name),
    )


def unplugged(cluster: Cluster, node: Node, chance: random.Random) -> Fault:
    """Cables out, of the beats or of the VIP."""
    some = chance.choice((BEATS[:1], BEATS[1:], BEATS, (VIP,), (VIP, *BEATS)))

    def out() -> None:
        for interface in some:
            cluster.pull(node.name, interface)

    def back() -> None:
        for interface in some:
            cluster.plug(node.name, interface)

    return Fault(f"{node.name}'s {', '.join(some)} unplugged", (node.name,), out, back)


def downed(_: Cluster, node: Node, chance: random.Random) -> Fault:
    """An interface set down by somebody on the director itself."""
    interface = chance.choice(BEATS)

    def turn(state: str) -> None:
        words = ["ip", "-n", node.namespace, "link", "set", interface, state]
        subprocess.run(words, check=True, capture_output=True)

    return Fault(
        f"{node.name}'s {interface} down",
        (node.name,),
        lambda: turn("down"),
        lambda: turn("up"),
    )


def partitioned(cluster: Cluster, _: Node, chance: random.Random) -> Fault:
    """The nodes in two or three groups that do not hear each other."""
    names = list(cluster.nodes)
    chance.shuffle(names)
    cuts = sorted(chance.sample(range(1, len(names)), chance.choice((1, 1, 2))))
    groups: list[Sequence[str]] = [
        names[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(names)], strict=True)
    ]
    text = " | ".join(" ".join(group) for group in groups)
    return Fault(f"parted: {text}", (), lambda: cluster.cut(groups), cluster.heal, wires=True)


def one_way(cluster: Cluster, node: Node, chance: random.Random) -> Fault:
    """Some hear a node that does not hear them, or the other way round."""
    others = [name for name in cluster.nodes if name != node.name]
    some = chance.sample(others, chance.randint(1, len(others)))
    deaf = chance.random() < 0.5

    def lose() -> None:
        for other in some:
            source, target = (other, node.name) if deaf else (node.name, other)
            cluster.lose(source, target)

    text = f"{node.name} {'does not hear' if deaf else 'is not heard by'} {', '.join(some)}"
    return Fault(text, (), lose, cluster.heal, wires=True)


def lossy(cluster: Cluster, _: Node, __: random.Random) -> Fault:
    """Every link between nodes loses frames."""

    def lose() -> None:
        for source in cluster.nodes:
            for target in cluster.nodes:
                if source != target:
                    cluster.lose(source, target, LOSS)

    return Fault(f"{LOSS} % of all beats lost", (), lose, cluster.heal, wires=True)


def late(cluster: Cluster, node: Node, chance: random.Random) -> Fault:
    """A node's beats come late, twice and out of order; or those of all."""
    sources = chance.choice(([node.name], list(cluster.nodes)))
    pairs = {source: tuple(name for name in cluster.nodes if name != source) for source in sources}
    delay = chance.uniform(0.1, 3) * cluster.plan.times.deadtime / 1000
    seed = chance.randrange(2**32)
    relays: list[Relay] = []

    def begin() -> None:
        for source, targets in pairs.items():
            for target in targets:
                cluster.lose(source, target)
        relays.append(Relay(cluster.name, pairs, delay, TWICE, seed))
        relays[0].start()

    def end() -> None:
        relays.pop().stop()
        cluster.heal()

    who = "all beats" if len(sources) > 1 else f"{node.name}'s beats"
    return Fault(f"{who} up to {delay:.2f} s late", (), begin, end, wires=True)


def hogged(cluster: Cluster, _: Node, __: random.Random) -> Fault:
    """A busy program for each core; the client's, so that they end with it at the latest."""
    running: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        client = cluster.network.namespace(topology.CLIENT)
        words = ["ip", "netns", "exec", client, sys.executable, "-c", "while True: pass"]
        running.extend(subprocess.Popen(words) for _ in range(os.cpu_count() or 1))

    def end() -> None:
        while running:
            one = running.pop()
            one.kill()
            one.wait()

    return Fault("every core hogged", (), begin, end, hogs=True)


KINDS: tuple[Make, ...] = (
    frozen, killed, stopped, powerless, unplugged, downed, partitioned, one_way, lossy, late,
    hogged,
)  # fmt: skip


def kinds(cluster: Cluster, makes: Iterable[Make] = KINDS) -> list[Kind]:
    """All of them, each for any node of the cluster."""

    def of(make: Make) -> Kind:
        return lambda chance: make(cluster, chance.choice(list(cluster.nodes.values())), chance)

    return [of(make) for make in makes]
