# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks that nftables lets go: gone for sure, and for every CPU, before anybody is told."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from saru import nft
from saru.dataplane import grace, hurry, layout
from saru.dataplane.elements import Request
from saru.dataplane.netfilter import Netfilter, RefusedError
from saru.dataplane.nftables import Nftables
from saru.errors import OutageError, SaruError
from tests.dataplane_checks import refused, table
from tests.net.nft_plane import listed_short, on_a_plane


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
        await listed_short(plane, put, monkeypatch)
        waits.clear()
        if renewed:
            await plane.renew(1, put.version, put.deadline + 1)
        await plane.set(table(1, 6, held=0b0011))
        assert waits == ["waited"]
        await plane.set(table(1, 7, held=0b0111))
        assert waits == ["waited"]  # what it has put there itself it knows

    on_a_plane(work)


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
