# SPDX-License-Identifier: GPL-2.0-or-later
"""The guard over nftables' own rules: no rules, no VIP, and both back at once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from saru import config, nft
from saru.config import Config, DataplaneKind, RulesMode
from saru.dataplane import TableState
from saru.dataplane.choice import made
from saru.dataplane.nftables import Nftables
from saru.errors import OutageError, SaruError
from saru.link import shared
from saru.link.interface import Interface
from saru.link.shared import Address
from saru.rules import install
from saru.rules.guard import Guard
from tests.net.netns import PATIENCE, ip

VIP, VIP6 = "172.17.60.201/16", "fd00:17::201/64"
CONFIG = f"""
[director]
name = "walter"
dataplane = "nftables"
[link]
interface = "eth0"
mac = "00:50:56:14:03:40"
addresses = ["{VIP}", "{VIP6}"]
[[service]]
vip = "172.17.60.201"
[[service]]
vip = "fd00:17::201"
ports = [80, 443]
"""
LOSSES = [
    "flush ruleset",
    "delete table inet saru",
    "flush chain inet saru input; delete chain inet saru input",
    "delete rule inet saru input handle HANDLE",
    "replace rule inet saru input handle HANDLE counter",
    "insert rule inet saru input accept",
    "add table inet saru { flags dormant; }",
]


class Told:
    """What the guard tells, and what it logs."""

    def __init__(self) -> None:
        self.changes: list[bool] = []
        self.lines: list[str] = []
        self._news = asyncio.Event()

    def change(self, ok: bool, why: str) -> None:
        self.changes.append(ok)
        self.say(why)

    def say(self, line: str) -> None:
        self.lines.append(line)
        self._news.set()

    async def until(self, what: str, true: Callable[[], object]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not true():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: {self.changes} {self.lines}") from None


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """An ear for the guard."""
    told = Told()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.say(record.getMessage())

    logger = logging.getLogger("saru")
    monkeypatch.setattr(logger, "handlers", [Ear()])
    level = logger.level
    logger.setLevel(logging.INFO)  # an assignment leaves the cache of what was too low
    yield told
    logger.setLevel(level)


@pytest.fixture
def director(tmp_path: Path, namespace: str) -> Iterator[Config]:  # noqa: ARG001 - made first
    """Rules and link as configured; eth0 leads to its peer."""
    path = tmp_path / "saru.conf"
    path.write_text(f'{CONFIG}[daemon]\nrun = "{tmp_path}"\n')
    found = config.load(path)
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "far")
    ip("link", "set", "far", "up")
    install.apply(found)
    shared.up(found)
    yield found
    shared.down(found)


def mark(director: Config) -> Path:
    """That VIPs have been taken off."""
    return director.daemon.run / "guard.vip-off"


def addresses() -> str:
    shown = subprocess.run(
        ["ip", "addr", "show", "eth0"], check=True, capture_output=True, text=True
    )
    return shown.stdout


def test_rules_that_go_take_the_vip_with_them_and_come_back(director: Config, told: Told) -> None:
    async def scenario(guard: Guard) -> None:
        await told.until("its first word", lambda: told.changes == [True])
        for number, loss in enumerate(LOSSES, 1):
            rules = nft.listing("list chain inet saru input")
            handle = next(each["rule"]["handle"] for each in rules if "rule" in each)
            assert VIP in addresses()
            told.lines.clear()
            nft.run(loss.replace("HANDLE", str(handle)))
            expected = [True, *[False, True] * number]
            await told.until(loss, lambda expected=expected: told.changes == expected)  # type: ignore[misc]
            assert await asyncio.to_thread(install.check, director) == []
            # A notice of what went may come late: the addresses go and come once more.
            async with asyncio.timeout(PATIENCE):
                while await asyncio.to_thread(shared.check, director):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert (await guard.status()).state == "rules in place"
            said = "\n".join(told.lines)
            for address in (VIP, VIP6):
                gone = said.index(f"walter: eth0: {address} removed: ")
                back = said.index("walter: rules put back: nftables: ")
                assert gone < back < said.index(f"walter: eth0: {address} added: rules in place")

    asyncio.run(guarded(director, told, scenario))


def test_what_cannot_be_put_back_keeps_the_vip_off(director: Config, told: Told) -> None:
    async def scenario(guard: Guard) -> None:
        await told.until("its first word", lambda: told.changes == [True])
        nft.run(
            "delete table inet saru; add table inet saru; "
            "add set inet saru held_1 { type ipv4_addr; }"
        )
        complaint = "cannot put the rules back: nftables: "
        await told.until(complaint, lambda: complaint in "\n".join(told.lines))
        assert told.changes == [True, False]
        assert VIP not in addresses()
        assert VIP6 not in addresses()
        status = await guard.status()
        assert not status.ok
        assert status.vip == "taken off eth0"
        assert status.state.startswith("rules not in place: nftables: ")
        nft.run("delete table inet saru")
        await told.until("the rules' return", lambda: told.changes[-1])
        assert VIP in addresses()

    asyncio.run(guarded(director, told, scenario))


def test_who_watches_no_more_takes_the_vip_off_and_the_next_one_puts_it_back(
    director: Config, told: Told
) -> None:
    async def ends(guard: Guard) -> None:
        await told.until("its first word", lambda: told.changes == [True])
        await guard.retire()
        assert VIP not in addresses()
        assert VIP6 not in addresses()
        nft.run("flush ruleset")  # it sees that, and does not put the VIP back
        await told.until("the rules' return", lambda: "walter: rules put back" in str(told.lines))

    async def begins(guard: Guard) -> None:
        assert VIP not in addresses()
        await told.until("its first word", lambda: told.changes[-1])
        assert VIP in addresses()
        assert VIP6 in addresses()
        assert (await guard.status()).vip == "up on eth0"

    async def both() -> None:
        await guarded(director, told, ends)
        told.changes[:] = [False]
        await guarded(director, told, begins)

    asyncio.run(both())


def test_with_connection_tracking_the_vip_stays(director: Config, told: Told) -> None:
    """Connections that this director has go on without a daemon."""

    async def ends(guard: Guard) -> None:
        await told.until("its first word", lambda: told.changes[-1:] == [True])
        await guard.retire()
        assert VIP in addresses()

    tracking = msgspec.structs.replace(
        director, rules=msgspec.structs.replace(director.rules, mode=RulesMode.CONNTRACK)
    )
    install.apply(tracking)
    asyncio.run(guarded(tracking, told, ends))


def test_a_link_that_is_not_up_is_told(director: Config, told: Told) -> None:
    """Nobody's fault but the operator's, who may have a reason: it is said, not mended."""

    async def scenario(guard: Guard) -> None:
        await told.until("its first word", lambda: told.changes == [True])
        status = await guard.status()
        assert (status.vip, status.lacking) == ("up on eth0", ())
        ip("addr", "del", VIP, "dev", "eth0")
        assert (await guard.status()).lacking == (f"eth0: {VIP} is missing",)
        await asyncio.to_thread(shared.down, director)
        status = await guard.status()
        assert status.vip == "not up on eth0"
        assert any("its MAC is" in each for each in status.lacking)
        ip("link", "set", "eth0", "name", "eth9")
        (why,) = (await guard.status()).lacking
        ip("link", "set", "eth9", "name", "eth0")
        assert why.startswith("there is no interface eth0; ")

    asyncio.run(guarded(director, told, scenario))


def test_an_interface_that_carries_nothing_holds_nothing(director: Config, told: Told) -> None:
    """Down here, unplugged at the other end, gone: it is told, and what was lost is put back."""
    troubles = [
        (("set", "eth0", "down"), ("set", "eth0", "up"), "eth0: is down"),
        (("set", "far", "down"), ("set", "far", "up"), "eth0: has no carrier"),
        (
            ("set", "eth0", "down", "name", "eth9"),
            ("set", "eth9", "name", "eth0", "up"),
            "there is no interface eth0",
        ),
    ]

    async def scenario(guard: Guard) -> None:
        await told.until("its first word", lambda: told.changes == [True])
        for number, (out, back, why) in enumerate(troubles, 1):
            ip("link", *out)
            expected = [True, *[False, True] * number]
            await told.until(why, lambda expected=expected: told.changes == expected[:-1])  # type: ignore[misc]
            status = await guard.status()
            assert (status.ok, status.state) == (False, why)
            assert f"walter: {why}: no client reaches it" in told.lines
            ip("link", *back)
            await told.until("the return", lambda expected=expected: told.changes == expected)  # type: ignore[misc]
            assert await asyncio.to_thread(shared.check, director) == []
            assert VIP6 in addresses()
            assert (await guard.status()).state == "rules in place"

    asyncio.run(guarded(director, told, scenario))


def test_a_flood_of_elements_is_no_loss_of_rules(director: Config, told: Told) -> None:
    """Each block that a data plane writes is a notice."""

    async def scenario(guard: Guard) -> None:
        await told.until("its first word", lambda: told.changes == [True])
        blocks = ", ".join(map(str, range(65536)))
        await asyncio.to_thread(nft.run, f"add element inet saru held_1 {{ {blocks} }}")
        nft.run("delete table inet saru")
        await told.until("the loss that came last", lambda: told.changes == [True, False, True])
        assert (await guard.status()).ok

    asyncio.run(guarded(director, told, scenario))


@pytest.mark.parametrize("way", ["add_addresses", "up"])
def test_no_vip_comes_on_behind_one_who_watches_no_more(
    director: Config, told: Told, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Somebody is about to put it on, after lost rules or a lost carrier, when the watch ends."""
    begun, removed, done = threading.Event(), threading.Event(), threading.Event()
    put, remove = getattr(shared, way), shared.remove_addresses

    def putting(config: Config) -> list[str]:
        begun.set()
        removed.wait(0.5)  # in vain, if the two wait for each other as they should
        try:
            return cast(list[str], put(config))
        finally:
            done.set()

    def removing(config: Config, before: Callable[[], None] | None = None) -> list[str]:
        lines = remove(config, before)
        removed.set()
        return lines

    async def scenario(guard: Guard) -> None:
        if way == "up":
            await told.until("its first word", lambda: told.changes == [True])
            ip("link", "set", "eth0", "down")
            await told.until("the loss", lambda: told.changes == [True, False])
            ip("link", "set", "eth0", "up")
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        await guard.retire()
        assert await asyncio.to_thread(done.wait, PATIENCE)
        assert VIP not in addresses()
        assert VIP6 not in addresses()
        assert mark(director).exists()

    if way == "add_addresses":
        shared.remove_addresses(director, mark(director).touch)
    monkeypatch.setattr(shared, way, putting)
    monkeypatch.setattr(shared, "remove_addresses", removing)
    asyncio.run(guarded(director, told, scenario))


def test_one_who_fails_in_the_middle_of_taking_vips_off_leaves_that_to_the_next(
    director: Config, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = Interface.remove_address

    def fails(interface: Interface, address: Address) -> bool:
        if str(address) == VIP6:
            raise OutageError("eth0: cannot remove it")
        return remove(interface, address)

    with monkeypatch.context() as patched:
        patched.setattr(Interface, "remove_address", fails)
        asyncio.run(Guard(director, made(DataplaneKind.NFTABLES)).retire())
    assert VIP not in addresses()
    assert VIP6 in addresses()
    asyncio.run(guarded(director, told, in_place(told)))
    assert VIP in addresses()
    assert not mark(director).exists()


def test_vips_that_were_not_on_are_not_put_on(director: Config, told: Told) -> None:
    shared.down(director)
    asyncio.run(Guard(director, made(DataplaneKind.NFTABLES)).retire())
    assert not mark(director).exists()
    ip("link", "set", "eth0", "up", "name", "eth9")
    asyncio.run(Guard(director, made(DataplaneKind.NFTABLES)).retire())
    ip("link", "set", "eth9", "down", "name", "eth0")
    assert "cannot take the VIP off: there is no interface eth0" in "\n".join(told.lines)
    assert not mark(director).exists()


def test_the_vip_goes_even_if_that_cannot_be_marked(
    director: Config, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    asyncio.run(Guard(director, made(DataplaneKind.NFTABLES)).retire())
    assert VIP not in addresses()
    assert "nobody will put the VIP back" in "\n".join(told.lines)


def test_it_leaves_the_blocks_unread(
    director: Config, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To list them takes long, in the thread that renews leases."""

    async def get(*_: object) -> TableState:
        raise SaruError("nftables' rules change faster than a table can be listed")

    monkeypatch.setattr(Nftables, "get", get)
    asyncio.run(guarded(director, told, in_place(told)))


def in_place(told: Told) -> Callable[[Guard], object]:
    """The scenario of a guard that finds all well."""

    async def scenario(_: Guard) -> None:
        await told.until("its first word", lambda: told.changes)
        assert told.changes == [True]

    return scenario


async def guarded(director: Config, told: Told, scenario: Callable[[Guard], object]) -> None:
    """Run a scenario under a guard."""
    dataplane = made(DataplaneKind.NFTABLES)
    await dataplane.open()
    guard = Guard(director, dataplane)
    running = asyncio.create_task(guard.run(told.change))
    try:
        await scenario(guard)  # type: ignore[misc]
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await dataplane.close()


def test_an_interface_that_is_back_before_the_rules_waits_for_them(
    director: Config, told: Told
) -> None:
    shared.remove_addresses(director, lambda: None)
    asyncio.run(Guard(director, made(DataplaneKind.NFTABLES))._link_back())
    assert VIP not in addresses()
    assert VIP6 not in addresses()
    asyncio.run(guarded(director, told, in_place(told)))
    assert VIP in addresses()
    assert VIP6 in addresses()
    assert not mark(director).exists()
