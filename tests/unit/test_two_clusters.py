# SPDX-License-Identifier: GPL-2.0-or-later
"""Two clusters that share a name, a key and a wire: each serves by itself, and never two in it.

They refuse each other's beats. Each has a majority of its own voters, and both may come to the same
terms and versions, so nothing of an allocation may go from one to the other.
"""

from __future__ import annotations

import random

import msgspec
import pytest

from saru.config.authkeys import Keys
from saru.core.beat import Allocation, Beat
from saru.core.invariants import InvariantError, never_two
from saru.wire import parts
from saru.wire.codec import Codec
from saru.wire.voters import Voters
from tests.unit.cores import DEADTIME, EVERYTHING, MS, Link

KEYS = Keys(0, {0: b"saru"})
CLUSTERS = ("abc", "xyz")


class Wire(Link):
    """Datagrams, as the codecs write and read them; some that carry a part are lost."""

    def __init__(self, seed: int, loss: float) -> None:
        super().__init__("abcxyz")
        self.promised = False  # of all six
        self.chance, self.loss = random.Random(seed), loss
        self.codecs: dict[str, Codec] = {}
        mine = {}
        for names in CLUSTERS:
            settings = msgspec.structs.replace(self.settings, nodes=tuple(names))
            for name in names:
                mine[name] = settings
                voters = Voters.of(settings)
                self.codecs[name] = Codec(name, 1, KEYS, settings.divisions, voters=voters)
        for name, self.settings in mine.items():
            self[name].start()

    def send(self, sender: str, message: Beat | Allocation) -> None:
        for datagram in self.codecs[sender].encode(message):
            for name in sorted(set(self.hosts) - {sender}):
                lost = isinstance(message, Allocation) and self.chance.random() < self.loss
                read = None if lost else self.codecs[name].decode(datagram)
                if isinstance(read, Beat | Allocation):
                    self.at(self.now + MS, lambda n=name, m=read: self.deliver(n, m))  # type: ignore[misc]

    def check(self) -> None:
        for names in CLUSTERS:
            never_two({name: self[name].accepts() for name in names})

    def whole(self) -> bool:
        """Whether each cluster holds everything."""
        return all(sum(self[name].accepts() for name in names) == EVERYTHING for names in CLUSTERS)


def weighed(seed: int) -> None:
    """Weights change at random while parts are lost, and then all is well again."""
    link = Wire(seed, loss=0.3)
    for _ in range(12):
        link.run(link.chance.randrange(DEADTIME))
        host = link[link.chance.choice("abcxyz")]
        weight = link.chance.choice((0, 50, 100))
        host.do(lambda core, h=host, w=weight: core.weigh(w, h.clock()))  # type: ignore[misc]
    for name in "ax":
        host = link[name]
        host.do(lambda core, h=host: core.weigh(100, h.clock()))  # type: ignore[misc]
    link.loss = 0
    link.until(link.whole)
    link.run(2 * DEADTIME)
    assert link.whole()


@pytest.mark.parametrize("seed", range(10))
def test_each_serves_by_itself(seed: int) -> None:
    weighed(seed)


def test_without_the_seal_of_the_settings_they_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "seal", lambda _: bytes(parts.SEAL_BYTES))
    failed = 0
    for seed in range(10):
        try:
            weighed(seed)
        except (AssertionError, InvariantError):
            failed += 1
    assert failed
