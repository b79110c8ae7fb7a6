# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks of each director lie evenly over the ports that clients use, whatever happened before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from saru.core.allocation import plan, shares

PORTS = 65536
CLIENT_PORTS = {
    "Linux": range(32768, 61000),
    "Windows/BSD": range(49152, 65536),
    "NAT": range(1024, 65536),
}
BLOCKS = 1024
HISTORIES = 1000
EVENTS = 20


def masks_of(ports: range, blocks: int) -> dict[int, int]:
    """The blocks of a range of ports, as a bitmap for each number of ports of it in a block."""
    masks: dict[int, int] = {}
    width = PORTS // blocks
    for block in range(blocks):
        inside = range(max(ports.start, block * width), min(ports.stop, (block + 1) * width))
        masks[len(inside)] = masks.get(len(inside), 0) | 1 << block
    return masks


MASKS = {client: masks_of(ports, BLOCKS) for client, ports in CLIENT_PORTS.items()}


def ports_held(bitmap: int, client: str) -> int:
    """How many of a client's source ports lie in the blocks of a bitmap."""
    return sum(ports * (bitmap & mask).bit_count() for ports, mask in MASKS[client].items())


@dataclass
class Cluster:
    """Directors that come and go, and the plans that follow."""

    weights: dict[str, int]
    chance: random.Random
    change_weights: bool = False
    live: set[str] = field(default_factory=set)
    joined: set[str] = field(default_factory=set)
    holding: dict[str, int] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def history(self, events: int) -> Iterator[dict[str, int]]:
        """What each live director holds, whenever all of them have joined and a plan is made."""
        for name in self.chance.sample(sorted(self.weights), self.chance.randint(1, 2)):
            self.boot(name)
        while len(self.events) < events:
            self.step()
            if self.chance.random() < 0.9:  # else the next event comes before the plan
                self.joined = set(self.live)
                self.follow()
                yield self.holding

    def step(self) -> None:
        name = self.chance.choice(sorted(self.weights))
        if self.change_weights and self.chance.random() < 0.3:
            near = max(1, self.weights[name] + self.chance.randint(-5, 5))
            self.weights[name] = self.chance.choice([near, self.chance.randint(1, 1000)])
            self.events.append(f"{name} has weight {self.weights[name]}")
        elif name not in self.live:
            self.boot(name)
        elif len(self.live) > 1:
            self.events.append(f"{name} leaves")
            self.live.remove(name)
            self.joined.discard(name)
            del self.holding[name]

    def boot(self, name: str) -> None:
        self.events.append(f"{name} comes")
        self.live.add(name)
        self.holding[name] = 0
        self.follow()

    def follow(self) -> None:
        """Make a plan; its moves must be the lower bound."""
        weights = {name: self.weights[name] for name in self.live}
        after = plan(BLOCKS, self.holding, weights, self.joined)
        moved = sum((self.holding[n] & ~after[n]).bit_count() for n in self.live)
        to_give = sum(max(0, self.holding[n].bit_count() - after[n].bit_count()) for n in self.live)
        assert moved == to_give, f"{moved} moves instead of {to_give} after {self.events}"
        if self.joined >= self.live:
            held = {name: bitmap.bit_count() for name, bitmap in self.holding.items()}
            assert {n: after[n].bit_count() for n in weights} == shares(BLOCKS, weights, held)
        self.holding = after


def test_three_equal_directors_stay_even() -> None:
    """The most loaded director sees at most 1.02 times the mean of any client's ports."""
    worst = dict.fromkeys(CLIENT_PORTS, 0.0)
    where = dict.fromkeys(CLIENT_PORTS, "")
    alone = 0
    for seed in range(HISTORIES):
        cluster = Cluster(dict.fromkeys(("walter", "wendy", "wanda"), 100), random.Random(seed))
        for holding in cluster.history(EVENTS):
            alone += len(holding) == 1
            for client in CLIENT_PORTS:
                parts = [ports_held(bitmap, client) for bitmap in holding.values()]
                ratio = max(parts) * len(parts) / sum(parts)
                if ratio > worst[client]:
                    worst[client] = ratio
                    where[client] = f"seed {seed}: {', '.join(cluster.events)}"
    assert alone > HISTORIES / 10, f"only {alone} times was one director left alone"
    measured = ", ".join(f"{client} {ratio:.4f}" for client, ratio in worst.items())
    assert max(worst.values()) <= 1.02, f"max/mean: {measured}; {where}"


def test_three_equal_directors_stay_mixed() -> None:
    """Wherever one looks at 64 blocks in a row or more, each director has its part of them.

    This is for ports that nobody has thought of: a stretch of any length holds not
    many more or fewer blocks of a director than an even mix would have there.
    """
    worst = longest = 0.0
    for seed in range(HISTORIES // 20):
        cluster = Cluster(dict.fromkeys(("walter", "wendy", "wanda"), 100), random.Random(seed))
        for holding in cluster.history(2 * EVENTS):
            for bitmap in holding.values():
                part = bitmap.bit_count() / BLOCKS
                for start in range(0, BLOCKS - 64, 5):
                    here = (bitmap >> start & (1 << 64) - 1).bit_count()
                    worst = max(worst, abs(here - 64 * part))
                longest = max(longest, *map(len, f"{bitmap:0{BLOCKS}b}".split("1")))
    measured = f"off by {worst:.1f} in 64 blocks; {longest} blocks in a row without one"
    assert worst <= 4, measured
    assert longest <= 10, measured


def unequal_weights(chance: random.Random) -> dict[str, int]:
    """Weights for 2 to 8 directors, alike or far apart."""
    ranges = [(1, 10), (50, 150), (1, 1000)]
    return {
        f"director{number}": chance.randint(*chance.choice(ranges))
        for number in range(chance.randint(2, 8))
    }


def worst_of_unequal(change_weights: bool, histories: int) -> tuple[float, float, int, int]:
    """Errors of the parts by what is tolerated, one block or 2 % of the part a director is due.

    Returns the worst error with respect to the director's whole number of blocks,
    the worst with respect to what its weight asks for before rounding, how often the
    second was above 1, and how many parts were looked at.
    """
    worst = worst_unrounded = 0.0
    beyond = looked_at = 0
    for seed in range(histories):
        chance = random.Random(seed)
        cluster = Cluster(unequal_weights(chance), chance, change_weights)
        for holding in cluster.history(EVENTS):
            whole = sum(cluster.weights[name] for name in holding)
            for client, ports in CLIENT_PORTS.items():
                for name, bitmap in holding.items():
                    part = ports_held(bitmap, client)
                    due = len(ports) * bitmap.bit_count() / BLOCKS
                    worst = max(worst, abs(part - due) / max(PORTS / BLOCKS, 0.02 * due))
                    due = len(ports) * cluster.weights[name] / whole
                    error = abs(part - due) / max(PORTS / BLOCKS, 0.02 * due)
                    worst_unrounded = max(worst_unrounded, error)
                    beyond += error > 1
                    looked_at += 1
    return worst, worst_unrounded, beyond, looked_at


def test_unequal_directors_stay_even() -> None:
    """Joins and leaves of 2 to 8 directors.

    Each part is within one block or 2 % of the director's share. The share is a
    whole number of blocks; that alone can be most of a block off what the weight
    asks for, and then no plan that moves the fewest blocks keeps the part within
    one block of that, too, in every history. It is very nearly always, all the same.
    """
    worst, unrounded, beyond, looked_at = worst_of_unequal(False, HISTORIES)
    measured = (
        f"{worst:.3f} of the tolerance; before rounding {unrounded:.3f}, "
        f"beyond it {beyond} of {looked_at} parts"
    )
    assert worst <= 1, measured
    assert unrounded <= 1.25, measured
    assert beyond <= looked_at / 5000, measured


def test_unequal_directors_stay_even_when_weights_change() -> None:
    worst, unrounded, beyond, looked_at = worst_of_unequal(True, HISTORIES // 4)
    measured = (
        f"{worst:.3f} of the tolerance; before rounding {unrounded:.3f}, "
        f"beyond it {beyond} of {looked_at} parts"
    )
    assert worst <= 1, measured
    assert unrounded <= 1.5, measured
    assert beyond <= looked_at / 1000, measured
