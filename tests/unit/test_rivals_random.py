# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings that differ, under random faults: never two, as long as all hear each other."""

from __future__ import annotations

import random

import msgspec
import pytest

from saru.core.beat import Beat, Message
from saru.core.settings import Quorum, Settings
from tests.unit.cores import DEADTIME, EVERYTHING, INITDEAD, KEEPALIVE, MS, Host, Link

RUNS = 100
LONGER = 2 * DEADTIME


def variants(base: Settings, kind: str) -> list[Settings]:
    """The settings before and after a change."""
    change = msgspec.structs.replace
    pair = change(base, nodes=("a", "b"), quorum=Quorum.NONE)
    if kind == "voters":
        return [pair, change(base, nodes=("a", "b", "c"), quorum=Quorum.MAJORITY)]
    if kind == "witness":
        both = {"nodes": ("a", "b", "c"), "witnesses": ("c",)}
        return [pair, change(base, quorum=Quorum.MAJORITY, **both)]
    none = change(base, nodes=(), quorum=Quorum.NONE, earlier_lease=LONGER)
    return [none, change(none, deadtime=LONGER, initdead=LONGER * 21 // 10)]


class Changing:
    """A link on which settings change, with random faults."""

    def __init__(self, seed: int, kind: str) -> None:
        self.dice = dice = random.Random(f"{kind} {seed}")
        self.link = Link("abc", delay=dice.choice([MS, 3 * MS]), set_time=dice.choice([0, 2 * MS]))
        self.variants = variants(self.link.settings, kind)
        self.loss = dice.choice([0.0, 0.3, 0.6])
        self._heard: dict[tuple[str, str], int] = {}
        self.link.lost = self._lost

    def _lost(self, sender: str, receiver: str, message: Message) -> bool:
        """No gap between beats is so long that they do not hear each other."""
        way, now = (sender, receiver), self.link.now
        overdue = now - self._heard.get(way, 0) > DEADTIME - 2 * KEEPALIVE - 10 * MS
        lost = self.dice.random() < self.loss
        if not isinstance(message, Beat):
            return lost
        if overdue or not lost:
            self._heard[way] = now
            return False
        return True

    def start(self, name: str, settings: Settings) -> None:
        """Start a host, if it is a voter."""
        self.link.settings = settings
        if not settings.nodes or name in settings.nodes:
            able = name not in settings.witnesses and self.dice.random() < 0.9
            self.link[name].start(able=able)

    def leave(self, host: Host) -> None:
        """Say goodbye and end."""
        host.do(lambda core: core.leave(host.clock()))
        self.link.run(5 * MS)
        host.daemon = None

    def fault(self) -> None:
        """One of them."""
        host = self.link[self.dice.choice("abc")]
        what = ["change", "change", "leave", "guard", "weigh"]
        if not self.loss:  # beats lost around these would make a gap that is too long
            what += ["kill", "pause"]
        chosen = "change" if host.daemon is None else self.dice.choice(what)
        if chosen == "change":
            if host.daemon is not None and self.dice.random() < 0.7:
                self.leave(host)
            self.start(host.name, self.dice.choice(self.variants))
        elif chosen == "leave":
            self.leave(host)
        elif chosen == "kill":
            host.daemon = None
        elif chosen == "guard":
            able = not host.core.able and host.name not in host.core.settings.witnesses
            host.do(lambda core: core.guard(able, "", host.clock()))
        elif chosen == "weigh":
            weight = 0 if host.core.weight else 100
            host.do(lambda core: core.weigh(weight, host.clock()))
        elif not any(holding.taking for holding in host.core.holdings.values()):
            self.link.settings, state = host.core.settings, host.suspend()
            self.link.run(self.dice.choice([KEEPALIVE, DEADTIME // 2]))
            host.go_on(state)

    def run(self) -> None:
        """Some faults; then all get the same settings, and everything is held."""
        old, new = self.variants[:: self.dice.choice([1, -1])]
        for name in "abc":
            self.start(name, old)
        self.link.run(3 * INITDEAD)
        for _ in range(12):
            self.fault()
            lengths = [MS, 10 * MS, KEEPALIVE, DEADTIME, INITDEAD, 3 * INITDEAD]
            self.link.run(self.dice.choice(lengths))
        self.loss = 0.0
        for host in self.link.hosts.values():
            host.crash()
        for host in self.link.hosts.values():
            self.start(host.name, new)
            if host.daemon is not None and host.name not in new.witnesses:
                host.do(lambda core, h=host: core.guard(True, "", h.clock()))  # type: ignore[misc]
        self.link.until(lambda: self.link.held() == EVERYTHING)


@pytest.mark.parametrize("kind", ["voters", "witness", "deadtime"])
def test_never_two_while_settings_change(kind: str) -> None:
    for seed in range(RUNS):
        try:
            Changing(seed, kind).run()
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}") from error
