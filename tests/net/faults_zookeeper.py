# SPDX-License-Identifier: GPL-2.0-or-later
"""What can happen between directors and a ZooKeeper ensemble, and within the ensemble."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

from deploy.lab import topology
from deploy.lab.cluster import Cluster
from deploy.lab.node import Node
from deploy.lab.zookeeper import Ensemble, Server
from tests.net import faults
from tests.storm import Fault, Kind

SESSIONS_GONE = 10
"""How many session timeouts an ensemble is gone for."""
ENSEMBLE = "the ensemble"


def _server(
    cluster: Cluster, chance: random.Random, begin: Callable[[Server], object], text: str
) -> tuple[Server, Callable[[], object], str]:
    server = chance.choice(cluster.ensemble.servers)
    return server, lambda: begin(server), f"{server.name} {text}"


def killed(cluster: Cluster, chance: random.Random) -> Fault:
    """A server dies and is started again; its store is as it was."""
    server, begin, text = _server(cluster, chance, Server.kill, "killed")
    return Fault(text, (ENSEMBLE,), begin, server.start)


def restarted(cluster: Cluster, chance: random.Random) -> Fault:
    """A server is told to stop, and started again."""
    server, begin, text = _server(cluster, chance, Server.stop, "stopped")
    return Fault(text, (ENSEMBLE,), begin, server.start)


def frozen(cluster: Cluster, chance: random.Random) -> Fault:
    """A server does nothing, and does not know of it."""
    server, begin, text = _server(cluster, chance, Server.freeze, "frozen")
    return Fault(text, (ENSEMBLE,), begin, server.thaw)


def headless(cluster: Cluster, chance: random.Random) -> Fault:
    """The leader of the ensemble dies, or is frozen: there is another one soon."""
    kill = chance.random() < 0.5
    led: list[Server] = []

    def begin() -> None:
        led.append(cluster.ensemble.leader())
        (Server.kill if kill else Server.freeze)(led[0])

    def end() -> None:
        (Server.start if kill else Server.thaw)(led[0])

    return Fault(f"the leader {'killed' if kill else 'frozen'}", (ENSEMBLE,), begin, end)


def parted(cluster: Cluster, chance: random.Random) -> Fault:
    """A server is cut from the others, not from the directors."""
    names = [server.name for server in cluster.ensemble.servers]
    one = chance.choice(names)
    others = [name for name in names if name != one]
    return Fault(
        f"{one} cut from the other servers",
        (ENSEMBLE,),
        lambda: cluster.cut([[one], others]),
        cluster.heal,
        wires=True,
    )


def gone(cluster: Cluster, chance: random.Random) -> Fault:
    """The whole ensemble is gone for ten session timeouts, or for less."""
    seconds = SESSIONS_GONE * cluster.plan.times.deadtime / 1000 * chance.choice((0.1, 0.3, 1))
    kill = chance.random() < 0.5

    def begin() -> None:
        for server in cluster.ensemble.servers:
            (Server.kill if kill else Server.freeze)(server)
        time.sleep(seconds)

    def end() -> None:
        for server in cluster.ensemble.servers:
            (Server.start if kill else Server.thaw)(server)

    text = f"the ensemble {'killed' if kill else 'frozen'} for {seconds:.1f} s"
    # No daemon can start meanwhile: systemd would try until one can.
    return Fault(text, (ENSEMBLE, *cluster.nodes), begin, end)


def cut_off(cluster: Cluster, node: Node, _: random.Random) -> Fault:
    """A director does not reach ZooKeeper, but clients and the other directors."""
    return Fault(
        f"{node.name} cut from ZooKeeper",
        (node.name,),  # its daemon could not start
        lambda: cluster.cut([[node.name], list(topology.ZOOKEEPERS[: cluster.plan.zookeepers])]),
        cluster.heal,
        wires=True,
    )


def unseen(cluster: Cluster, node: Node, _: random.Random) -> Fault:
    """A director does not reach clients, but ZooKeeper."""
    return Fault(
        f"{node.name} cut from the client",
        (),
        lambda: cluster.cut([[node.name], [topology.CLIENT]]),
        cluster.heal,
        wires=True,
    )


def expired(cluster: Cluster, chance: random.Random) -> Fault:
    """Sessions end from one moment to the next; the daemons learn of it later."""
    share = chance.choice((0.3, 1))

    def begin() -> None:
        for session in sessions(cluster):
            if chance.random() < share:
                cluster.ensemble.expire(session)

    return Fault("sessions expired from outside", (ENSEMBLE,), begin, lambda: None)


def sessions(cluster: Cluster) -> list[int]:
    """The directors' sessions with ZooKeeper, as their daemons say."""
    found = []
    for node in cluster.nodes.values():
        status = node.status(timeout=1.0) if node.running else None
        if status is not None and status.zookeeper is not None and status.zookeeper.session:
            found.append(int(status.zookeeper.session, 16))
    return found


def kinds(cluster: Cluster, more: Iterable[faults.Make] = ()) -> list[Kind]:
    """All of them, those of the directors themselves, and more of these."""

    def of_ensemble(make: Callable[[Cluster, random.Random], Fault]) -> Kind:
        return lambda chance: make(cluster, chance)

    def of_node(make: faults.Make) -> Kind:
        return lambda chance: make(cluster, chance.choice(list(cluster.nodes.values())), chance)

    own = (killed, restarted, frozen, headless, parted, gone, expired)
    others = (
        *(cut_off, unseen, faults.frozen, faults.killed, faults.stopped, faults.powerless),
        *(faults.partitioned, faults.lossy, faults.hogged),
        *more,
    )
    return [*map(of_ensemble, own), *map(of_node, others)]


def ensemble_of(cluster: Cluster, more: dict[str, object]) -> Ensemble:
    """Servers with other settings than usual, for a cluster that is not up yet."""
    return Ensemble(cluster.network, cluster.directory / "zk", cluster.plan.zookeepers, more)
