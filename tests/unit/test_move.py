# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing lost on purpose: how long a planned change leaves a block without a holder."""

from __future__ import annotations

import pytest

from saru.core.action import Change
from saru.core.beat import Allocation, Beat
from saru.core.settings import Division
from tests.unit.cores import BLOCKS, DEADTIME, KEEPALIVE, MS, Link

SET_TIME = 2 * MS


def longest_gap(link: Link, length: int, number: int = 1) -> int:
    """Let time pass; the longest time that any one block was without a holder, ns."""
    end = link.now + length
    everything = (1 << BLOCKS) - 1
    since: dict[int, int] = {}
    longest = 0
    while link.now < end:
        link.step()
        unheld = everything & ~link.held(number)
        for block in range(BLOCKS):
            if unheld >> block & 1:
                since.setdefault(block, link.now)
            elif block in since:
                longest = max(longest, link.now - since.pop(block))
    assert not since, f"blocks {sorted(since)} stay unheld"
    return longest


def weigh(link: Link, name: str, weight: int) -> None:
    host = link[name]
    host.do(lambda core: core.weigh(weight, host.clock()))


def shares(link: Link) -> dict[str, int]:
    return {name: host.accepts().bit_count() for name, host in link.hosts.items()}


@pytest.mark.parametrize("delay", [MS // 10, MS, 20 * MS])
@pytest.mark.parametrize("who", "abc")
def test_a_drain_a_return_and_a_weight_cost_a_block_two_trips_and_two_sets(
    who: str, delay: int
) -> None:
    """Out of the old hands: SET returns, a beat goes. Into the new: an allocation comes, SET."""
    link = Link("abc", delay=delay, set_time=SET_TIME).settled()
    for weight, share in ((0, 0), (100, 5), (300, 10), (100, 5)):
        begin = link.now
        weigh(link, who, weight)
        gap = longest_gap(link, 3 * KEEPALIVE)
        assert 0 < gap <= 2 * delay + 2 * SET_TIME
        assert shares(link)[who] in (share, share + 1)
        assert not link.told(Change.LAPSED, begin)


def test_a_block_of_one_id_does_not_wait_for_the_tables_of_the_others() -> None:
    """With many ids a director takes many versions; those that change nothing cost no time."""
    divisions = tuple(Division(number, BLOCKS, 0) for number in range(1, 21))
    link = Link("abc", set_time=SET_TIME, divisions=divisions).settled()
    link["b"].do(lambda core: core.weigh(0, link["b"].clock()))
    assert longest_gap(link, 5 * DEADTIME, 20) <= 2 * link.delay + 5 * SET_TIME
    assert not link["b"].accepts(20)


def test_a_move_costs_few_beats() -> None:
    """Beats that nobody waits for would keep everybody busy while blocks are unheld."""
    link = Link("abc", set_time=SET_TIME).settled()
    link.run(KEEPALIVE // 10)  # until no beat is due in the next moments
    begin = len(link.sent)
    now = link.now
    weigh(link, "b", 0)
    link.until(lambda: not link["b"].accepts())
    link.until(lambda: sum(shares(link).values()) == BLOCKS)
    link.run(2 * link.delay)
    assert link.now - now < KEEPALIVE // 2
    sent = [message for _, _, message in link.sent[begin:]]
    # b's wish; each version; and everybody's word of having taken it.
    assert sum(isinstance(m, Allocation) for m in sent) == 2
    assert sum(isinstance(m, Beat) for m in sent) <= 1 + 2 * 3
