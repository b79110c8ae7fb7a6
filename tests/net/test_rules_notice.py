# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel tells of nftables' changes, and what the guard makes of it."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from saru import config, nft
from saru.config import Config, Protocol, RulesMode, Service
from saru.dataplane.netfilter import GROUP
from saru.link.mask import Mask
from saru.rules import install, nft_install
from saru.rules.model import Family, RuleSet, rule_set
from saru.rules.notice import Notice, Notices
from tests.net.test_rules_install import stand_in

PATIENCE = 20.0  # seconds


@pytest.fixture
def told() -> Iterator[socket.socket]:
    """A socket with nftables' notices of this namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as notices:
        notices.bind((0, 0))
        notices.setsockopt(270, 1, GROUP)
        notices.setblocking(False)
        yield notices


def rules() -> RuleSet:
    service = Service("172.17.60.201", Protocol.TCP, (80,), 1)
    return stand_in(rule_set(Family.IPV4, [service], RulesMode.SYNC, interface="eth0"))


def notices_of(told: socket.socket, *words: str) -> list[Notice]:
    """The notices that a command brings about."""
    notices = Notices()
    found: list[Notice] = []
    subprocess.run(words, check=True, capture_output=True)
    # A change that Saru looks at comes last, so that it is clear when all was read.
    subprocess.run(["nft", "add", "table", "ip", "mangle"], check=True)
    subprocess.run(["nft", "delete", "table", "ip", "mangle"], check=True)
    while found[-1:] != [Notice.GONE] or len(found) < 2 or found[-2] is not Notice.LOOK:
        ready, _, _ = select.select([told], [], [], PATIENCE)
        assert ready, f"the kernel told nothing more; so far {found}"
        with contextlib.suppress(BlockingIOError):
            found += notices.feed(told.recv(1 << 18))
    return found[:-2]


def forget(told: socket.socket) -> None:
    """What was told so far is of no interest."""
    with contextlib.suppress(BlockingIOError):
        while True:
            told.recv(1 << 18)


@pytest.fixture
def nftables(tmp_path: Path) -> Config:
    """A configuration whose rules are nftables' own."""
    path = tmp_path / "saru.conf"
    path.write_text(
        '[director]\nname = "walter"\ndataplane = "nftables"\n'
        '[[service]]\nvip = "172.17.60.201"\nports = [80]\n'
    )
    return config.load(path)


CASES = [
    (("iptables-nft", "-A", "INPUT", "-p", "udp"), [Notice.LOOK]),
    (("iptables-nft", "-D", "INPUT", "-j", "SARU-INPUT"), [Notice.GONE]),
    (("iptables-nft", "-D", "SARU-INPUT", "1"), [Notice.GONE]),
    (("iptables-nft", "-F"), [Notice.GONE]),
    (("nft", "flush", "ruleset"), [Notice.GONE]),
    (("nft", "delete", "table", "netdev", "saru-link-lo"), [Notice.MASK_GONE]),
    (("nft", "flush", "chain", "netdev", "saru-link-lo", "out"), [Notice.MASK_GONE]),
    (("nft", "add", "table", "inet", "others"), []),
    (("ip6tables-nft", "-A", "OUTPUT", "-p", "udp"), [Notice.LOOK]),
]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_what_a_change_means(
    told: socket.socket, words: tuple[str, ...], expected: list[Notice]
) -> None:
    install.apply_sets([rules()])
    Mask("lo", "00:50:56:14:03:40", "02:00:00:00:00:01").install()
    subprocess.run(["iptables-nft", "-A", "SARU-INPUT", "-j", "DROP"], check=True)
    forget(told)
    found = notices_of(told, *words)
    assert found == expected


OWN_CASES = [
    ("delete table inet saru", [Notice.GONE]),
    ("flush ruleset", [Notice.GONE]),
    ("flush chain inet saru input", [Notice.GONE]),
    ("delete rule inet saru input handle HANDLE", [Notice.GONE]),
    ("delete table inet saru; add table inet saru; add chain inet saru input", [Notice.GONE]),
    ("replace rule inet saru input handle HANDLE accept", [Notice.LOOK]),
    ("insert rule inet saru input accept", [Notice.LOOK]),
    ("add table inet saru { flags dormant; }", [Notice.LOOK]),
    ("add element inet saru held_1 { 7 }", []),
    ("flush set inet saru held_1", []),
    ("add table ip saru; add chain ip saru input", []),
]


@pytest.mark.parametrize(("commands", "expected"), OWN_CASES)
def test_what_a_change_of_nftables_own_rules_means(
    told: socket.socket, nftables: Config, commands: str, expected: list[Notice]
) -> None:
    nft_install.apply(nftables)
    nft.run("add element inet saru held_1 { 5 }")
    handle = next(
        each["rule"]["handle"]
        for each in nft.listing("list chain inet saru input")
        if "rule" in each
    )
    forget(told)
    assert notices_of(told, "nft", commands.replace("HANDLE", str(handle))) == expected


def test_putting_nftables_own_rules_back_is_not_losing(
    told: socket.socket, nftables: Config
) -> None:
    nft_install.apply(nftables)
    for damage in (
        "insert rule inet saru input accept",
        "add chain inet saru input { policy drop; }",
    ):
        nft.run(damage)
        forget(told)
        assert nft_install.apply(nftables)
        assert notices_of(told, "true") == [Notice.LOOK]


def test_replacing_is_not_losing(told: socket.socket) -> None:
    """Saru's own repairs, rules and mask, raise no alarm."""
    mask = Mask("lo", "00:50:56:14:03:40", "02:00:00:00:00:01")
    install.apply_sets([rules()])
    mask.install()
    subprocess.run(["iptables-nft", "-A", "SARU-INPUT", "-j", "DROP"], check=True)
    forget(told)
    install.apply_sets([rules()])
    mask.install()
    found = notices_of(told, "true")
    assert found
    assert set(found) == {Notice.LOOK}


def test_what_is_no_message_is_passed_over() -> None:
    for noise in (
        b"",
        b"\0" * 3,
        b"\0" * 64,
        b"\xff" * 64,
        b"\x14\0\0\0" + b"\x08\x0a" + b"\0" * 14,
    ):
        assert list(Notices().feed(noise)) == []
