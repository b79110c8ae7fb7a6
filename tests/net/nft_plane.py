# SPDX-License-Identifier: GPL-2.0-or-later
"""A data plane of nftables, and a rule that names an id, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from saru import nft
from saru.core.blocks import Sense
from saru.core.settings import Division
from saru.dataplane import Table, layout, sets
from saru.dataplane.bounds import Clocks, read
from saru.dataplane.nftables import Nftables

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


def on_a_plane(work: Callable[[Nftables], object], clocks: Callable[[], Clocks] = read) -> None:
    """Run what a coroutine function does, on a data plane that reads these clocks."""

    async def run() -> None:
        plane = Nftables(clocks)
        await plane.open()
        try:
            await work(plane)  # type: ignore[misc]
        finally:
            await plane.close()

    asyncio.run(run())


async def listed_short(plane: Nftables, put: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `plane` read the table that was put there, and find two blocks of it only."""
    with monkeypatch.context() as patched:
        patched.setattr(sets, "held", lambda _: 0b0011)
        assert (await plane.get(put.id)).table != put
