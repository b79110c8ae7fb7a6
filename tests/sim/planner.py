# SPDX-License-Identifier: GPL-2.0-or-later
"""What every plan of a run has: a mood, and faults that befall daemons whatever they agree by."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from tests.sim.scenario import Fault

STEPS = (-3_600_000, -1000, -300, -50, 50, 300, 1000, 3_600_000)  # ms


class Planner:
    """Draws the faults of one scenario, with dice of its own for every `kind` of plan."""

    def __init__(self, kind: str, seed: int, nodes: int) -> None:
        self._dice = random.Random(f"{kind} {seed}")
        self._seed = seed
        self._names = "abcdefghi"[:nodes]
        self._stopped: set[str] = set()
        self._faults: list[Fault] = []
        self._kinds: dict[str, float] = {}

    def _mood(self, kinds: Mapping[str, float], always: Iterable[str]) -> None:
        """Some kinds of fault come often, others never; but those that make good `always` do."""
        dice = self._dice
        self._kinds = {kind: often * dice.choice((0, 1, 1, 3)) for kind, often in kinds.items()}
        self._kinds |= {kind: kinds[kind] for kind in always}

    def _steps(self) -> bool:
        """Whether wall clocks are set in this run, and nftables has the tables, which minds it.

        So it does if the daemon is stopped while an order is on its way.
        """
        if steps := self._seed % 3 == 1:
            self._kinds |= {"step": 3, "stall": 2}
        return steps

    def _kind(self) -> str:
        return self._dice.choices(list(self._kinds), list(self._kinds.values()))[0]

    def _add(self, time: int, *words: object) -> None:
        self._faults.append(Fault(time, tuple(str(word) for word in words)))

    def _in_order(self) -> tuple[Fault, ...]:
        return tuple(sorted(self._faults, key=lambda fault: fault.time))

    def _befall(self, kind: str, time: int, name: str) -> bool:
        """Let that happen to a daemon; False if it is a fault of another kind."""
        dice = self._dice
        if kind in ("crash", "reboot", "leave"):
            self._stopped.add(name)
            self._add(time, kind, name)
        elif kind == "start":
            if self._stopped or dice.random() < 0.3:
                name = dice.choice(sorted(self._stopped) or self._names)
                self._stopped.discard(name)
                self._add(time, kind, name)
        elif kind == "rules":
            self._add(time, kind, name, dice.choice(("on", "off")))
        elif kind == "wake":
            self._add(time, kind, name)
        elif kind == "drift":
            self._add(time, kind, name, round(dice.uniform(-1, 1), 3))
        elif kind == "step":
            self._add(time, kind, name, dice.choice(STEPS))
        elif kind == "weigh":
            self._add(time, kind, name, dice.choice((0, 50, 100, 100, 200)))
        else:
            return False
        return True
