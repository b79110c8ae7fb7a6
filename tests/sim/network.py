# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated network: who reaches whom, and what becomes of a datagram on its way.

Each ordered pair of nodes has a random generator of its own, so that a fault taken out of a script
changes as little as can be of the rest of the run. Times are in us.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from typing import NamedTuple

MS = 1000
CALM_DELAY = 2 * MS
LEAST_DELAY = MS // 10
SLOW = 50 * MS  # a mean delay with which all beats of a while may stay away for L


class Weather(NamedTuple):
    """What happens to datagrams on all links: parts of 1, and a mean delay.

    `late` ones are held up for anything up to `World`'s longest memory: they come out of order, and
    when nobody expects them any more.
    """

    loss: float = 0.0
    double: float = 0.0
    late: float = 0.0
    delay: int = CALM_DELAY


class Network:
    """Links between all nodes, one for each direction."""

    def __init__(self, seed: int, names: Collection[str], longest: int) -> None:
        self.names = tuple(names)
        self.weather = Weather()
        self._longest = longest
        self._dice = {
            (one, other): random.Random(f"{seed} {one} {other}")
            for one in names
            for other in names
            if one != other
        }
        self._apart: set[tuple[str, str]] = set()  # by a split
        self._mute: set[tuple[str, str]] = set()
        self._lossy: dict[tuple[str, str], float] = {}
        self._flapping: dict[tuple[str, str], int] = {}

    def split(self, groups: Iterable[str]) -> None:
        """From now on only those reach each other who have a group in common; a new split counts.

        Groups may overlap: `ab bc` is b between a and c, `ab bc cd da` a ring.
        """
        near = {(one, other) for group in groups for one in group for other in group}
        self._apart = set(self._dice) - near

    def mute(self, sender: str, receiver: str) -> None:
        """Nothing goes from `sender` to `receiver`."""
        self._mute.add((sender, receiver))

    def lossy(self, sender: str, receiver: str, loss: float) -> None:
        """That much of what goes from `sender` to `receiver` is lost."""
        self._lossy[sender, receiver] = loss

    def flap(self, sender: str, receiver: str, period: int) -> None:
        """The link works for half a period, and is down for the other half."""
        self._flapping[sender, receiver] = period

    def heal(self) -> None:
        """Everybody reaches everybody."""
        for links in (self._apart, self._mute, self._lossy, self._flapping):
            links.clear()

    def whole(self) -> bool:
        """Whether no link is broken, no datagram lost, and none so slow that it may seem so."""
        broken = self._apart or self._mute or self._lossy or self._flapping
        weather = self.weather
        return not broken and not weather.loss and not weather.late and weather.delay < SLOW

    def up(self, sender: str, receiver: str, now: int) -> bool:
        """Whether something sent now can arrive at all."""
        link = (sender, receiver)
        if link in self._apart or link in self._mute:
            return False
        period = self._flapping.get(link)
        return period is None or (now // (period // 2)) % 2 == 0

    def delays(self, sender: str, receiver: str, now: int) -> list[int]:
        """How long each copy of a datagram sent now is on its way; none arrives if there is none.

        Each delay is drawn by itself, so datagrams overtake each other.
        """
        if not self.up(sender, receiver, now):
            return []
        dice = self._dice[sender, receiver]
        weather = self.weather
        loss = max(weather.loss, self._lossy.get((sender, receiver), 0.0))
        delays = []
        for _ in range(1 + (dice.random() < weather.double)):
            if dice.random() < loss:
                continue
            delay = int(dice.expovariate(1 / weather.delay)) + LEAST_DELAY
            if dice.random() < weather.late:
                delay += dice.randrange(self._longest)
            delays.append(delay)
        return delays
