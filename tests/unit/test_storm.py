# SPDX-License-Identifier: GPL-2.0-or-later
"""A storm fails where blocks go unanswered for too long; and what a ledger of hours forgets."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.ledger import Ledger
from tests.storm import Fault, LastingLedger, Limits, Storm

NAMES = ("walter", "wendy", "wanda")
DIRECTORS = {name: name for name in NAMES}
BLOCKS = 4
PERIOD = 0.01
"""Seconds."""
DOWN = 0.5
"""Seconds for which a block is unheld."""
LONG = 60.0
"""Seconds: nothing here takes so long, on any machine."""


class Played:
    """Blocks that walter alone accepts, unless he is down."""

    def __init__(self) -> None:
        self.ledger = LastingLedger(DIRECTORS)
        self.down = threading.Event()
        self._end = threading.Event()

    @contextmanager
    def probed(self) -> Iterator[None]:
        prober = threading.Thread(target=self._probe)
        prober.start()
        try:
            yield
        finally:
            self._end.set()
            prober.join()

    def _probe(self) -> None:
        while not self._end.wait(PERIOD):
            for block in range(BLOCKS):
                now = time.monotonic_ns()
                number = self.ledger.sent(block, now)
                if not self.down.is_set():
                    self.ledger.accepted(number, "walter", now)

    def unheld(self, hogs: bool = False) -> Fault:
        """Nobody has his blocks while it lasts."""

        def end() -> None:
            time.sleep(DOWN)
            self.down.clear()

        return Fault("unheld", ("walter",), self.down.set, end, hogs=hogs)

    def unheld_afterwards(self) -> Fault:
        """Nobody has his blocks when it has ended."""

        def end() -> None:
            self.down.set()
            threading.Timer(DOWN, self.down.clear).start()

        return Fault("unheld afterwards", ("walter",), lambda: None, end)

    def rage(self, fault: Fault, limits: Limits, stood_still: Callable[[int, int], float]) -> Storm:
        """A round of that fault."""
        storm = Storm(
            kinds=[lambda _: fault],
            deadtime=0.01,
            ledger=self.ledger,
            blocks=BLOCKS,
            settled=lambda: None,
            chance=random.Random(1),
            directors=NAMES,
            limits=limits,
            stood_still=stood_still,
            forget=self.ledger.forget,
        )
        with self.probed():
            storm.rage(DOWN)
        return storm


def rage(
    kind: Callable[[Played], Fault],
    limits: Limits,
    stood_still: Callable[[int, int], float] = lambda _since, _until: 0.0,
) -> Storm:
    played = Played()
    return played.rage(kind(played), limits, stood_still)


def limits(
    whole: float = LONG, outage: float = LONG, allowed: float = 0.0, busy: float = 0.0
) -> Limits:
    return Limits(whole, outage, PERIOD, allowed, busy)


def test_a_storm_within_its_bounds_goes_well() -> None:
    storm = rage(Played.unheld, limits())
    assert storm.outages
    assert max(storm.outages)[0] > DOWN / 2
    assert storm.eased == 0


def test_a_block_that_is_unheld_for_too_long_fails_the_storm() -> None:
    with pytest.raises(AssertionError, match=r"^a block went unanswered for"):
        rage(Played.unheld, limits(outage=DOWN / 8, allowed=DOWN / 8, busy=LONG))


def test_a_recovery_that_takes_too_long_fails_the_storm() -> None:
    with pytest.raises(AssertionError, match=r"^every block is answered again after"):
        rage(Played.unheld_afterwards, limits(whole=DOWN / 8, allowed=DOWN / 8, busy=LONG))


def test_what_is_allowed_beside_hogs_is_allowed_beside_hogs_alone() -> None:
    storm = rage(lambda played: played.unheld(hogs=True), limits(outage=DOWN / 8, busy=LONG))
    assert storm.eased == 2 * len(storm.outages)
    with pytest.raises(AssertionError, match=r"\(hogs: True"):
        rage(lambda played: played.unheld(hogs=True), limits(outage=DOWN / 8, busy=DOWN / 8))


def test_a_machine_that_stood_still_is_not_held_against_the_directors() -> None:
    rage(Played.unheld, limits(outage=DOWN / 8), lambda _since, _until: LONG)
    with pytest.raises(AssertionError, match=r"stood still: 0\.150 s\)"):
        rage(Played.unheld, limits(outage=DOWN / 8), lambda _since, _until: 0.15)


def test_a_ledger_that_forgets_has_the_verdict_of_one_that_does_not() -> None:
    """However late a second director is, and whatever was forgotten meanwhile."""
    chance = random.Random(2)
    for _ in range(200):
        whole, lasting = Ledger(DIRECTORS), LastingLedger(DIRECTORS)
        both = (whole, lasting)
        for now in range(1, 60):
            if chance.random() < 0.7:
                assert len({one.sent(0, now) for one in both}) == 1
            number = chance.randrange(-1, len(whole) + 2)
            name = chance.choice(NAMES if chance.random() < 0.1 else NAMES[:1])
            for one in both:
                one.accepted(number, name, now)
            if chance.random() < 0.1:
                lasting.forget(now - chance.randrange(20))
        assert len(lasting) == len(whole)
        assert numbers(lasting) == numbers(whole)


def numbers(ledger: Ledger) -> set[str]:
    """The probes of two directors."""
    return {story.partition(",")[0] for story in ledger.twice()}


def test_what_was_kept_is_told_as_ever() -> None:
    ledger = LastingLedger(DIRECTORS)
    for now in (10, 20, 30):
        ledger.sent(7, now)
    ledger.accepted(0, "walter", 11)
    ledger.accepted(1, "walter", 21)
    ledger.forget(20)
    ledger.accepted(1, "wendy", 2_000_020)
    ledger.accepted(2, "wanda", 40)
    two = "probe 1, block 7 by ipv4: walter after 0.0 ms, wendy after 2.0 ms"
    assert ledger.twice() == [two]
    assert ledger.answered(0) == {7: 20}
    ledger.forget(30)
    assert ledger.twice() == [two]
    ledger.accepted(0, "wendy", 50)
    assert ledger.twice() == [two, "probe 0, long ago: walter, and late wendy"]
    assert len(ledger) == 3
    assert ledger.answered(0) == {7: 30}
