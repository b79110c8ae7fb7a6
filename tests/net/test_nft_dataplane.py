# SPDX-License-Identifier: GPL-2.0-or-later
"""Every promise of a data plane, kept by nftables; and what is nftables' own."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from saru import nft
from saru.core.blocks import Sense
from saru.core.settings import Division
from saru.dataplane import EventKind, TableState, elements, grace, hurry, layout, sets
from saru.dataplane.elements import Message, Request
from saru.dataplane.netfilter import Netfilter, RefusedError
from saru.dataplane.nftables import Nftables
from saru.errors import OutageError, SaruError, StaleError
from tests import dataplane_checks as checks
from tests.dataplane_checks import Subject, refused, table, told

CHAIN = "inet saru checks"
PROJECT = Path(__file__).parents[2]


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
        with monkeypatch.context() as patched:
            patched.setattr(sets, "held", lambda _: 0b0011)
            assert (await plane.get(1)).table != put
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
def lose(monkeypatch: pytest.MonkeyPatch) -> Callable[[SaruError], None]:
    """Has the next transaction made, and its acknowledgement lost: an error comes instead."""
    losses: list[SaruError] = []
    commit = Netfilter.commit

    def committed(link: Netfilter, changes: list[Request], generation: int) -> None:
        commit(link, changes, generation)
        if losses:
            raise losses.pop()

    monkeypatch.setattr(Netfilter, "commit", committed)
    return losses.append


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for each grace period that is waited for."""
    found: list[str] = []
    wait = grace.wait

    def waited() -> None:
        found.append("waited")
        wait()

    monkeypatch.setattr(grace, "wait", waited)
    return found


LOSSES = [RefusedError(errno.ENOBUFS), OutageError("nf_tables does not answer")]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_table_whose_acknowledgement_was_lost_is_deleted(
    lose: Callable[[SaruError], None], loss: SaruError
) -> None:
    """The first one of its id, so that the last that was known is that there is none."""

    async def work(plane: Nftables) -> None:
        nft.run(layout.definitions([1]))
        assert await plane.delete(1) is False
        lose(loss)
        await refused(type(loss), str(loss), plane.set(table(1, 1, held=0b0110)))
        assert "elements" in nft.run("list set inet saru held_1")
        assert await plane.delete(1) is True
        for name in (layout.until_set, layout.lease_set, layout.held_set):
            assert "elements" not in nft.run(f"list set inet saru {name(1)}")

    on_a_plane(work)


def test_a_table_that_somebody_else_set_is_deleted() -> None:
    """Whatever is remembered, the kernel is asked before it is said that there is none."""

    async def work(plane: Nftables) -> None:
        nft.run(layout.definitions([1]))
        assert await plane.delete(1) is False
        other = Nftables()
        await other.open()
        await other.set(table(1, 1))
        await other.close()
        assert await plane.delete(1) is True
        assert "elements" not in nft.run("list set inet saru held_1")

    on_a_plane(work)


def test_who_does_not_hear_of_a_deletion_waits_at_the_next_one(
    lose: Callable[[SaruError], None], waits: list[str]
) -> None:
    async def work(plane: Nftables) -> None:
        await plane.set(table(1, 1))
        waits.clear()
        lose(RefusedError(errno.ENOBUFS))
        await refused(RefusedError, "", plane.delete(1))
        assert waits == []
        assert await plane.delete(1) is False
        assert waits == ["waited"]
        assert await plane.delete(1) is False
        assert waits == ["waited"]

    on_a_plane(work)


def test_a_wait_that_failed_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch, waits: list[str]
) -> None:
    async def work(plane: Nftables) -> None:
        await plane.set(table(1, 1, held=0b0011))

        def fails() -> None:
            raise OutageError("nothing to wait by")

        with monkeypatch.context() as patched:
            patched.setattr(grace, "wait", fails)
            await refused(OutageError, "nothing", plane.set(table(1, 2, held=0b0001)))
        waits.clear()
        await plane.set(table(1, 3, held=0b0001))  # lets nothing go itself
        await plane.set(table(1, 4, held=0b0011))
        assert waits == ["waited"]

    on_a_plane(work)


@pytest.mark.parametrize("renewed", [False, True])
def test_who_has_only_listed_blocks_waits_for_those_that_were_not_listed(
    monkeypatch: pytest.MonkeyPatch, waits: list[str], renewed: bool
) -> None:
    """By the listing nothing is let go; the block that it left out is."""
    put = table(1, 5, held=0b0111)
    on_a_plane(lambda plane: plane.set(put))

    async def work(plane: Nftables) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(sets, "held", lambda _: 0b0011)
            assert (await plane.get(1)).table != put
        waits.clear()
        if renewed:
            await plane.renew(1, put.version, put.deadline + 1)
        await plane.set(table(1, 6, held=0b0011))
        assert waits == ["waited"]
        await plane.set(table(1, 7, held=0b0111))
        assert waits == ["waited"]  # what it has put there itself it knows

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


def test_waiting_for_the_cpus_does_not_need_membarrier(monkeypatch: pytest.MonkeyPatch) -> None:
    grace.wait()
    monkeypatch.setattr(grace, "_NUMBERS", {})  # as on a machine whose number is not known
    grace.wait()


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    """Files in the place of the machine's two switches, which are not there yet."""
    found = tmp_path / "rcu_expedited", tmp_path / "rcu_normal"
    for name, path in zip(("_EXPEDITED", "_NORMAL"), found, strict=True):
        monkeypatch.setattr(hurry, name, str(path))
    return found


def test_the_kernel_hurries_only_while_somebody_waits(
    switches: tuple[Path, Path], tmp_path: Path
) -> None:
    switch, forbidden = switches
    mark = tmp_path / "mark"
    one = hurry.Hurry(mark)
    assert not one.period()  # there is no such thing here
    switch.write_text("0\n")
    forbidden.write_text("0\n")
    with one._hurried(mark):
        assert switch.read_text() == "1\n"
        assert mark.exists()
    assert one.period()
    assert switch.read_text() == "0\n"
    assert not mark.exists()
    switch.write_text("1\n")  # the administrator's
    assert one.period()
    one.mend()
    assert switch.read_text() == "1\n"
    forbidden.write_text("1\n")
    assert not one.period()
    assert not hurry.Hurry(None).period()


def test_the_hurry_of_one_who_was_killed_ends_when_the_next_one_starts(
    switches: tuple[Path, Path], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    switches[0].write_text("1\n")
    mark.touch()

    async def start() -> None:
        plane = Nftables(mark=mark)
        await plane.open()
        await plane.close()

    asyncio.run(start())
    assert switches[0].read_text() == "0\n"
    assert not mark.exists()


@pytest.mark.parametrize("hurried", [True, False])
def test_blocks_are_let_go_with_and_without_hurry(hurried: bool, tmp_path: Path) -> None:
    async def work() -> None:
        plane = Nftables(mark=tmp_path / "mark" if hurried else None)
        await plane.open()
        try:
            for serial, held in enumerate((0b1111, 0b0110, 0b1110, 0), 1):
                await plane.set(table(1, serial, held=held))
                found = (await plane.get(1)).table
                assert found is not None
                assert found.held == held
            assert await plane.delete(1)
            assert not await plane.delete(1)
        finally:
            await plane.close()

    asyncio.run(work())


def test_many_tables_at_once() -> None:
    async def work(plane: Nftables) -> None:
        put = [table(id_, 1, blocks=1024, held=(1 << 1024) - 1) for id_ in range(1, 256)]
        await asyncio.gather(*map(plane.set, put))
        assert [state.table for state in await plane.tables()] == put
        assert all(await asyncio.gather(*(plane.delete(one.id) for one in put)))
        assert await plane.tables() == []

    on_a_plane(work)


def saru(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "saru", "table", "--dataplane", "nftables", *words]
    return subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)


def test_the_commands() -> None:
    nothing = saru("list", "--json")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "[]\n", "")
    assert saru("get", "7").stderr == "saru: there is no table of id 7\n"
    words = "set 7 --blocks 16 --held 0-3,8 --lease 500s --seed 3 --term 4.1.2 --serial"
    done = saru(*words.split(), "9")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert saru("renew", "7", "--lease", "400s").returncode == 0
    (listed,) = json.loads(saru("list", "--json").stdout)
    assert listed["table"]["held"] == [[0, 3], [8, 8]]
    stale = saru(*words.split(), "8")
    assert (stale.returncode, stale.stderr) == (1, "saru: the version is older than the table's\n")
    text = saru("get", "7", "--packets").stdout
    assert "  version: 4.1.2/9\n  blocks: 16, seed 3\n  held: 5 (0-3,8)\n" in text
    assert saru("delete", "7").returncode == 0
    again = saru("delete", "7")
    assert (again.returncode, again.stderr) == (1, "saru: there is no table of id 7\n")


def test_watch_prints_events_until_interrupted() -> None:
    command = [sys.executable, "-m", "saru", "table", "--dataplane", "nftables", "watch", "--json"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as watch:
        lines: list[str] = []
        assert watch.stdout is not None
        reader = threading.Thread(target=lambda: lines.append(watch.stdout.readline()))  # type: ignore[union-attr]
        reader.start()

        async def work(plane: Nftables) -> None:
            serial = 0
            while not lines:  # it takes a while until it listens
                assert watch.poll() is None
                serial += 1
                await plane.set(table(9, serial))

        on_a_plane(work)
        reader.join()
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 0
    event = json.loads(lines[0])
    assert (event["event"], event["id"], event["users"], event["term"]) == ("set", 9, 0, "2.1.7")
