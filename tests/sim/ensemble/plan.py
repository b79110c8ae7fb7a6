# SPDX-License-Identifier: GPL-2.0-or-later
"""From a seed to a scenario around ZooKeeper: faults of every kind, then a whole cluster.

Every seed has a mood: some kinds of fault come often in its run, others never.
"""

from __future__ import annotations

from tests.sim.cluster import DEADTIME
from tests.sim.ensemble.scenario import EnsembleScenario
from tests.sim.network import MS
from tests.sim.planner import Planner

BEGIN = 4 * DEADTIME
LENGTH = 14 * DEADTIME
# How often each kind of fault comes, beside the others.
KINDS = {
    "crash": 1,
    "reboot": 1,
    "start": 4,
    "leave": 1,
    "rules": 1,
    "pause": 3,
    "wake": 0.5,
    "hang": 1,
    "drift": 0.5,
    "weigh": 1.5,
    "stall": 1,
    "expire": 1.5,
    "evict": 1,
    "far": 2,
    "near": 2,
    "late": 2,
    "down": 2,
    "up": 3,
    "cut": 2,
    "lag": 1,
    "slow": 1,
    "mend": 2,
    "gone": 1,
}
BEATS = {"split": 1.5, "mute": 1, "lossy": 1, "heal": 3, "weather": 1}
PAUSES = (5, 50, 200, 500, 800, 1500)  # ms
DELAYS = (0, 0, 30, 150, 300)  # ms
LAGS = (0, 20, 100, 300)  # ms


class EnsemblePlanner(Planner):
    """Draws what happens to directors, to servers, and to beats where there are any."""

    def __init__(self, seed: int, directors: int, failsafe: bool) -> None:
        super().__init__("ensemble", seed, directors)
        self._failsafe = failsafe
        self._servers = self._dice.choice((1, 3, 3, 3, 5))
        kinds = KINDS | (BEATS if failsafe else {})
        self._mood(kinds, always=("start", "up", "mend", "near"))
        self._nftables = self._steps()

    def scenario(self) -> EnsembleScenario:
        """The whole of it."""
        dice = self._dice
        for name in self._names:
            if dice.random() < 0.15:  # joins when the others have begun
                self._stopped.add(name)
            else:
                self._add(dice.randrange(DEADTIME), "start", name)
        time = BEGIN
        while time < BEGIN + LENGTH:
            time += int(dice.expovariate(1 / (DEADTIME * 0.6)))
            self._disturb(time)
        # The dead could be in fail-safe mode as far as newcomers know, for ever.
        dead = [] if self._failsafe or self._seed % 3 else [dice.choice(self._names)]
        self._add(time, "calm", *dead)
        return EnsembleScenario(
            seed=self._seed,
            nftables=self._nftables,
            directors=self._names,
            servers=self._servers,
            failsafe=self._failsafe,
            ids=1 + (self._seed % 4 == 3),
            faults=self._in_order(),
        )

    def _disturb(self, time: int) -> None:
        dice = self._dice
        kind = self._kind()
        name = dice.choice(self._names)
        server = dice.randrange(self._servers)
        if self._befall(kind, time, name):
            return
        if kind in ("pause", "hang"):
            self._add(time, kind, name, dice.choice(PAUSES))
        elif kind in ("expire", "evict", "near"):
            self._add(time, kind, name)
        elif kind == "late":
            self._add(time, kind, name, dice.choice(DELAYS), dice.choice(DELAYS))
        elif kind == "stall":
            self._add(time, kind, dice.choice((0, 0, 0.004)))
        elif kind == "far":
            servers = [server] if dice.random() < 0.5 else list(range(self._servers))
            for each in servers:
                self._add(time, kind, name, each)
        else:
            self._trouble(kind, time, server)

    def _trouble(self, kind: str, time: int, server: int) -> None:
        """With the servers, or with beats."""
        dice = self._dice
        if kind in ("down", "up"):
            self._add(time, kind, server)
        elif kind == "gone":  # the whole ensemble, for a while
            for number in range(self._servers):
                self._add(time, "down", number)
            self._add(time + dice.choice((200, 600, 1500, 4000)) * MS, "mend")
        elif kind == "cut":
            for other in range(self._servers):
                if other != server and dice.random() < 0.8:
                    self._add(time, kind, server, other)
        elif kind == "lag":
            self._add(time, kind, server, dice.choice(LAGS))
        elif kind == "slow":
            self._add(time, kind, dice.choice((1, 1, 10, 60)))
        elif kind == "weather":
            loss, late = dice.choice((0, 0, 0.1, 0.3)), dice.choice((0, 0, 0.02))
            self._add(time, kind, loss, dice.choice((0, 0.2)), late, dice.choice((1, 2, 20)))
        elif kind == "split":
            cut = dice.randrange(1, len(self._names))
            names = dice.sample(self._names, len(self._names))
            self._add(time, kind, "".join(names[:cut]), "".join(names[cut:]))
        elif kind in ("mute", "lossy"):
            sender, receiver = dice.sample(self._names, 2)
            self._add(time, kind, sender, receiver, *([0.6] if kind == "lossy" else []))
        else:
            self._add(time, kind)


def plan(seed: int, directors: int = 3, failsafe: bool = False) -> EnsembleScenario:
    """The scenario of a seed; every fourth has two ids, every third its tables in nftables."""
    return EnsemblePlanner(seed, directors, failsafe).scenario()
