# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated cluster around the real core: clocks that drift, a network that loses, kernels.

A scenario drives everything: its seed, and its faults. After every event the kernels' view is
checked: no block is accepted by two. Times are in microseconds of true time.
"""

from __future__ import annotations

import collections

from saru.core.action import Note
from saru.core.beat import Allocation, Beat
from saru.core.invariants import never_two
from saru.core.settings import Division, Quorum, Settings
from saru.wire.soundness import check_beat
from tests.sim.network import MS, Network
from tests.sim.node import Node
from tests.sim.scenario import Scenario
from tests.sim.timeline import Timeline
from tests.sim.watch import Watch

KEEPALIVE = 100 * MS
DEADTIME = 400 * MS
INITDEAD = 820 * MS
PING_SETTLE = 200 * MS
BLOCKS = 16
# How long those who were cut off from each other may take to agree, without a quorum: one of them
# may have just started.
MEETING = INITDEAD + 2 * DEADTIME
LONGEST = 10 * DEADTIME  # that a datagram is held up


class World(Timeline):
    """The cluster, its network, and the true time.

    With `rules` every step is held against the rules (`Watch`), else only their purpose: never two.
    """

    def __init__(self, scenario: Scenario, *, rules: bool = True, clocks_from: int = 0) -> None:
        super().__init__()
        self.scenario = scenario
        self.clocks_from = clocks_from
        names = tuple(scenario.voters)
        self.settings = Settings(
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
        self.stall = 0.0  # how likely a daemon is stopped between computing and carrying out
        self.count: collections.Counter[str] = collections.Counter()
        self.bound = 0  # within how long all had to be well at the end, us
        self.settled = 0  # how long it took until all was well at the end, us
        self.story: list[str] = []
        self.network = Network(scenario.seed, names, LONGEST)
        self.whole_since: int | None = 0  # since when nobody is cut off from anybody
        self.watch = Watch(self.settings) if rules else None
        self.nodes = {name: Node(self, name) for name in names}

    @property
    def directors(self) -> list[Node]:
        """The nodes that can hold blocks."""
        return [n for name, n in self.nodes.items() if name not in self.settings.witnesses]

    # --- never two ------------------------------------------------------------------------------

    def check(self) -> None:
        """Never two, judged by what the kernels accept at this very moment.

        Without a quorum that is promised to those only who are not cut off from each other, and
        have not been for as long as it takes to agree.
        """
        self.touched = False
        if self.settings.quorum is Quorum.NONE:
            met = self.whole_since is not None and self.now >= self.whole_since + MEETING
            if not met:
                return
        for division in self.settings.divisions:
            number = division.id
            accepted = {}
            seen = twice = 0
            for name, node in self.nodes.items():
                bitmap = accepted[name] = node.kernels[number].accepts()
                twice |= seen & bitmap
                seen |= bitmap
            if twice:
                never_two(accepted)  # raises, and says who

    # --- the network ----------------------------------------------------------------------------

    def changed(self) -> None:
        """Links have broken or are mended."""
        if not self.network.whole():
            self.whole_since = None
        elif self.whole_since is None:
            self.whole_since = self.now

    def send(self, node: Node, message: Beat | Allocation) -> None:
        """Send to everyone: lost, late, doubled, or not at all."""
        if isinstance(message, Beat):
            check_beat(message)  # as it would be before it goes on the wire
        for name, other in self.nodes.items():
            if other is not node:
                for delay in self.network.delays(node.name, name, self.now):
                    self.at(self.now + delay, lambda o=other: o.hear(message))  # type: ignore[misc]

    # --- what is told ---------------------------------------------------------------------------

    def note(self, name: str, note: Note) -> None:
        """A daemon tells of a change."""
        self.count[note.change] += 1
        self.story.append(f"#{self.now / MS:10.3f}   {name} says {note}")

    # --- looking --------------------------------------------------------------------------------

    def unheld(self, side: str = "") -> dict[int, int]:
        """By id, the blocks that no kernel (of those in `side`) accepts now, where there are any.

        Nothing is missing where nobody is there that may hold blocks.
        """
        directors = [n for n in self.directors if not side or n.name in side]
        if not any(n.daemon and n.daemon.able and n.daemon.weight for n in directors):
            return {}
        missing = {}
        for division in self.settings.divisions:
            bitmap = (1 << division.blocks) - 1
            for node in directors:
                bitmap &= ~node.kernels[division.id].accepts()
            if bitmap:
                missing[division.id] = bitmap
        return missing

    def wrong(self) -> list[str]:
        """What is wrong with a whole network: who could take part and does not."""
        found = [f"blocks stay unheld: {bits:#x} of id {i}" for i, bits in self.unheld().items()]
        daemons = {name: n.daemon for name, n in self.nodes.items() if n.daemon is not None}
        terms = {str(daemon.term) for daemon in daemons.values()}
        if len(terms) > 1:
            found.append(f"left out: they are in the terms {', '.join(sorted(terms))}")
        masters = [name for name, daemon in daemons.items() if daemon.mastership is not None]
        if len(masters) != 1:
            found.append(f"{len(masters)} masters are left: {', '.join(masters)}")
        for node in self.nodes.values():
            if node.daemon is None:
                continue
            if not node.daemon.leased(node.clock()):
                found.append(f"{node.name} is left out: it has no lease")
            for number, kernel in node.kernels.items():
                if node.daemon.holdings[number].held != kernel.accepts():
                    found.append(f"{node.name} believes to hold what its kernel does not accept")
        return found or self._uneven()

    def _uneven(self) -> list[str]:
        """Whose share is not what its weight asks for; who has not joined yet may lack."""
        weights = {
            n.name: n.daemon.weight if n.daemon and n.daemon.able else 0 for n in self.directors
        }
        whole = sum(weights.values())
        joined = all(n.daemon.joined(n.clock()) for n in self.directors if n.daemon is not None)
        if not whole or not joined:
            return []
        found = []
        for node in self.directors:
            for number, kernel in node.kernels.items():
                share = BLOCKS * weights[node.name] / whole
                held = kernel.accepts().bit_count()
                if abs(held - share) >= 1:
                    found.append(
                        f"{node.name} is left out: {held} of {share:.1f} blocks of {number}"
                    )
        return found
