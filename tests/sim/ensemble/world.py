# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated cluster around ZooKeeper: directors, servers, beats, and the true time, in us."""

from __future__ import annotations

from saru.core.settings import Division, Membership, Quorum, Settings
from tests.sim.cluster import BLOCKS, DEADTIME, INITDEAD, KEEPALIVE, Cluster
from tests.sim.ensemble.director import Director
from tests.sim.ensemble.scenario import EnsembleScenario
from tests.sim.ensemble.zookeeper import Ensemble
from tests.sim.network import MS

TIMEOUT = 400 * MS  # of sessions


class EnsembleWorld(Cluster[Director]):
    """The cluster and its ZooKeeper."""

    def __init__(self, scenario: EnsembleScenario) -> None:
        names = tuple(scenario.directors)
        settings = Settings(
            nodes=names,
            witnesses=(),
            quorum=Quorum.MAJORITY,
            keepalive=KEEPALIVE * 1000,
            deadtime=DEADTIME * 1000,
            initdead=INITDEAD * 1000,
            divisions=tuple(Division(n, BLOCKS, 0) for n in range(1, scenario.ids + 1)),
            membership=Membership.ZOOKEEPER,
            failsafe=scenario.failsafe,
        )
        super().__init__(scenario, names, settings)
        self.seats = 0
        self.zookeeper = Ensemble(
            scenario.seed, scenario.servers, TIMEOUT, lambda: self.now, self.at
        )
        self.nodes = {name: Director(self, name) for name in names}

    def wrong(self) -> list[str]:
        """What is wrong; the dead have no share."""
        running = [node for node in self.nodes.values() if node.daemon is not None]
        return self._amiss() + self._uneven(running)
