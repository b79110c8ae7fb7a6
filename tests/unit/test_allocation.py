# SPDX-License-Identifier: GPL-2.0-or-later
"""Who should hold what, against a deliberately dumb second implementation."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from saru.core.allocation import plan, shares
from saru.core.blocks import bitmap_of

NAMES = ["walter", "wendy", "wanda", "wilma", "wes", "wolf"]

Owners = list[str | None]


def owners_of(holding: Mapping[str, int], blocks: int) -> Owners:
    owners: Owners = [None] * blocks
    for name, bitmap in holding.items():
        assert bitmap >> blocks == 0, f"{name} holds blocks that there are not"
        for block in range(blocks):
            if bitmap >> block & 1:
                assert owners[block] is None, f"block {block}: {owners[block]} and {name}"
                owners[block] = name
    return owners


def holding_of(owners: Owners) -> dict[str, int]:
    return {
        name: bitmap_of(block for block, owner in enumerate(owners) if owner == name)
        for name in set(owners)
        if name is not None
    }


def live(owners: Owners, weights: Mapping[str, int]) -> Owners:
    """A director without a weight is gone: its blocks are nobody's."""
    return [owner if owner in weights else None for owner in owners]


def moves(before: Owners, after: Owners) -> int:
    """Blocks that a live director held and another one shall."""
    return sum(old is not None and old != new for old, new in zip(before, after, strict=True))


def dumb_shares(
    total: int, weights: Mapping[str, int], held: Mapping[str, int]
) -> tuple[Fraction, int]:
    """The least imbalance of any whole numbers next to the ideals, and then the fewest to give."""
    whole = sum(weights.values())
    ideals = {name: Fraction(total * weight, whole) for name, weight in weights.items()}
    choices = [sorted({int(ideal), -int(-ideal // 1)}) for ideal in ideals.values()]
    return min(
        (
            sum(
                ((n - ideal) ** 2 for n, ideal in zip(numbers, ideals.values(), strict=True)),
                start=Fraction(0),
            ),
            sum(max(0, held.get(name, 0) - n) for n, name in zip(numbers, ideals, strict=True)),
        )
        for numbers in product(*choices)
        if sum(numbers) == total
    )


def dumb_plan(
    owners: Owners, weights: Mapping[str, int], joined: Collection[str]
) -> tuple[int, Fraction, int]:
    """The best of all plans whatsoever: least lack, then least imbalance, then fewest moves.

    The lack is what the shares of directors that have not joined miss; the imbalance
    is that of the joined among themselves.
    """
    best: tuple[int, Fraction, int] | None = None
    for after in product(weights, repeat=len(owners)):
        score = dumb_score(owners, list(after), weights, joined)
        if score and (best is None or score < best):
            best = score
    assert best
    return best


def dumb_score(
    before: Owners, after: Owners, weights: Mapping[str, int], joined: Collection[str]
) -> tuple[int, Fraction, int] | None:
    """What a plan is worth; None if it breaks a rule."""
    held, gets = Counter(before), Counter(after)
    fair = shares(len(before), weights, {name: held[name] for name in weights})
    takers = {name: weights[name] for name in weights if name in joined and weights[name]}
    for old, new in zip(before, after, strict=True):
        if old == new:
            continue
        if new not in joined and (old is not None or gets[new] > fair[new or ""]):
            return None
        if old is not None and old not in joined and weights[old]:
            return None
    if takers and any(gets[name] for name, weight in weights.items() if not weight):
        return None
    rest = sum(gets[name] for name in takers)
    imbalance = sum(
        (
            (gets[name] - Fraction(rest * weight, sum(takers.values()))) ** 2
            for name, weight in takers.items()
        ),
        start=Fraction(0),
    )
    lack = sum(max(0, fair[name] - gets[name]) for name in weights if name not in joined)
    return lack, imbalance, moves(before, after)


few_weights = st.dictionaries(
    st.sampled_from(NAMES), st.one_of(st.integers(0, 4), st.integers(0, 65535)), min_size=1
)
block_counts = st.sampled_from([2, 4, 8, 16, 64, 256])


@st.composite
def situations(draw: st.DrawFn) -> tuple[Owners, dict[str, int]]:
    """Any allocation at all, by directors of whom some may be gone; any weights, not all 0."""
    blocks = draw(block_counts)
    weights = draw(few_weights.filter(lambda weights: any(weights.values())))
    chance = random.Random(draw(st.integers(0, 2**32)))
    holders = draw(st.lists(st.sampled_from([None, *NAMES]), min_size=1, max_size=6))
    return [chance.choice(holders) for _ in range(blocks)], weights


@given(st.integers(0, 300), few_weights, st.data())
def test_shares_are_the_dumb_ones(total: int, weights: dict[str, int], data: st.DataObject) -> None:
    assume(any(weights.values()))
    held = {name: data.draw(st.integers(0, total)) for name in weights}
    result = shares(total, weights, held)
    whole = sum(weights.values())
    assert sum(result.values()) == total
    assert list(result) == list(weights)
    for name, number in result.items():
        assert abs(number - Fraction(total * weights[name], whole)) < 1
        assert weights[name] or not number
    imbalance = sum((n - Fraction(total * weights[name], whole)) ** 2 for name, n in result.items())
    to_give = sum(max(0, held[name] - number) for name, number in result.items())
    assert (imbalance, to_give) == dumb_shares(total, weights, held)


def test_shares_by_hand() -> None:
    assert shares(1024, {"walter": 100, "wendy": 100, "wanda": 100}) == {
        "walter": 342,
        "wendy": 341,
        "wanda": 341,
    }
    assert shares(10, {"walter": 1, "wendy": 2}, {"walter": 4}) == {"walter": 3, "wendy": 7}
    assert shares(5, {"walter": 1, "wendy": 1}, {"wendy": 3}) == {"walter": 2, "wendy": 3}
    assert shares(7, {"walter": 0, "wendy": 0}) == {"walter": 0, "wendy": 0}
    assert shares(7, {}) == {}
    with pytest.raises(ValueError, match="director wendy: weight -1 is negative"):
        shares(7, {"walter": 1, "wendy": -1})


@given(situations())
def test_plan_of_joined_directors(situation: tuple[Owners, dict[str, int]]) -> None:
    owners, weights = situation
    before = live(owners, weights)
    result = plan(len(owners), holding_of(owners), weights, weights)
    after = owners_of(result, len(owners))
    assert None not in after
    assert set(result) == set(weights)
    held = {name: before.count(name) for name in weights}
    assert {name: after.count(name) for name in weights} == shares(len(owners), weights, held)
    lower_bound = dumb_shares(len(owners), weights, held)[1]
    assert moves(before, after) == lower_bound
    event(f"moves: {min(lower_bound, 3)}{'+' if lower_bound > 3 else ''}")
    assert plan(len(owners), result, weights, weights) == result


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.sampled_from([None, *NAMES[:3]]), min_size=8, max_size=8),
    st.fixed_dictionaries({}, optional={name: st.integers(0, 3) for name in NAMES[:3]}),
    st.sets(st.sampled_from(NAMES[:3])),
)
def test_no_plan_is_better(owners: Owners, weights: dict[str, int], joined: set[str]) -> None:
    """Against every one of up to 3**8 plans, joined or not."""
    assume(any(weights.values()))
    before = live(owners, weights)
    after = owners_of(plan(8, holding_of(owners), weights, joined), 8)
    assert None not in after
    assert dumb_score(before, after, weights, joined) == dumb_plan(before, weights, joined)


@given(situations(), st.sets(st.sampled_from(NAMES)))
def test_not_joined_takes_only_what_nobody_holds(
    situation: tuple[Owners, dict[str, int]], joined: set[str]
) -> None:
    owners, weights = situation
    before = live(owners, weights)
    after = owners_of(plan(len(owners), holding_of(owners), weights, joined), len(owners))
    assert None not in after
    for old, new in zip(before, after, strict=True):
        if old is not None and old != new:
            assert new in joined
            assert old in joined or not weights[old]


@given(situations(), st.sets(st.sampled_from(NAMES)), st.randoms(use_true_random=False))
def test_same_input_same_output(
    situation: tuple[Owners, dict[str, int]], joined: set[str], chance: random.Random
) -> None:
    """The order in which directors are named is no input."""
    owners, weights = situation
    holding = holding_of(owners)
    results = []
    for _ in range(2):
        order = [*weights]
        chance.shuffle(order)
        results.append(
            plan(
                len(owners),
                {name: holding[name] for name in sorted(holding, key=lambda _: chance.random())},
                {name: weights[name] for name in order},
                sorted(joined, key=lambda _: chance.random()),
            )
        )
    assert results[0] == results[1]


def test_all_weights_zero_nobody_holds() -> None:
    assert plan(8, {"walter": 0xFF}, {"walter": 0, "wendy": 0}, ["walter"]) == {
        "walter": 0,
        "wendy": 0,
    }
    assert plan(8, {"walter": 0xFF}, {}, []) == {}


def test_a_drained_director_hands_over_once_somebody_may_take() -> None:
    weights = {"walter": 0, "wendy": 100}
    assert plan(8, {"walter": 0xFF}, weights, ["walter"]) == {"walter": 0xFF, "wendy": 0}
    assert plan(8, {"walter": 0xFF}, weights, ["wendy"]) == {"walter": 0, "wendy": 0xFF}


def test_a_newcomer_gets_what_nobody_holds_at_once() -> None:
    weights = {"walter": 100, "wendy": 100}
    assert plan(8, {}, {"walter": 100}, []) == {"walter": 0xFF}
    assert plan(8, {"walter": 0xFF}, weights, ["walter"]) == {"walter": 0xFF, "wendy": 0}
    assert plan(8, {"walter": 0x0F}, weights, ["walter"]) == {"walter": 0x0F, "wendy": 0xF0}
    both = plan(8, {"walter": 0xFF}, weights, ["walter", "wendy"])
    assert [bitmap.bit_count() for bitmap in both.values()] == [4, 4]


def test_first_plan_lies_evenly() -> None:
    result = plan(1024, {}, dict.fromkeys(NAMES[:4], 100), [])
    for start in range(1024 - 64):
        for name in result:
            assert abs((result[name] >> start & (1 << 64) - 1).bit_count() - 16) <= 1


def test_refusals() -> None:
    with pytest.raises(ValueError, match="power of two"):
        plan(1000, {}, {"walter": 1}, [])
    with pytest.raises(ValueError, match="block 0 is in two bitmaps"):
        plan(8, {"walter": 1, "wendy": 3}, {"walter": 1, "wendy": 1}, [])
    with pytest.raises(ValueError, match="beyond the last of 8"):
        plan(8, {"walter": 256}, {"walter": 1}, [])
    with pytest.raises(ValueError, match="256 bitmaps: at most 255"):
        plan(8, {}, {f"director{number}": 1 for number in range(256)}, [])


def test_many_directors() -> None:
    weights = {f"director{number}": number % 7 for number in range(255)}
    for blocks in (2, 128, 1024, 65536):
        result = plan(blocks, {}, weights, weights)
        assert {n: bitmap.bit_count() for n, bitmap in result.items()} == shares(blocks, weights)
        assert sum(result.values()) == (1 << blocks) - 1
