# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated cluster around the real core: clocks that drift, a network that loses, kernels.

A scenario drives everything: its seed, and its faults. Times are in microseconds of true time.
"""

from __future__ import annotations

from saru.core.settings import Division, Quorum, Settings
from tests.sim.cluster import BLOCKS, DEADTIME, INITDEAD, KEEPALIVE, Cluster
from tests.sim.network import MS
from tests.sim.node import Node
from tests.sim.scenario import Scenario
from tests.sim.watch import Watch

PING_SETTLE = 200 * MS
# How long those who were cut off from each other may take to agree, without a quorum: one of them
# may have just started.
MEETING = INITDEAD + 2 * DEADTIME


class World(Cluster[Node]):
    """A cluster that goes by beats.

    With `rules` every step is held against the rules (`Watch`), else only their purpose: never two.
    """

    def __init__(self, scenario: Scenario, *, rules: bool = True, clocks_from: int = 0) -> None:
        names = tuple(scenario.voters)
        settings = Settings(
            nodes=names if scenario.named else (),
            witnesses=tuple(scenario.witnesses),
            quorum=scenario.quorum,
            keepalive=KEEPALIVE * 1000,
            deadtime=DEADTIME * 1000,
            initdead=INITDEAD * 1000,
            divisions=tuple(Division(n, BLOCKS, 0) for n in range(1, scenario.ids + 1)),
            join_delay=scenario.join_delay * 1000,
            ping_settle=PING_SETTLE * 1000,
        )
        super().__init__(scenario, names, settings)
        self.clocks_from = clocks_from
        self.whole_since: int | None = 0  # since when nobody is cut off from anybody
        self.watch = Watch(settings) if rules else None
        self.nodes = {name: Node(self, name) for name in names}

    def changed(self) -> None:
        """Links may have broken, or be mended."""
        if not self.network.whole():
            self.whole_since = None
        elif self.whole_since is None:
            self.whole_since = self.now

    def check(self) -> None:
        """Never two.

        Without a quorum that is promised to those only who are not cut off from each other, and
        have not been for as long as it takes to agree.
        """
        if self.settings.quorum is Quorum.NONE:
            met = self.whole_since is not None and self.now >= self.whole_since + MEETING
            if not met:
                self.touched = False
                return
        super().check()

    def wrong(self) -> list[str]:
        """What is wrong; who has not joined yet may lack blocks."""
        if found := self._amiss():
            return found
        joined = all(n.daemon.joined(n.clock()) for n in self.directors if n.daemon is not None)
        asked = any(map(self._weight, self.directors))
        return self._uneven(self.directors) if joined and asked else []

    def _divided(self) -> list[str]:
        terms = {str(n.daemon.term) for n in self.nodes.values() if n.daemon is not None}
        if len(terms) > 1:
            return [f"left out: they are in the terms {', '.join(sorted(terms))}"]
        return []
