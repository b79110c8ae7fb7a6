# SPDX-License-Identifier: GPL-2.0-or-later
"""The stage whose directors are network namespaces: this host's kernel, nftables, no IPVS."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from deploy.demonstration.stage import LAST_LINES, Pace, Say, Tap, by_zookeeper
from deploy.lab import cluster, configuration, topology
from deploy.lab.cache import PROJECT, LabError
from deploy.lab.cluster import Cluster

LAB = "saru-demo-namespaces"


class Namespaces:
    """Directors that serve the VIP themselves: what comes out of a director's cable with the VIP
    as its source is an answer to what that director accepted."""

    pace = Pace(
        rate=3000,
        deadtime=configuration.NAMESPACES.deadtime / 1000,
        grace=0.5,
        drain=0.2,
        look=0.1,
        patience=60.0,
        connections=5.0,
    )
    introduction = """\
The directors are network namespaces of this host. They decide by nftables, without the kernel
module, and serve the VIP themselves (established TCP connections stay, new ones are judged):
there is no IPVS, there are no real servers. They share one kernel and one clock; a power cut is
the loss of the cables, the processes and the whole namespace. Without --namespaces, the directors
are virtual machines with kernels of their own, the module, and IPVS."""
    keepsake = (
        f"PYTHONPATH={PROJECT} {sys.executable} -m saru "
        f"--config /run/{LAB}/{topology.DIRECTORS[0]}/saru.conf status"
    )
    seen = "the directors' own cables"

    def __init__(self, directors: int, link_mode: str, membership: str) -> None:
        self.lab = LAB
        zookeepers = len(topology.ZOOKEEPERS) if membership == "zookeeper" else 0
        if zookeepers:
            self.pace = by_zookeeper(self.pace)
        if link_mode == "hub":  # it will not settle
            self.pace = replace(self.pace, patience=8.0)
        plan = cluster.plan(directors, link_mode=link_mode, zookeepers=zookeepers)
        self._cluster = Cluster(LAB, plan)
        self.directors = self._cluster.plan.directors
        # A frame whose port is gone when it is looked at is told by its MAC.
        self.names = {topology.director(name).mac(0): name for name in self.directors}
        self.client = self._cluster.client
        self.wires = self._cluster.name
        # Of a director's two cables into the VIP's segment, the one of eth0.
        self.tap = Tap(
            ports={
                leg.port: name
                for name in self.directors
                for leg in topology.director(name).legs()
                if leg.segment == topology.VIP_SEGMENT and not leg.addresses
            }
        )

    def prepare(self, say: Say) -> str:  # noqa: ARG002 - there is nothing to prepare
        """The release of this host's kernel."""
        return os.uname().release

    def up(self, say: Say) -> str:
        """Bring the cluster up; the data plane that its first director names."""
        if self._cluster.directory.exists():
            say("a lab is left of an earlier demonstration: takes it down")
        servers = len(self._cluster.ensemble.servers)
        beside = f", {servers} ZooKeeper servers" if servers else ""
        say(f"{len(self.directors)} directors{beside} and a client start, each in a namespace")
        self._cluster.up()
        status = self._cluster.node(self.directors[0]).status()
        if status is None:
            raise LabError(f"{self.directors[0]} does not answer")
        return status.dataplane

    def power_cut(self, name: str) -> None:
        """Take its namespace away."""
        self._cluster.power_cut(name)

    def boot(self, name: str, say: Say) -> None:  # noqa: ARG002 - too quick to tell of
        """Make its namespace anew."""
        self._cluster.boot(name)

    def freeze(self, name: str) -> None:
        """SIGSTOP for its daemon."""
        self._cluster.node(name).freeze()

    def thaw(self, name: str) -> None:
        """SIGCONT for its daemon."""
        self._cluster.node(name).thaw()

    def isolate(self, name: str) -> None:
        """Cut it off from the others, and from ZooKeeper."""
        others = [other for other in self.directors if other != name]
        servers = [server.name for server in self._cluster.ensemble.servers]
        self._cluster.cut([[name], [*others, *servers]])

    def heal(self) -> None:
        """Let all frames pass again."""
        self._cluster.heal()

    def master(self, asked: str) -> str:
        """Who is master, as the daemon of `asked` says."""
        status = self._cluster.node(asked).status()
        if status is None or status.master is None:
            said = "; ".join(status.problems) if status else "it does not answer"
            raise LabError(f"{asked} hears no master: {said}")
        return status.master

    def says(self, name: str) -> str:
        """What its daemon says of itself."""
        node = self._cluster.node(name)
        said = node.run("status") if node.running else f"no daemon runs: {node.last_words()}"
        return "\n".join([said.rstrip(), *node.log().splitlines()[-LAST_LINES:]])
