# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated cluster, whatever tells its nodes who is alive: hosts, a network, what is checked.

After every event the kernels are looked at: no block is accepted by two. Times are in us.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from saru.core.action import Note
from saru.core.beat import Allocation, Beat
from saru.core.invariants import never_two
from saru.core.settings import Settings
from saru.wire.soundness import check_beat
from tests.sim.host import Host
from tests.sim.network import MS, Network
from tests.sim.scenario import Course
from tests.sim.timeline import Timeline

KEEPALIVE = 100 * MS
DEADTIME = 400 * MS
LEASE_PLUS = DEADTIME * 101 // 99
INITDEAD = 820 * MS
BLOCKS = 16
LONGEST = 10 * DEADTIME  # that a datagram is held up

AnyHost = TypeVar("AnyHost", bound=Host[Any])


class Cluster(Timeline, Generic[AnyHost]):
    """The hosts, their network, and the true time."""

    nodes: dict[str, AnyHost]

    def __init__(self, scenario: Course, names: Iterable[str], settings: Settings) -> None:
        super().__init__()
        self.scenario = scenario
        self.settings = settings
        self.stall = 0.0  # how likely a daemon is stopped between computing and carrying out
        self.count: collections.Counter[str] = collections.Counter()
        self.bound = 0  # within how long all had to be well at the end, us
        self.settled = 0  # how long it took until all was well at the end, us
        self.story: list[str] = []
        self.network = Network(scenario.seed, tuple(names), LONGEST)

    @property
    def directors(self) -> list[AnyHost]:
        """The nodes that can hold blocks."""
        return [n for name, n in self.nodes.items() if name not in self.settings.witnesses]

    def check(self) -> None:
        """Never two, judged by what the kernels accept at this very moment.

        What nftables is known to accept too long (`Nftables.excused`) is counted apart.
        """
        self.touched = False
        for division in self.settings.divisions:
            number = division.id
            accepted = {}
            seen = twice = 0
            for name, node in self.nodes.items():
                bitmap = accepted[name] = node.kernels[number].accepts()
                twice |= seen & bitmap
                seen |= bitmap
            if twice:
                for name, node in self.nodes.items():
                    if node.kernels[number].excused():
                        self.count["excused"] += 1
                        accepted[name] = 0
                never_two(accepted)  # raises, and says who

    # --- what is sent and told ------------------------------------------------------------------

    def send(self, node: AnyHost, message: Beat | Allocation) -> None:
        """Send to everyone: lost, late, doubled, or not at all."""
        if isinstance(message, Beat):
            check_beat(message)  # as it would be before it goes on the wire
        for name, other in self.nodes.items():
            if other is not node:
                for delay in self.network.delays(node.name, name, self.now):
                    self.at(self.now + delay, lambda o=other: o.hear(message))  # type: ignore[misc]

    def note(self, name: str, note: Note) -> None:
        """A daemon tells of a change."""
        self.count[note.change] += 1
        self.story.append(f"#{self.now / MS:10.3f}   {name} says {note}")

    # --- looking --------------------------------------------------------------------------------

    def wrong(self) -> list[str]:
        """What is wrong with a whole network: who could take part and does not."""
        raise NotImplementedError

    def unheld(self, side: str = "") -> dict[int, int]:
        """By id, the blocks that no kernel (of those in `side`) accepts now, where there are any.

        Nothing is missing where nobody is there that may hold blocks.
        """
        directors = [n for n in self.directors if not side or n.name in side]
        if not any(self._weight(n) for n in directors):
            return {}
        missing = {}
        for division in self.settings.divisions:
            bitmap = (1 << division.blocks) - 1
            for node in directors:
                bitmap &= ~node.kernels[division.id].accepts()
            if bitmap:
                missing[division.id] = bitmap
        return missing

    def _weight(self, node: AnyHost) -> int:
        """What its daemon asks for; 0 where none may hold blocks."""
        return node.daemon.weight if node.daemon and node.daemon.able else 0

    def _divided(self) -> list[str]:
        """Who does not go by the same as the others."""
        return []

    def _amiss(self) -> list[str]:
        """What is wrong, but for how many blocks each one has."""
        found = [f"blocks stay unheld: {bits:#x} of id {i}" for i, bits in self.unheld().items()]
        found += self._divided()
        daemons = {name: n.daemon for name, n in self.nodes.items() if n.daemon is not None}
        masters = [name for name, daemon in daemons.items() if daemon.mastership is not None]
        if len(masters) != 1:
            found.append(f"{len(masters)} masters are left: {', '.join(masters)}")
        for name, daemon in daemons.items():
            if not daemon.leased(self.nodes[name].clock()):
                found.append(f"{name} is left out: it has no lease")
            for number, kernel in self.nodes[name].kernels.items():
                if daemon.holdings[number].held != kernel.accepts():
                    found.append(f"{name} believes to hold what its kernel does not accept")
        return found

    def _uneven(self, nodes: Iterable[AnyHost]) -> list[str]:
        """Whose share, among these, is not what its weight asks for."""
        whole = sum(map(self._weight, self.directors))
        found = []
        for node in nodes:
            share = BLOCKS * self._weight(node) / whole if whole else 0
            for number, kernel in node.kernels.items():
                held = kernel.accepts().bit_count()
                if abs(held - share) >= 1:
                    found.append(
                        f"{node.name} is left out: {held} of {share:.1f} blocks of {number}"
                    )
        return found
