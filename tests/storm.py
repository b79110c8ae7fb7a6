# SPDX-License-Identifier: GPL-2.0-or-later
"""Random faults over directors that are probed without a pause: never two, and soon one.

A storm goes in rounds. In each some faults begin, last, and end in any order; no probe may ever be
accepted by two directors. Now and then, when all faults of a round have ended, every block must
be answered again before the next one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import pytest

from deploy.lab.node import wait_until
from tests.ledger import Ledger

PATIENCE = 180.0
"""Seconds; a guest that boots beside other work takes some of them."""
CALM = 0.5
"""The chance that a round ends with everything whole and answered."""


@dataclass
class Fault:
    """Something that happens: `begin` it, and `end` it some time later."""

    text: str
    nodes: tuple[str, ...]
    """Whose power, daemon or cables it takes: no second fault may."""
    begin: Callable[[], object]
    end: Callable[[], object]
    wires: bool = False
    """It is about frames that are lost: there is one of that kind at a time."""


Kind = Callable[[random.Random], Fault]


@dataclass
class Storm:
    """Rounds of faults, and what came of them."""

    kinds: Sequence[Kind]
    deadtime: float
    """Seconds."""
    ledger: Ledger
    blocks: int
    settled: Callable[[], object]
    """Waits until the directors themselves say that all is well."""
    chance: random.Random
    directors: Collection[str]
    mend: Callable[[], object] = lambda: None
    """Takes back what was asked of the directors, when no fault lasts any more."""
    lines: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the end of a round's last fault until every block was answered."""
    outages: list[tuple[float, str]] = field(default_factory=list)
    """Seconds for which a block went unanswered, at worst, and the fault, by rounds that began with
    everything whole and in which one director alone failed."""
    _whole: bool = False
    _begun: float = field(default_factory=time.monotonic)

    def rage(self, seconds: float) -> None:
        """Rounds for so long. What happened is printed if that fails."""
        try:
            self.calm()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._round()
            self.calm()
        except BaseException:
            print("\n".join(self.lines))
            raise

    def _say(self, text: str) -> None:
        self.lines.append(f"{time.monotonic() - self._begun:9.3f} s  {text}")

    def _round(self) -> None:
        faults, begun = self._draw(), time.monotonic_ns()
        alone = self._whole and self._of_one_director(faults)
        self._whole = False
        for fault in faults:
            self._say(fault.text)
            fault.begin()
            self._wait(self.chance.uniform(0, 2))
        self._wait(self.chance.choice((0, 0.5, 1, 2, 4)) * self.chance.random())
        self.chance.shuffle(faults)
        for fault in faults:
            self._say(f"ended: {fault.text}")
            fault.end()
            self._wait(self.chance.uniform(0, 1))
        self.check()
        if alone or self.chance.random() < CALM:
            self.calm()
        if alone:
            self.outages.append((self.ledger.longest(begun) / 1e9, faults[0].text))
            self._say(f"a block went unanswered for {self.outages[-1][0]:.3f} s")

    def _of_one_director(self, faults: Sequence[Fault]) -> bool:
        """Whether all the others were untouched throughout, and so were the wires."""
        nodes = [name for fault in faults for name in fault.nodes]
        return len(faults) == len(nodes) == 1 and nodes[0] in self.directors

    def _draw(self) -> list[Fault]:
        faults: list[Fault] = []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            fault = self.chance.choice(self.kinds)(self.chance)
            taken = {name for one in faults for name in one.nodes}
            if not taken & set(fault.nodes) and not (fault.wires and any(f.wires for f in faults)):
                faults.append(fault)
        return faults

    def _wait(self, deadtimes: float) -> None:
        time.sleep(deadtimes * self.deadtime)

    def check(self) -> None:
        """Never two."""
        twice = self.ledger.twice()
        assert not twice, "accepted twice: " + "; ".join(twice[:10])

    def calm(self) -> None:
        """Everything is whole: soon every block is answered."""
        self.mend()
        since = time.monotonic_ns()
        found: dict[int, int] = {}

        def all_answered() -> bool:
            nonlocal found
            found = self.ledger.answered(since)
            return len(found) == self.blocks

        wait_until("every block is answered", all_answered, PATIENCE)
        self.recoveries.append((max(found.values()) - since) / 1e9)
        self._say(f"every block answered after {self.recoveries[-1]:.3f} s")
        self.settled()
        self.check()
        self._whole = True

    def summary(self, whole: float, outage: float) -> str:
        """What came of it, in words, beside the bounds: for the time until every block is held
        again, and for that in which one is not when one director has failed."""
        lines = [
            f"{len(self.ledger)} probes, none accepted twice; {len(self.lines)} events",
            f"whole again {len(self.recoveries)} times, at worst after {max(self.recoveries):.3f} s"
            f" (bound {whole:.3f} s, without what programs and boots take on this machine)",
        ]
        if self.outages:
            longest, fault = max(self.outages)
            lines.append(
                f"{len(self.outages)} rounds in which one director alone failed: a block went "
                f"unanswered for {longest:.3f} s at worst (bound {outage:.3f} s, and the time from "
                f"one probe of a block to the next), by: {fault}"
            )
        return "\n".join(lines)


def seed(config: pytest.Config) -> int:
    """That of --nemesis-seed, or another; printed, to be used again."""
    given = config.getoption("--nemesis-seed")
    chosen = random.randrange(2**32) if given is None else int(given)
    print(f"--nemesis-seed {chosen}")
    return chosen


def bound(keepalive: float, deadtime: float, initdead: float) -> float:
    """In what time every block is held again once nothing fails any more and nobody is busy.

    Whoever was started at the end waits `initdead`, and may be needed for a quorum; then come one
    silence of L+ (a fence) and a term.
    """
    return initdead + 2 * deadtime * 1.01 / 0.99 + 4 * keepalive


def outage(keepalive: float, deadtime: float) -> float:
    """For how long a block of one director that fails is held by nobody: a silence of L+, and a
    term if that was the master."""
    return deadtime * 1.01 / 0.99 + 4 * keepalive
