# SPDX-License-Identifier: GPL-2.0-or-later
"""What the data plane nftables reads from the kernel: blocks, and how many rules name an id."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

import msgspec
import pytest

from saru.dataplane import elements, layout
from saru.dataplane.elements import Message, Request
from saru.dataplane.netfilter import Netfilter, RefusedError
from saru.dataplane.nftables import Nftables
from tests.dataplane_checks import table
from tests.net.nft_plane import add_rule, listed_short, on_a_plane


def test_a_table_is_listed_whole_while_the_kernel_makes_room() -> None:
    """The kernel's own listings leave elements out for a while after a large transaction."""

    async def work(plane: Nftables) -> None:
        put = table(1, 1, blocks=65536, held=(1 << 65536) - 1)
        reader = Nftables()
        await reader.open()
        plane._replace(1, lambda *_: put, define=True)  # and no grace period after it
        whole = (await reader.get(1)).table == put
        await reader.close()
        await plane.delete(1)
        assert whole

    for _ in range(10):
        on_a_plane(work)


def test_a_block_that_was_not_listed_is_given_away_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = table(1, 5, held=0b0111)
    on_a_plane(lambda plane: plane.set(put))

    async def work(plane: Nftables) -> None:
        await listed_short(plane, put, monkeypatch)
        after = table(1, 6, held=0b0001)
        await plane.set(after)
        await plane.close()
        reader = Nftables()
        await reader.open()
        found = (await reader.get(1)).table
        await reader.close()
        assert found == after

    on_a_plane(work)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Request], None]], None]:
    """Has something be told of each request before the kernel gets it; it may raise."""
    ask = Netfilter.ask

    def tell(hears: Callable[[Request], None]) -> None:
        def told(link: Netfilter, request: Request) -> list[Message]:
            hears(request)
            return ask(link, request)

        monkeypatch.setattr(Netfilter, "ask", told)

    return tell


def test_users_are_counted_without_a_look_at_the_blocks(
    asked: Callable[[Callable[[Request], None]], None],
) -> None:
    async def work(plane: Nftables) -> None:
        add_rule(1)
        await plane.set(table(1, 1, blocks=65536, held=(1 << 65536) - 1))
        requests: list[Request] = []
        asked(requests.append)
        assert await plane.users(1) == 1
        assert requests == [elements.all_rules()]

    on_a_plane(work)


def test_a_renewal_comes_between_two_tries_of_a_listing(
    asked: Callable[[Callable[[Request], None]], None],
) -> None:
    """However often the blocks have to be listed, a lease does not wait for all of it."""

    async def work(plane: Nftables) -> None:
        put = table(1, 1)
        await plane.set(put)

        def interrupt(request: Request) -> None:
            if request == elements.elements_of(layout.held_set(1)) and not renewing.done():
                raise RefusedError(errno.EINTR)

        asked(interrupt)
        getting = asyncio.ensure_future(plane.get(1))
        renewing = asyncio.ensure_future(plane.renew(1, put.version, put.deadline + 1))
        state, _ = await asyncio.gather(getting, renewing)
        assert state.table == msgspec.structs.replace(put, deadline=put.deadline + 1)

    on_a_plane(work)
