# SPDX-License-Identifier: GPL-2.0-or-later
"""One session with a real ZooKeeper server: what is asked is answered, and its end is seen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from deploy.lab.zookeeper import Ensemble
from saru.config.duration import MS
from saru.membership.keeper import Keeper
from saru.membership.znode import Check, LostError, Make, Put, RacedError, Tie
from tests.net.ensembles import PATIENCE, ensemble, run, settings, until


@pytest.fixture(name="server", scope="module")
def one_server() -> Iterator[Ensemble]:
    with ensemble(1) as made:
        yield made


SESSION = 1000 * MS
PATIENT, HANG = 60_000 * MS, 400 * MS


async def opened(made: Ensemble, ties: list[Tie] | None = None, hang: int = PATIENT) -> Keeper:
    keeper = Keeper(settings(made, SESSION), (), (ties if ties is not None else []).append, hang)
    with made.inside():
        keeper.open()
    await until("the session begins", lambda: keeper.tie is Tie.CONNECTED)
    return keeper


async def until_there(keeper: Keeper, path: str, count: int) -> None:
    """Wait until a znode has so many children."""
    changed = asyncio.Event()
    while len((await keeper.children(path, changed.set)).names) < count:
        await changed.wait()
        changed.clear()


def test_znodes(server: Ensemble) -> None:
    async def work() -> None:
        keeper = await opened(server)
        await keeper.ensure("/znodes")
        assert await keeper.get("/znodes/a") is None
        made = await keeper.create("/znodes/a", b"1", ephemeral=True)
        assert (made.data, made.version, made.owner) == (b"1", 0, keeper.session)
        put = await keeper.put("/znodes/a", b"2", made.version)
        assert (put.czxid, put.version) == (made.czxid, 1)
        assert await keeper.get("/znodes/a") == put
        assert (await keeper.children("/znodes")).names == ("a",)
        with pytest.raises(RacedError):
            await keeper.put("/znodes/a", b"3", made.version)
        with pytest.raises(RacedError):
            await keeper.create("/znodes/a")
        assert await keeper.delete("/znodes/a")
        assert not await keeper.delete("/znodes/a")
        assert keeper.server == server.hosts[0]
        await keeper.close(10)

    run(work())


def test_a_transaction_is_all_or_nothing(server: Ensemble) -> None:
    async def work() -> None:
        keeper = await opened(server)
        await keeper.ensure("/transaction")
        await keeper.commit(Make("/transaction/a", b"1"), Make("/transaction/b", b"1"))
        await keeper.commit(Check("/transaction/b", 0), Put("/transaction/a", b"2", 0))
        with pytest.raises(RacedError, match="NoNode") as why:
            await keeper.commit(Put("/transaction/a", b"3", 1), Check("/transaction/c", 0))
        assert why.value.place == 1
        found = await keeper.get("/transaction/a")
        assert found is not None
        assert found.data == b"2"
        await keeper.close(10)

    run(work())


def test_watches_are_told_on_the_loop(server: Ensemble) -> None:
    async def work() -> None:
        keeper = await opened(server)
        await keeper.ensure("/watches")
        told: list[str] = []
        await keeper.children("/watches", lambda: told.append("children"))
        await keeper.exists("/watches/a", lambda: told.append("made"))
        await keeper.create("/watches/a")
        await until("both are told", lambda: sorted(told) == ["children", "made"])
        await keeper.get("/watches/a", lambda: told.append("changed"))
        await keeper.put("/watches/a", b"1")
        await until("the change is told", lambda: "changed" in told)
        await keeper.close(10)

    run(work())


def test_the_end_of_a_session_is_final(server: Ensemble) -> None:
    """kazoo would go on with another one; what was open is answered."""

    async def work() -> None:
        ties: list[Tie] = []
        keeper = await opened(server, ties)
        await keeper.create("/mine", ephemeral=True)
        server.expire(keeper.session)
        await until("it is lost", lambda: keeper.tie is Tie.LOST)
        assert ties[-1] is Tie.LOST
        with pytest.raises(LostError):
            await keeper.put("/mine", b"")
        await keeper.close(10)
        assert ties[-1] is Tie.LOST
        other = await opened(server)
        assert await other.get("/mine") is None
        await other.close(10)

    run(work())


def test_a_frozen_server_loses_what_is_open(server: Ensemble) -> None:
    async def work() -> None:
        keeper = await opened(server)
        server.servers[0].freeze()
        try:
            with pytest.raises(LostError):
                await keeper.create("/frozen", ephemeral=True)
            await until("the connection is missed", lambda: keeper.tie is not Tie.CONNECTED)
        finally:
            server.servers[0].thaw()
        await until("it is over", lambda: keeper.tie in (Tie.LOST, Tie.CONNECTED))
        await keeper.close(10)

    run(work())


def test_one_is_elected_and_then_the_next(server: Ensemble) -> None:
    async def work() -> None:
        keepers = [await opened(server) for _ in range(3)]
        await keepers[0].ensure("/election")
        elected: list[tuple[int, str]] = []

        def note(number: int, path: str) -> None:
            elected.append((number, path))

        candidacies = []
        for number, keeper in enumerate(keepers):
            candidacies.append(keeper.stand("/election", f"n{number}", partial(note, number)))
            await until_there(keeper, "/election", number + 1)
        await until("the first is elected", lambda: elected)
        number, path = elected[0]
        node = await keepers[0].get(path)
        assert node is not None
        assert (number, node.owner, node.data) == (0, keepers[0].session, b"n0")
        candidacies[1].withdraw()
        candidacies[0].withdraw()
        await until("the next is elected", lambda: len(elected) == 2)
        assert elected[1][0] == 2
        server.expire(keepers[2].session)
        again = keepers[0].stand("/election", "n0", partial(note, 0))
        await until("the one who stands again", lambda: len(elected) == 3)
        again.withdraw()
        for keeper in keepers:
            await keeper.close(10)

    run(work())


def test_a_loop_that_hangs_ends_its_session(server: Ensemble) -> None:
    """kazoo's own thread would keep it alive."""

    async def work() -> None:
        ties: list[Tie] = []
        keeper = await opened(server, ties, HANG)
        await keeper.create("/hung", ephemeral=True)
        with server.client() as client:  # its threads go on while this one hangs
            left = threading.Event()
            there = client.exists("/hung", watch=lambda _: left.set())
            assert there is None or left.wait(PATIENCE), "the session of a loop that hangs lives on"
        await until("it learns of it", lambda: ties[-1] is Tie.LOST)
        await keeper.close(10)

    run(work())
