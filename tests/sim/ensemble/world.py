# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated cluster around ZooKeeper: directors, servers, beats, and the true time.

After every event the kernels are looked at: no block is accepted by two. Times are in us.
"""

from __future__ import annotations

import collections

from saru.core.action import Note
from saru.core.beat import Beat
from saru.core.invariants import never_two
from saru.core.settings import Division, Membership, Quorum, Settings
from saru.wire.soundness import check_beat
from tests.sim.ensemble.director import Director
from tests.sim.ensemble.scenario import EnsembleScenario
from tests.sim.ensemble.zookeeper import Ensemble
from tests.sim.network import MS, Network
from tests.sim.timeline import Timeline

KEEPALIVE = 100 * MS
DEADTIME = 400 * MS
INITDEAD = 820 * MS
TIMEOUT = 400 * MS  # of sessions
BLOCKS = 16


class EnsembleWorld(Timeline):
    """The cluster and its ZooKeeper."""

    def __init__(self, scenario: EnsembleScenario) -> None:
        super().__init__()
        self.scenario = scenario
        names = tuple(scenario.directors)
        self.settings = Settings(
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
        self.stall = 0.0
        self.seats = 0
        self.count: collections.Counter[str] = collections.Counter()
        self.bound = self.settled = 0
        self.story: list[str] = []
        self.network = Network(scenario.seed, names, 10 * DEADTIME)
        self.zookeeper = Ensemble(
            scenario.seed, scenario.servers, TIMEOUT, lambda: self.now, self.at
        )
        self.nodes = {name: Director(self, name) for name in names}

    # --- never two ------------------------------------------------------------------------------

    def check(self) -> None:
        """Never two, judged by what the kernels accept at this very moment."""
        self.touched = False
        for division in self.settings.divisions:
            never_two({name: n.kernels[division.id].accepts() for name, n in self.nodes.items()})

    # --- what is sent and told ------------------------------------------------------------------

    def send(self, node: Director, beat: Beat) -> None:
        """Send a beat to everyone: lost, late, doubled, or not at all."""
        check_beat(beat)
        for name, other in self.nodes.items():
            if other is not node:
                for delay in self.network.delays(node.name, name, self.now):
                    self.at(self.now + delay, lambda o=other: o.hear(beat))  # type: ignore[misc]

    def note(self, name: str, note: Note) -> None:
        """A daemon tells of a change."""
        self.count[note.change] += 1
        self.story.append(f"#{self.now / MS:10.3f}   {name} says {note}")

    # --- looking --------------------------------------------------------------------------------

    def unheld(self) -> dict[int, int]:
        """By id, the blocks that no kernel accepts now, where there are any."""
        missing = {}
        for division in self.settings.divisions:
            bitmap = (1 << division.blocks) - 1
            for node in self.nodes.values():
                bitmap &= ~node.kernels[division.id].accepts()
            if bitmap:
                missing[division.id] = bitmap
        able = [n for n in self.nodes.values() if n.daemon and n.daemon.able and n.daemon.weight]
        return missing if able else {}

    def wrong(self) -> list[str]:
        """What is wrong with a whole network: who could take part and does not."""
        found = [f"blocks stay unheld: {bits:#x} of id {i}" for i, bits in self.unheld().items()]
        masters = [n for n, node in self.nodes.items() if node.daemon and node.daemon.mastership]
        if len(masters) != 1:
            found.append(f"{len(masters)} masters are left: {', '.join(masters)}")
        weights = {
            n.name: n.daemon.weight if n.daemon and n.daemon.able else 0
            for n in self.nodes.values()
        }
        whole = sum(weights.values())
        for node in self.nodes.values():
            if node.daemon is None:
                continue
            if not node.daemon.leased(node.clock()):
                found.append(f"{node.name} is left out: it has no lease")
            for number, kernel in node.kernels.items():
                held = kernel.accepts()
                if node.daemon.holdings[number].held != held:
                    found.append(f"{node.name} believes to hold what its kernel does not accept")
                share = BLOCKS * weights[node.name] / whole if whole else 0
                if abs(held.bit_count() - share) >= 1:
                    found.append(
                        f"{node.name} is left out: {held.bit_count()} of {share:.1f} of {number}"
                    )
        return found
