# SPDX-License-Identifier: GPL-2.0-or-later
"""Directors in network namespaces, on the lab's own wires: up in a second or two, without QEMU.

    with Cluster("try-it", plan(3)) as cluster:
        cluster.wait_settled()
        cluster.power_cut("walter")
        cluster.boot("walter")
        cluster.cut([["wendy"], ["walter", "wanda"]])
        cluster.heal()

With `plan(3, zookeepers=3)`, `cluster.ensemble` is a ZooKeeper ensemble, a host for each server.

It differs from the lab of guests in what the host's kernel lacks: the directors decide by the
nftables data plane and serve the VIP themselves, by their rules for connection tracking, in place
of IPVS and real servers. They share one kernel, so one clock, and what is machine-wide (the limits
of connection tracking, the lock of iptables). All else is the same: addresses, MACs, learning
switches, the segment of the VIP and the second one, and the daemons.

All its files are in /run/NAME, its namespaces are called NAME and NAME-*; both are found by the
name alone, so that `Cluster(NAME).down()` cleans up after whoever was killed. Its processes are
among those of who made it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.lab import configuration, topology
from deploy.lab.cache import LabError
from deploy.lab.configuration import Plan, Settings, Times
from deploy.lab.network import ALL, Network
from deploy.lab.node import Node, held, wait_until
from deploy.lab.zookeeper import Ensemble
from saru.status import State

DATAPLANE: Settings = {"director": {"dataplane": "nftables"}}
"""Named, so that a host which has the module loaded does the same."""


def plan(
    directors: int = 3,
    witnesses: int = 0,
    times: Times = configuration.NAMESPACES,
    link_mode: str = "unicast",
    blocks: int = 1024,
    zookeepers: int = 0,
    more: Settings | None = None,
) -> Plan:
    """A plan of so many directors, of witnesses by the names after theirs, and of ZooKeeper
    servers."""
    count = directors + witnesses
    if count > len(topology.DIRECTORS):
        raise LabError(
            f"{count} nodes are too many: there are places for {len(topology.DIRECTORS)}"
        )
    merged = {section: dict(values) for section, values in DATAPLANE.items()}
    for section, values in (more or {}).items():
        merged.setdefault(section, {}).update(values)
    return Plan(
        directors=topology.DIRECTORS[:directors],
        witnesses=topology.DIRECTORS[directors:count],
        times=times,
        link_mode=link_mode,
        rules_mode="conntrack",
        blocks=blocks,
        zookeepers=zookeepers,
        more=merged,
    )


class Cluster:
    """The cluster called `name`, whether it is up or not. One process at a time may use it."""

    def __init__(self, name: str, shape: Plan | None = None) -> None:
        self.name = name
        self.plan = shape or plan()
        self.directory = Path("/run") / name
        self.network = Network(name)
        self.nodes = {
            node: Node(self.network, self.plan, node, self.directory / node)
            for node in self.plan.nodes()
        }
        self.ensemble = Ensemble(self.network, self.directory / "zk", self.plan.zookeepers)
        self._losses: dict[tuple[str, str], int] = {}

    @property
    def client(self) -> str:
        """The namespace of the client."""
        return self.network.namespace(topology.CLIENT)

    @property
    def directors(self) -> list[Node]:
        """The nodes that can hold blocks."""
        return [node for node in self.nodes.values() if not node.witness]

    # --- up and down ----------------------------------------------------------------------------

    def up(self, *, boot: bool = True) -> None:
        """Make switches and client, and boot every node, or leave them off. What an earlier
        cluster of this name left is taken down; what a failure leaves, too."""
        self.down()
        try:
            self.directory.mkdir(parents=True)
            keys = self.directory / "authkeys"
            keys.touch(mode=0o600)
            keys.write_text(configuration.new_authkeys())
            servers = topology.ZOOKEEPERS[: self.plan.zookeepers]
            self.network.make((), [topology.client(), *map(topology.zookeeper, servers)])
            self.heal()
            self.ensemble.up()
            if boot:
                self.boot(*self.nodes)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End everything that belongs to the cluster and forget it. Twice is no error."""
        self.network.remove()
        for node in self.nodes.values():
            node.bury()
        self.ensemble.down()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    # --- nodes ----------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """The node `name`."""
        if name not in self.nodes:
            raise topology.UnknownNodeError(
                f"no node '{name}' in this cluster: there are {', '.join(self.nodes)}"
            )
        return self.nodes[name]

    def boot(self, *names: str) -> None:
        """Give nodes that are off their power; returns when their daemons answer."""
        found = [self.node(name) for name in names]
        for node in found:
            node.power_on()
            node.start()
        for node in found:
            node.wait_ready()

    def power_cut(self, name: str) -> None:
        """Cut a node's power: at one moment its cables, processes and tables are gone."""
        self.node(name).power_cut()

    # --- wires ----------------------------------------------------------------------------------

    def cut(self, groups: Iterable[Sequence[str]]) -> None:
        """Let no frame pass between nodes of different groups, beside earlier losses. `client`
        and the ZooKeeper servers are nodes too."""
        known = [[self._place(name) for name in group] for group in groups]
        for one in known:
            for other in known:
                if one is not other:
                    self._losses.update({(a, b): ALL for a in one for b in other})
        self.network.lose(self._losses)

    def lose(self, source: str, target: str, percent: int = ALL) -> None:
        """Drop so many percent (0 to 100) of the frames from one node to another, and none of
        those back, beside earlier losses."""
        self._losses[self._place(source), self._place(target)] = percent
        self.network.lose(self._losses)

    def heal(self) -> None:
        """Let all frames pass again. Cables that are pulled out stay out."""
        self._losses.clear()
        self.network.lose({})

    def pull(self, name: str, interface: str) -> None:
        """Pull a node's cable out of the switch: both ends lose their carrier."""
        self.network.plug(self._leg(name, interface), in_=False)

    def plug(self, name: str, interface: str) -> None:
        """Plug a cable that was pulled out in again."""
        self.network.plug(self._leg(name, interface), in_=True)

    def _place(self, name: str) -> str:
        others = (topology.CLIENT, *topology.ZOOKEEPERS)
        return name if name in others else self.node(name).name

    def _leg(self, name: str, interface: str) -> topology.Leg:
        for leg in topology.director(self.node(name).name).legs():
            if leg.interface == interface:
                return leg
        raise LabError(f"{name} has no interface {interface}")

    # --- what they say --------------------------------------------------------------------------

    def unsettled(self) -> str:
        """Why the nodes whose daemons run are not settled; empty if they are.

        They are if all of them hear the same master, and the directors among them hold all
        blocks, each but a drained one at least one, as each says of its own kernel.
        """
        running = [node for node in self.nodes.values() if node.running]
        statuses = [node.status() for node in running]
        masters, total = set(), 0
        for node, status in zip(running, statuses, strict=True):
            if status is None:
                return f"{node.name} does not answer"
            masters.add(status.master)
            mine = held(status)
            if not node.witness and not mine and not node.sees(node.name, State.DRAINED):
                return f"{node.name} holds no block"
            total += mine
        if len(masters) != 1 or None in masters:
            return f"the masters heard are {sorted(str(master) for master in masters)}"
        blocks = next(d.blocks for s in statuses if s for d in s.divisions)
        return "" if total == blocks else f"{total} of {blocks} blocks are held"

    def wait_settled(self, patience: float = 60.0) -> str:
        """Wait until `unsettled` says nothing: the master's name. LabError with what it said
        last if that takes longer than `patience` seconds."""
        why = ""

        def settled() -> bool:
            nonlocal why
            why = self.unsettled()
            return not why

        try:
            wait_until("the cluster settles", settled, patience)
        except LabError as error:
            raise LabError(f"{error}: {why}") from None
        return self.master()

    def master(self) -> str:
        """Whom the first node that answers hears as master; LabError if there is none."""
        for node in self.nodes.values():
            status = node.status() if node.running else None
            if status is not None and status.master is not None:
                return status.master
        raise LabError("no node hears a master")
