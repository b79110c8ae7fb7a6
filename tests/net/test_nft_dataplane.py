# SPDX-License-Identifier: GPL-2.0-or-later
"""Every promise of a data plane, kept by nftables; and what is nftables' own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from saru import nft
from saru.core.blocks import Sense
from saru.core.settings import Division
from saru.dataplane import layout
from saru.dataplane.nftables import Nftables
from tests import dataplane_checks as checks
from tests.dataplane_checks import Subject

CHAIN = "inet saru checks"


def add_rule(id_: int) -> None:
    matches = layout.judgement(Division(id_, 1024, 0), Sense.SRC_PORT, 4)
    nft.run(
        layout.definitions([id_])
        + f"add chain {CHAIN} {{ type filter hook input priority 0; }}\n"
        + f"add rule {CHAIN} counter {matches} counter accept\n"
    )


def remove_rule() -> None:
    chain = nft.listing(f"list chain {CHAIN}")
    handle = [each["rule"]["handle"] for each in chain if "rule" in each][-1]
    nft.run(f"delete rule {CHAIN} handle {handle}")


def on_a_plane(work: Callable[[Nftables], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        plane = Nftables()
        await plane.open()
        try:
            await work(plane)
        finally:
            await plane.close()

    asyncio.run(run())


@pytest.mark.parametrize("check", checks.CHECKS)
def test_the_promises_of_a_data_plane(check: str) -> None:
    async def work(plane: Nftables) -> None:
        subject = Subject(plane, add_rule, remove_rule, counts_packets=False, flood=(2, 65536))
        await checks.CHECKS[check](subject)

    on_a_plane(work)
    print(checks.figures)
