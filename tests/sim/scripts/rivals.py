# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs about settings that differ where no majority decides who serves."""

from __future__ import annotations

import msgspec

from saru.core.settings import Quorum
from tests.unit.cores import DEADTIME, INITDEAD, KEEPALIVE, Link


def a_pair_that_gets_a_witness() -> None:
    """The witness and a have the new settings, and a majority; b has not, and needs none."""
    link = Link("abw", voters="ab", quorum=Quorum.NONE)
    for name in "ab":
        link[name].start()
    link.run(INITDEAD + DEADTIME)
    link["a"].do(lambda core: core.leave(link["a"].clock()))
    link.run(KEEPALIVE)
    link.settings = msgspec.structs.replace(
        link.settings, nodes=("a", "b", "w"), witnesses=("w",), quorum=Quorum.MAJORITY
    )
    for name in "aw":
        link[name].start(able=name != "w")
    link.until(lambda: link["a"].core.waited(link["a"].clock()))
    for name in "aw":  # for a moment b does not hear that they have it
        link.one_way(name, "b")
    link.run(DEADTIME // 2)
    link.heal()
    link.run(4 * INITDEAD)


def a_pair_that_starts_with_settings_that_differ() -> None:
    """Neither has a quorum, and neither holds anything yet when both could."""
    link = Link("ab", quorum=Quorum.NONE)
    link["a"].start()
    link.settings = msgspec.structs.replace(link.settings, keepalive=KEEPALIVE // 2)
    link["b"].start()
    link.run(4 * INITDEAD)


def a_majority_that_is_killed_and_starts_again() -> None:
    """a goes without a quorum, and gives way to b and c, whose kernels go on for a while."""
    link = Link("abc")
    for name in "bc":
        link[name].start()
    link.run(2 * INITDEAD)
    old = link.settings
    link.settings = msgspec.structs.replace(old, nodes=("a", "b"), quorum=Quorum.NONE)
    link["a"].start()
    link.run(2 * INITDEAD)
    link.settings = old
    for name in "bc":
        link[name].kill()
        link[name].start()
    link.run(4 * INITDEAD)
