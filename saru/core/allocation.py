# SPDX-License-Identifier: GPL-2.0-or-later
"""Who should hold what: from weights and the present holders to the intended ones.

The plan is a pure function: same input, same output, no randomness. In this order
it sees to it that

1. a director that has not joined yet takes nothing from a live holder. Of the
   blocks that nobody holds it may have what its share lacks. What it holds it keeps;
2. every other director holds its share of the rest: by weight, in whole blocks, by
   largest remainder, so within one block of its ideal. Weight 0 is none;
3. the fewest blocks move. A block moves if a live director holds it and another
   one shall. A director that holds n blocks with a share of s must lose at least
   n - s of them, and loses exactly those: nobody gives who shall have more, nobody
   takes who shall have fewer. Where remainders are equal, the block goes to a
   director that would have to give one up otherwise;
4. each director's blocks lie evenly over the whole space, whatever happened
   before: see `saru.core.spread`, which picks the blocks.

The plan says where to go, not how: a block that moves first leaves its old
holder, then comes to the new one. That is up to those who grant.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from saru.core.blocks import bitmaps_of, check_blocks, owners_of
from saru.core.spread import redistribute


def plan(
    blocks: int, holding: Mapping[str, int], weights: Mapping[str, int], joined: Collection[str]
) -> dict[str, int]:
    """The bitmap that each director in `weights` should hold, of `blocks` blocks.

    `holding` maps directors to the bitmaps they hold now, which must not overlap;
    what a director without a weight holds counts as held by nobody. `joined` are
    the directors that may take blocks from live holders. Every block is in
    somebody's bitmap, unless all weights are 0: then all bitmaps are empty.
    ValueError if a bitmap or weight cannot be, or with more than 255 directors.
    """
    check_blocks(blocks)
    names = sorted(weights)
    owners = bytearray(owners_of([holding.get(name, 0) for name in names], blocks))
    held = {name: holding.get(name, 0).bit_count() for name in names}
    fair = shares(blocks, weights, held)
    if not sum(fair.values()):
        return dict.fromkeys(names, 0)

    for goal in _goals(blocks, held, fair, weights, joined):
        counts = [goal.counts[name] for name in names]
        ideals = [goal.ideals[name] for name in names]
        nobody = blocks - sum(counts)
        redistribute(owners, [nobody, *counts], [nobody, *ideals])
    return dict(zip(names, bitmaps_of(bytes(owners), len(names)), strict=True))


def shares(
    total: int, weights: Mapping[str, int], held: Mapping[str, int] | None = None
) -> dict[str, int]:
    """`total` blocks divided by weight: whole numbers, by largest remainder.

    Where remainders are equal, those come first who hold (`held`) more than their
    weight rounded down gives them, then those first by name. All 0 if all weights
    are. ValueError if one is negative.
    """
    for name, weight in weights.items():
        if weight < 0:
            raise ValueError(f"director {name}: weight {weight} is negative")
    sum_of_weights = sum(weights.values())
    if not sum_of_weights:
        return dict.fromkeys(weights, 0)
    result = {name: total * weight // sum_of_weights for name, weight in weights.items()}

    def turn(name: str) -> tuple[int, bool, str]:
        remainder = total * weights[name] % sum_of_weights
        would_give = held is not None and held.get(name, 0) > result[name]
        return -remainder, not would_give, name

    for name in sorted(weights, key=turn)[: total - sum(result.values())]:
        result[name] += 1
    return result


@dataclass(frozen=True)
class _Goal:
    """How many blocks each director shall have, and how many before rounding."""

    counts: Mapping[str, int]
    ideals: Mapping[str, float]


def _goals(
    blocks: int,
    held: Mapping[str, int],
    fair: Mapping[str, int],
    weights: Mapping[str, int],
    joined: Collection[str],
) -> list[_Goal]:
    """The steps to the plan: blocks of nobody to those not joined, the rest to the joined.

    With no joined director of any weight, nobody can take from anybody, and the
    first step is all.
    """
    unheld = blocks - sum(held.values())
    lacking = {name: max(0, fair[name] - held[name]) for name in weights if name not in joined}
    gifts = shares(min(unheld, sum(lacking.values())), lacking)
    held = {name: number + gifts.get(name, 0) for name, number in held.items()}
    goals = [_Goal(held, held)] if any(gifts.values()) else []

    takers = {name: weight for name, weight in weights.items() if weight and name in joined}
    if takers:
        keeping = {
            name: held[name] if weight and name not in joined else 0
            for name, weight in weights.items()
        }
        rest = blocks - sum(keeping.values())
        scale = rest / sum(takers.values())
        goals.append(
            _Goal(
                keeping | shares(rest, takers, held),
                keeping | {name: scale * weight for name, weight in takers.items()},
            )
        )
    return goals
