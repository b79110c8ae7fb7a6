# SPDX-License-Identifier: GPL-2.0-or-later
"""Every promise of a data plane, kept by nftables; and what is nftables' own."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import msgspec
import pytest

from saru import nft
from saru.dataplane import EventKind, TableState, layout
from saru.dataplane.nftables import Nftables
from saru.errors import OutageError, SaruError, StaleError
from tests import dataplane_checks as checks
from tests.dataplane_checks import Subject, refused, table, told
from tests.net.nft_plane import add_rule, on_a_plane, remove_rule


@pytest.mark.parametrize("check", checks.CHECKS)
def test_the_promises_of_a_data_plane(check: str) -> None:
    async def work(plane: Nftables) -> None:
        subject = Subject(plane, add_rule, remove_rule, counts_packets=False, flood=(2, 65536))
        await checks.CHECKS[check](subject)

    on_a_plane(work)
    print(checks.figures)


def test_versions_live_in_the_kernel() -> None:
    """Another process sees what this one has set, and is held to it."""
    put = table(1, 5, held=0b0110)

    async def first(plane: Nftables) -> None:
        await plane.set(put)

    async def second(plane: Nftables) -> None:
        assert (await plane.get(1)).table == put
        await refused(StaleError, "older than the table's", plane.set(table(1, 4)))
        more = table(1, 5, held=0b0111)
        await refused(SaruError, "this version came before", plane.set(more))
        await plane.renew(1, put.version, put.deadline + 1)

    async def third(plane: Nftables) -> None:
        state = await plane.get(1)
        assert state.table is not None
        assert state.table.deadline == put.deadline + 1

    for work in (first, second, third):
        on_a_plane(work)


@pytest.mark.parametrize("emptied", [layout.until_set, layout.lease_set, layout.held_set])
def test_blocks_whose_deadline_somebody_took_away_are_not_in_the_next_table(
    emptied: Callable[[int], str],
) -> None:
    async def work(plane: Nftables) -> None:
        await plane.set(table(1, 5, held=0b0110))
        nft.run(f"flush set inet saru {emptied(1)}")
        await plane.delete(1)
        put = table(1, 6, held=0b1000)
        await plane.set(put)
        assert (await plane.get(1)).table == put

    on_a_plane(work)


def test_a_race_between_two_is_lost_by_the_older_version() -> None:
    """Whatever the other did since this one last looked, the kernel is asked again."""

    async def work(plane: Nftables) -> None:
        other = Nftables()
        await other.open()
        for serial in range(1, 21, 2):
            older, newer = await asyncio.gather(
                plane.set(table(1, serial)), other.set(table(1, serial + 1)), return_exceptions=True
            )
            assert newer is None
            assert older is None or isinstance(older, StaleError)
            await refused(StaleError, "older than the table's", plane.set(table(1, serial)))
            state = await plane.get(1)
            assert state.table is not None
            assert state.table.version.serial == serial + 1
        await other.close()

    on_a_plane(work)


def test_others_transactions_do_no_harm() -> None:
    """A firewall that changes all the time: renewals and tables still get through."""
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            nft.run("add table inet other\nadd chain inet other c\n")
            nft.run("delete table inet other\n")

    async def work(plane: Nftables) -> None:
        for serial in range(1, 11):
            put = table(1, serial, blocks=1024, held=(1 << 1024) - 1 if serial % 2 else 1)
            await plane.set(put)
            for step in range(20):
                await plane.renew(1, put.version, put.deadline + step)
            state = await plane.get(1)
            assert state.table is not None
            assert state.table.held == put.held

    others = threading.Thread(target=change)
    others.start()
    try:
        on_a_plane(work)
    finally:
        stop.set()
        others.join()


def test_after_a_flush_of_the_ruleset_it_begins_anew() -> None:
    """Version and table are gone, and it is told; a new table is taken, rules or none."""

    async def work(plane: Nftables) -> None:
        add_rule(1)
        await plane.set(table(1, 5))
        events = plane.events()
        nft.run("flush ruleset")
        await told(events, EventKind.DELETED, 1)
        assert await plane.get(1) == TableState(id=1)
        await refused(StaleError, "no table of id 1", plane.renew(1, table(1, 5).version, 0))
        assert await plane.delete(1) is False
        await plane.set(table(1, 4))
        assert (await plane.get(1)).table is not None

    on_a_plane(work)


def test_elements_that_somebody_took_away_are_put_back() -> None:
    async def work(plane: Nftables) -> None:
        await plane.set(table(1, 1, held=0b1111))
        nft.run("flush set inet saru held_1\nflush set inet saru lease_1")
        await plane.set(table(1, 2, held=0b0011))
        assert "elements = { 0, 1 }" in nft.run("list set inet saru held_1")
        assert "expires" in nft.run("list set inet saru lease_1")

    on_a_plane(work)


def test_elements_that_somebody_put_there_are_not_taken_for_a_table() -> None:
    async def work(plane: Nftables) -> None:
        nft.run(layout.definitions([1]))
        nft.run('add element inet saru until_1 { 0-1700000000 comment "hello" }')
        await refused(SaruError, "empty it: nft flush set inet saru until_1", plane.get(1))
        nft.run("flush set inet saru until_1")
        assert await plane.get(1) == TableState(id=1)

    on_a_plane(work)


def test_rules_count_what_they_were_asked_and_what_they_accepted() -> None:
    async def work(plane: Nftables) -> None:
        add_rule(1)
        await plane.set(msgspec.structs.replace(table(1, 1, blocks=1024, held=1 << 625), seed=0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
            held.bind(("127.0.0.1", 40000))  # block 625
            for _ in range(3):
                held.sendto(b"", ("127.0.0.1", 9))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 50000))
            for _ in range(5):
                other.sendto(b"", ("127.0.0.1", 9))
        state = await plane.get(1)
        # Each refused one was answered with an ICMP error over the same loopback.
        assert (state.users, state.accepted) == (1, 3)
        assert state.rejected >= 5

    on_a_plane(work)


def test_without_the_right_to_it_it_is_an_outage() -> None:
    code = (
        "import asyncio; from saru.dataplane.nftables import Nftables\n"
        "asyncio.run(Nftables().open())"
    )
    drop = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    said = subprocess.run(
        [*drop, sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert f"{OutageError.__name__}: {nft.NOT_PERMITTED}" in said.stderr


def test_many_tables_at_once() -> None:
    async def work(plane: Nftables) -> None:
        put = [table(id_, 1, blocks=1024, held=(1 << 1024) - 1) for id_ in range(1, 256)]
        await asyncio.gather(*map(plane.set, put))
        assert [state.table for state in await plane.tables()] == put
        assert all(await asyncio.gather(*(plane.delete(one.id) for one in put)))
        assert await plane.tables() == []

    on_a_plane(work)
