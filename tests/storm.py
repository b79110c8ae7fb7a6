# SPDX-License-Identifier: GPL-2.0-or-later
"""Random faults over directors that are probed without a pause: never two, and soon one.

A storm goes in rounds. In each some faults begin, last, and end in any order; no probe may ever be
accepted by two directors. Now and then, when all faults of a round have ended, every block must
be answered again before the next one, in a time that is bounded; and so is that for which a block
goes unanswered when one director alone fails.
"""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from deploy.demonstration.record import Family
from deploy.lab.node import wait_until
from tests.ledger import Ledger

PATIENCE = 180.0
"""Seconds; a guest that boots beside other work takes some of them."""
CALM = 0.5
"""The chance that a round ends with everything whole and answered."""
STILL = 0.1
"""Seconds; a machine that stood still for less needs no more time than one that is busy."""
KEPT = 30.0
"""Seconds for which probes are kept in full, so that one of two directors is told in full."""


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
    hogs: bool = False
    """It keeps the processors from everybody: what else happens meanwhile takes longer."""


Kind = Callable[[random.Random], Fault]


@dataclass(frozen=True)
class Limits:
    """For how long blocks may go unanswered, in seconds."""

    whole: float
    """The bound until every block is held again, once nothing fails any more."""
    outage: float
    """The bound for which a block of one director that fails is held by nobody."""
    period: float
    """From one probe of a block to the next."""
    allowed: float
    """Beyond a bound and a period, for programs that start, and others on this machine."""
    busy: float
    """Instead of that, if processors were hogged meanwhile or the machine stood still; and for as
    long as it stood still at a time."""

    def limit(self, bound: float, hogged: bool, still: float) -> float:
        """What is judged by: a bound, and what is allowed beyond it."""
        more = self.busy if hogged or still > STILL else self.allowed
        return bound + self.period + more + still

    def __str__(self) -> str:
        return (
            f"a probe every {self.period:.3f} s and {self.allowed:g} s are allowed beyond a bound, "
            f"{self.busy:g} s beside hogs or where the machine stood still"
        )


@dataclass
class LastingLedger(Ledger):
    """A ledger that can go on for hours: it forgets probes, but for who accepted them.

    That is a byte for each; so whatever two directors accepted is told of, however late the second
    of them was.
    """

    _past: bytearray = field(default_factory=bytearray)
    """By number, who accepted those that are forgotten. The lists begin where it ends."""
    _told: list[str] = field(default_factory=list)
    """Those of them that two accepted, in words."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self._past) + super().__len__()

    def sent(self, block: int, now: int, family: Family = Family.IPV4) -> int:
        """As of any record."""
        with self._lock:
            return len(self._past) + super().sent(block, now, family)

    def accepted(self, number: int, who: str, now: int) -> None:
        """As of any record."""
        with self._lock:
            if 0 <= number < len(self._past):
                self._accepted_late(number, self._name(who))
            else:
                super().accepted(number - len(self._past), who, now)

    def _accepted_late(self, number: int, name: str) -> None:
        before = self._past[number]
        self._past[number] |= 1 << self._bit(name)
        if before and self._past[number] != before:
            others = [other for bit, other in enumerate(self._names) if before >> bit & 1]
            self._told.append(f"probe {number}, long ago: {', '.join(others)}, and late {name}")

    def forget(self, before: int) -> None:
        """All that was sent before a moment. Nobody reads meanwhile."""
        with self._lock:
            many = bisect_left(self._sent, before)
            two = (n for n in range(many) if self._accepted[n].bit_count() > 1)
            self._told += [self._story(number) for number in two]
            self._past += bytes(self._accepted[:many])
            lists: tuple[list[Any], ...] = (
                *(self._sent, self._blocks, self._families, self._accepted, self._when),
            )
            for one in lists:
                del one[:many]

    def twice(self, begin: int = 0, end: int | None = None) -> list[str]:
        """As of any record; of a stretch only what is not forgotten."""
        kept = super().twice(begin, end)
        return [*self._told, *kept] if end is None else kept

    def _story(self, number: int) -> str:
        _, comma, rest = super()._story(number).partition(",")
        return f"probe {len(self._past) + number}{comma}{rest}"


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
    limits: Limits
    stood_still: Callable[[int, int], float] = lambda _since, _until: 0.0
    """The longest time for which the machine stood still between two moments, in seconds."""
    mend: Callable[[], object] = lambda: None
    """Takes back what was asked of the directors, when no fault lasts any more."""
    forget: Callable[[int], object] = lambda _before: None
    """Forgets the probes before a moment; they have been judged."""
    lines: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the end of a round's last fault until every block was answered."""
    outages: list[tuple[float, str]] = field(default_factory=list)
    """Seconds for which a block went unanswered, at worst, and the fault, by rounds that began with
    everything whole and in which one director alone failed."""
    eased: int = 0
    """How many of all these were judged by what is allowed to a machine that is busy."""
    _whole: bool = False
    _since: int = 0
    """When all was whole last."""
    _hogged: bool = False
    """Since then."""
    _begun: float = field(default_factory=time.monotonic)

    def rage(self, seconds: float) -> None:
        """Rounds for so long. What happened is printed if that fails."""
        try:
            self._since = time.monotonic_ns()
            self.calm()
            self._settle()
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
            self._hogged |= fault.hogs
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
            self._judge("a block went unanswered for", self.outages[-1][0], self.limits.outage)
        if self._whole:
            self._settle()

    def _settle(self) -> None:
        """What was until now has been judged."""
        self._since = time.monotonic_ns()
        self._hogged = False
        self.forget(self._since - int(KEPT * 1e9))

    def _judge(self, what: str, seconds: float, bound: float) -> None:
        """Soon one."""
        still = self.stood_still(self._since, time.monotonic_ns())
        self.eased += self._hogged or still > STILL
        limit = self.limits.limit(bound, self._hogged, still)
        assert seconds <= limit, (
            f"{what} {seconds:.3f} s; the bound is {bound:.3f} s, and all that is allowed beside "
            f"what runs here {limit:.3f} s (hogs: {self._hogged}; stood still: {still:.3f} s)"
        )

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
        self._judge("every block is answered again after", self.recoveries[-1], self.limits.whole)
        self.settled()
        self.check()
        self._whole = True

    def summary(self) -> str:
        """What came of it, in words, beside the bounds."""
        lines = [
            f"{len(self.ledger)} probes, none accepted twice; {len(self.lines)} events",
            f"whole again {len(self.recoveries)} times, at worst after {max(self.recoveries):.3f} s"
            f" (bound {self.limits.whole:.3f} s)",
        ]
        if self.outages:
            longest, fault = max(self.outages)
            lines.append(
                f"{len(self.outages)} rounds in which one director alone failed: a block went "
                f"unanswered for {longest:.3f} s at worst (bound {self.limits.outage:.3f} s), "
                f"by: {fault}"
            )
        lines.append(f"{self.limits}, as {self.eased} times")
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
