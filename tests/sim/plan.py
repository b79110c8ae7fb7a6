# SPDX-License-Identifier: GPL-2.0-or-later
"""From a seed to a scenario: faults of every kind for a while, then a whole network.

Every seed has a mood: some kinds of fault come often in its run, others never. So some runs are all
about broken links, others all about daemons that stop.
"""

from __future__ import annotations

import itertools

from saru.core.settings import Quorum
from tests.sim.cluster import DEADTIME, INITDEAD
from tests.sim.network import MS
from tests.sim.planner import Planner
from tests.sim.scenario import Scenario

LENGTH = 12 * DEADTIME
# How often each kind of fault comes, beside the others.
KINDS = {
    "crash": 1,
    "reboot": 1,
    "start": 4,
    "leave": 1,
    "stop": 2,
    "rules": 1,
    "reach": 1,
    "pause": 3,
    "wake": 0.5,
    "drift": 0.5,
    "split": 3,
    "mute": 2,
    "lossy": 1,
    "flap": 1,
    "heal": 3,
    "weather": 2,
    "weigh": 1,
    "stall": 1,
}
NETWORK = {"split", "mute", "lossy", "flap", "heal"}
PAUSES = (5, 50, 200, 800)  # ms
RESTARTS = (20, 100, 300, 700, 1500)  # ms
DELAYS = (1, 2, 20, 100)  # ms


class BeatPlanner(Planner):
    """Draws what happens to those that go by beats."""

    def __init__(self, seed: int, voters: int, quorum: Quorum) -> None:
        super().__init__("plan", seed, voters)
        self._quorum = quorum
        self._mood(KINDS, always=("start", "heal"))
        self._nftables = self._steps()
        self._named = quorum is Quorum.MAJORITY or seed % 4 < 2
        if not self._named:
            # Known: who is away for its start-up wait has heard nobody, and thinks it is alone.
            self._kinds["stop"] = 0
        if quorum is Quorum.NONE and seed % 2:
            # Without a quorum never two is promised only to those who hear each other.
            self._kinds |= dict.fromkeys((*NETWORK, "weather"), 0)

    def scenario(self) -> Scenario:
        """The whole of it."""
        dice, seed = self._dice, self._seed
        majority = self._quorum is Quorum.MAJORITY
        witnesses = dice.choice((1, 1, len(self._names) // 2)) if seed % 5 == 4 else 0
        for name in self._names:
            late = majority and dice.random() < 0.1  # joins when the others have begun
            if late:
                self._stopped.add(name)
            else:
                self._add(dice.randrange(DEADTIME), "start", name)
        if self._kinds["weather"] and dice.random() < 0.3:
            self._weather(0)
        time = INITDEAD + 2 * DEADTIME
        if self._kinds["reach"]:
            for name in self._names:
                self._add(time, "reach", name, 2)
        end = time + LENGTH
        while time < end:
            time += int(dice.expovariate(1 / (DEADTIME * 0.7)))
            self._disturb(time)
        self._calm(time)
        return Scenario(
            seed=seed,
            nftables=self._nftables,
            voters=self._names,
            witnesses=self._names[len(self._names) - witnesses :],
            quorum=self._quorum,
            named=self._named,
            ids=1 + (seed % 4 == 3),
            join_delay=2 * DEADTIME if seed % 7 == 6 else 0,
            faults=self._in_order(),
        )

    def _disturb(self, time: int) -> None:
        """One random fault."""
        dice = self._dice
        kind = self._kind()
        name = dice.choice(self._names)
        one, other = dice.sample(self._names, 2)
        if self._befall(kind, time, name):
            return
        if kind == "stop":
            self._add(time, kind, name)
            self._add(time + dice.choice(RESTARTS) * MS, "start", name)
        elif kind == "reach":
            self._add(time, kind, name, dice.choice((0, 1, 2, 2)))
        elif kind == "pause":
            self._add(time, kind, name, dice.choice(PAUSES))
        elif kind == "split":
            self._add(time, kind, *self._shape())
        elif kind == "mute":
            self._add(time, kind, one, other)
        elif kind == "lossy":
            self._add(time, kind, one, other, dice.choice((0.3, 0.6, 0.9)))
        elif kind == "flap":
            self._add(time, kind, one, other, dice.choice((50, 300, 900, 2000)))
        elif kind == "weather":
            self._weather(time)
        elif kind == "stall":
            self._add(time, kind, dice.choice((0, 0, 0.002)))
        else:
            self._add(time, kind)

    def _calm(self, time: int) -> None:
        """The end: everybody runs, or all but so many as a quorum can do without."""
        minority = (len(self._names) - 1) // 2 if self._seed % 3 == 0 else 0
        dead = self._dice.sample(self._names, self._dice.randrange(minority + 1))
        self._add(time, "calm", *(["".join(sorted(dead))] if dead else []))

    def _weather(self, time: int) -> None:
        dice = self._dice
        loss = dice.choice((0, 0, 0.1, 0.3))
        double = dice.choice((0, 0.2))
        late = dice.choice((0, 0, 0.02))
        self._add(time, "weather", loss, double, late, dice.choice(DELAYS))

    def _shape(self) -> list[str]:
        """The groups of a partition: two sides, several, a bridge, a chain, a ring, a star."""
        dice = self._dice
        names = list(self._names)
        dice.shuffle(names)
        cut = dice.randrange(1, len(names))
        sides = ["".join(names[:cut]), "".join(names[cut:])]
        shape = dice.choice(("sides", "sides", "parts", "bridge", "chain", "ring", "star"))
        if shape == "parts":
            groups: dict[int, str] = {}
            for name in names:
                part = dice.randrange(3)
                groups[part] = groups.get(part, "") + name
            return list(groups.values())
        if shape == "bridge":
            return [sides[0] + sides[1][0], sides[1]]
        pairs = [one + other for one, other in itertools.pairwise(names)]
        if shape == "chain":
            return pairs
        if shape == "ring":
            return [*pairs, names[-1] + names[0]]
        if shape == "star":
            return [names[0] + other for other in names[1:]]
        return sides


def plan(seed: int, voters: int = 3, quorum: Quorum = Quorum.MAJORITY) -> Scenario:
    """The scenario of a seed.

    Every third has its tables in nftables, every fourth two ids, every fifth witnesses, which hold
    nothing, and every seventh makes those who join wait. Without a quorum every second leaves the
    network alone, and names are only given for half of them.
    """
    return BeatPlanner(seed, voters, quorum).scenario()
