# SPDX-License-Identifier: GPL-2.0-or-later
"""nftables' rules as `saru rules` puts them in, and what they let in to a VIP.

A frame has a source MAC of its own. What is in the set `passed` afterwards got by Saru's rules, on
its way to IPVS and the host's own sockets.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyroute2 import netns

from saru import config, nft
from saru.config import Config
from saru.core.blocks import Sense
from saru.core.settings import Division
from saru.errors import OutageError
from saru.rules import install, nft_install
from saru.rules.model import Family
from saru.rules.nft_model import text
from tests import packets as p
from tests.net.netns import PATIENCE, eventually, ip
from tests.net.nft_table import table_of
from tests.net.wire import MAC, MULTICAST_MAC, Wire
from tests.vm.packet_table import CLIENT, ECHO, ICMP, VIP, answer, error, from_client, seen

DIVISIONS = (Division(1, 1024, 0), Division(2, 64, 0x5EED))
CONFIG = f"""
[director]
name = "walter"
dataplane = "nftables"
[[id]]
id = 1
[[id]]
id = 2
blocks = 64
seed = {0x5EED}
[link]
interface = "probe0"
mac = "{MULTICAST_MAC.hex(":")}"
mode = "multicast"
""" + "".join(
    f"""
[[service]]
vip = "{vip}"
ports = [80, 443]
[[service]]
vip = "{vip}"
protocol = "udp"
id = 2
"""
    for vip in VIP.values()
)
OWN = {4: "172.17.60.11", 6: "2001:db8:60::11"}
COUNT = """
table inet count {
    set passed { type ether_addr; size 65535; flags dynamic; }
    set host { type ether_addr; size 65535; flags dynamic; }
    chain behind {
        type filter hook input priority 50;
        add @passed { ether saddr } meta pkttype host add @host { ether saddr }
    }
}
"""


@dataclass(frozen=True)
class Case:
    """Packets, and whom they are for.

    `of` says by which id and sense the last one is judged; None: it is for `every` director, or for
    none. The fields are those of the client's connection.
    """

    description: str
    packets: tuple[bytes, ...]
    of: tuple[int, str] | None = None
    every: bool = False
    multicast: bool = False


def cases(version: int) -> list[Case]:
    web = from_client(version, p.TCP, p.ports(40000, 80))
    dns = from_client(version, p.UDP, p.udp(40000, 53))
    kind, reply = ECHO[version]
    echo = from_client(version, ICMP[version], p.icmp(kind))
    body = p.udp(40000, 53, bytes(56))
    if version == 4:
        parts = (
            from_client(4, p.UDP, body[:32], more=True),
            from_client(4, p.UDP, body[32:], offset=4),
        )
        unreachable, exceeded = p.UNREACHABLE, p.EXCEEDED
    else:
        parts = (
            from_client(6, p.FRAGMENT, p.fragment(p.UDP, 0, p.MORE) + body[:32]),
            from_client(6, p.FRAGMENT, p.fragment(p.UDP, 4) + body[32:]),
        )
        unreachable, exceeded = 1, 3
    ping = answer(version, ICMP[version], p.icmp(kind))
    return [
        Case("a service", (web,), (1, "src-port")),
        Case("a service, as a multicast frame", (web,), (1, "src-port"), multicast=True),
        Case(
            "its other port", (from_client(version, p.TCP, p.ports(40000, 443)),), (1, "src-port")
        ),
        Case("no service's port", (from_client(version, p.TCP, p.ports(40000, 81)),)),
        Case("a service of another id", (dns,), (2, "src-port")),
        Case("in two fragments", parts, (2, "src-port")),
        Case("in two fragments, the later one first", parts[::-1], (2, "src-port")),
        Case("no service's protocol", (from_client(version, p.SCTP, p.ports(40000, 80)),)),
        Case("a protocol without ports", (from_client(version, p.GRE, bytes(40)),)),
        Case("2 bytes of TCP", (from_client(version, p.TCP, b"\x9c\x40"),)),
        Case("ping", (echo,), (1, "src-addr")),
        Case("an echo reply", (from_client(version, ICMP[version], p.icmp(reply)),), every=True),
        Case("an error", (error(version, answer(version), unreachable),), (1, "src-port")),
        Case("another error", (error(version, answer(version), exceeded),), (1, "src-port")),
        Case("an error about a ping", (error(version, ping, unreachable),)),
        Case("0 bytes of ICMP", (from_client(version, ICMP[version], b""),)),
        Case(
            "for another address of this host",
            (p.ip(CLIENT[version], OWN[version], p.TCP, p.ports(40000, 80)),),
            every=True,
        ),
    ]


@pytest.fixture
def configured(tmp_path: Path, namespace: str) -> Config:  # noqa: ARG001 - made first
    path = tmp_path / "saru.conf"
    path.write_text(f'{CONFIG}[daemon]\nrun = "{tmp_path}"\n')
    return config.load(path)


def block_of(version: int, of: tuple[int, str]) -> int:
    """The block of the client's connection, by an id and a sense."""
    fields, division = seen(version).fields, DIVISIONS[of[0] - 1]
    assert fields is not None
    return fields.block(division.blocks, division.seed, Sense.parse(of[1]))


def noted(name: str) -> set[str]:
    (found,) = (each["set"] for each in nft.listing(f"list set inet count {name}") if "set" in each)
    return set(found.get("elem", []))


def show(wire: Wire, shown: Iterable[Case]) -> tuple[set[str], set[str]]:
    """The descriptions of those that got by, and of those marked as this host's."""
    nft.run("flush set inet count passed\nflush set inet count host\n")
    macs = {}
    for number, case in enumerate(shown):
        mac = bytes([2, 0, 0, 0]) + number.to_bytes(2, "big")
        macs[mac.hex(":")] = case.description
        for packet in case.packets:
            wire.send(packet, mac, MULTICAST_MAC if case.multicast else MAC)
    return {macs[mac] for mac in noted("passed")}, {macs[mac] for mac in noted("host")}


@pytest.mark.parametrize("version", [4, 6])
def test_who_lets_in_what(configured: Config, version: int) -> None:
    """Of two directors with half of the blocks each, one lets a packet in; neither does before."""
    shown = cases(version)
    every = {case.description for case in shown if case.every}
    with Wire() as wire:
        for address in (VIP[version], OWN[version]):
            subprocess.run(
                [
                    "ip",
                    "addr",
                    "add",
                    address,
                    "dev",
                    "probe0",
                    *(["nodad"] if version == 6 else []),
                ],
                check=True,
            )
        install.apply(configured)
        nft.run(COUNT)
        assert show(wire, shown)[0] == every
        passed = []
        for half in (0, 1):
            commands = (
                table_of(d, range(half * d.blocks // 2, (half + 1) * d.blocks // 2))
                for d in DIVISIONS
            )
            nft.run("".join(commands))
            here, host = show(wire, shown)
            assert here == host
            passed.append(here - every)
        for case in shown:
            by = [half for half in (0, 1) if case.description in passed[half]]
            if case.of is None:
                assert by == [], case.description
            else:
                division = DIVISIONS[case.of[0] - 1]
                assert by == [2 * block_of(version, case.of) // division.blocks], case.description


def apart(listed: str) -> str:
    """A listing without Saru's table."""
    return listed[: listed.index("table inet saru")] if "table inet saru" in listed else listed


def test_everything_else_stays_as_it_was(configured: Config) -> None:
    theirs = (
        "add table inet theirs\n"
        "add chain inet theirs input { type filter hook input priority 0; }\n"
        "add rule inet theirs input tcp dport 22 counter accept\n"
    )
    by_hand = "add chain inet saru by-hand\nadd rule inet saru by-hand drop\n"
    nft.run(theirs + table_of(DIVISIONS[0], range(8)) + by_hand)
    before = nft.run("list ruleset")
    assert install.check(configured) != []
    assert install.apply(configured)
    assert install.check(configured) == []
    assert apart(nft.run("list ruleset")) == apart(before)
    (blocks,) = (each["set"]["elem"] for each in nft.listing("list set inet saru held_1"))
    assert blocks == list(range(8))
    applied = nft.listing("list ruleset", elements=False)
    assert install.apply(configured) == []
    assert nft.listing("list ruleset", elements=False) == applied
    assert install.remove(configured)
    left = nft.listing("list table inet saru")
    assert [each["chain"]["name"] for each in left if "chain" in each] == ["by-hand"]
    assert len([each for each in left if "rule" in each]) == 1
    assert apart(nft.run("list ruleset")) == apart(before)
    assert install.remove(configured) == []


def test_what_show_prints_is_what_apply_puts_in(configured: Config) -> None:
    for _ in range(2):
        nft.run(text(configured))
        assert install.check(configured) == []


@pytest.mark.parametrize("mode", ["sync", "conntrack"])
def test_damage_is_named_and_mended(configured: Config, mode: str) -> None:
    """Rules for LVS-NAT among them. Of the settings that go with those this kernel lacks some."""
    assert configured.path is not None
    servers = 'real_servers = ["192.168.6.0/24", "fd00:6::/64"]'
    with configured.path.open("a") as more:
        more.write(f'[rules]\nmode = "{mode}"\n{servers}\n')
    full = config.load(configured.path)
    nft_install.apply(full)
    damages = {
        "flush ruleset": "table inet saru is missing",
        "delete table inet saru": "table inet saru is missing",
        "flush chain inet saru input": "chain input: missing: ip daddr",
        "delete rule inet saru nat handle HANDLE": "chain nat: missing: ip",
        "insert rule inet saru input accept": "chain input: 1 rules that nothing asks for",
        "flush chain inet saru forward; delete chain inet saru forward; "
        "add chain inet saru forward": "chain forward is not at its place: type filter hook",
        "add chain inet saru input { policy drop; }": "chain input is not at its place",
        "add table inet saru { flags dormant; }": "table inet saru is dormant",
    }
    for damage, named in damages.items():
        listed = nft.listing("list chain inet saru nat")
        handle = next(each["rule"]["handle"] for each in listed if "rule" in each)
        nft.run(damage.replace("HANDLE", str(handle)))
        found = nft_install.check(full)
        assert any(each.startswith(f"nftables: {named}") for each in found), (damage, found)
        assert nft_install.apply(full)
        assert nft_install.check(full) == []


def test_rules_for_the_other_data_plane_go(configured: Config) -> None:
    """Nobody fills the tables that they ask, so they would drop everything."""
    for program in ("iptables-nft", "ip6tables-nft"):
        for words in ("-N SARU-INPUT", "-A SARU-INPUT -j DROP", "-I INPUT -j SARU-INPUT"):
            subprocess.run([program, *words.split()], check=True)
    gone = "IPv4: filter: chain SARU-INPUT is there, but nothing asks for it"
    if install.variant(Family.IPV4) is install.Variant.NFTABLES:
        assert gone in install.check(configured)
    install.apply(configured)
    assert install.check(configured) == []


def test_a_refusal_changes_nothing(configured: Config) -> None:
    """Somebody else's set of another kind stands where Saru's should."""
    nft.run("add table inet saru\nadd set inet saru held_2 { type ipv4_addr; }\n")
    with pytest.raises(
        OutageError, match=r"^nftables: .*@held_2 .*; table inet saru has something else"
    ):
        install.apply(configured)
    assert "chain" not in nft.run("list table inet saru")


def test_established_connections_stay_and_new_ones_are_judged(
    configured: Config, namespace: str
) -> None:
    """With connection tracking: a director that loses a block keeps the connections it has."""
    assert configured.path is not None
    with configured.path.open("a") as more:
        more.write('[rules]\nmode = "conntrack"\n')
    tracked = config.load(configured.path)
    far = f"{namespace}-client"
    ip("netns", "add", far)
    try:
        ip("link", "add", "probe0", "type", "veth", "peer", "name", "eth0", "netns", far)
        for address, interface, where in ((VIP[4], "probe0", None), (OWN[4], "eth0", far)):
            ip("addr", "add", f"{address}/24", "dev", interface, namespace=where)
            ip("link", "set", interface, "up", namespace=where)
        install.apply(tracked)
        nft.run(table_of(DIVISIONS[0], range(1024)))
        with socket.create_server((VIP[4], 80)) as server:
            server.settimeout(PATIENCE)
            with in_namespace(far):
                client = socket.create_connection((VIP[4], 80), PATIENCE)
                other = socket.socket()
            other.setblocking(False)
            served, _ = server.accept()
            with client, other, served:
                nft.run(table_of(DIVISIONS[0], ()))
                before = dropped()
                other.connect_ex((VIP[4], 80))
                eventually("a new connection is refused", lambda: dropped() > before)
                client.sendall(b"still there?")
                served.settimeout(PATIENCE)
                assert served.recv(100) == b"still there?"
                served.sendall(b"yes")
                assert client.recv(100) == b"yes"
                assert other.connect_ex((VIP[4], 80)) == errno.EALREADY
    finally:
        ip("netns", "del", far)


def dropped() -> int:
    """How many packets to the IPv4 VIP no rule has let in."""
    rules = [each["rule"] for each in nft.listing("list chain inet saru input") if "rule" in each]
    drops = [
        rule["expr"] for rule in rules if "drop" in rule["expr"][-1] and len(rule["expr"]) == 3
    ]
    (count,) = (expr[1]["counter"]["packets"] for expr in drops if VIP[4] in str(expr[0]))
    assert isinstance(count, int)
    return count


@contextlib.contextmanager
def in_namespace(name: str) -> Iterator[None]:
    """Sockets made inside are another namespace's."""
    netns.pushns(name)
    try:
        yield
    finally:
        netns.popns()


def test_no_packet_gets_by_while_rules_are_replaced(configured: Config) -> None:
    """Nothing is held; the rules are made anew again and again, the chains' places with them."""
    web = from_client(4, p.TCP, p.ports(40000, 80))
    mac = bytes.fromhex("020000000001")
    with Wire() as wire:
        subprocess.run(["ip", "addr", "add", VIP[4], "dev", "probe0"], check=True)
        install.apply(configured)
        nft.run(COUNT)
        done = threading.Event()
        sent = 0

        def flood() -> None:
            nonlocal sent
            while not done.is_set():
                wire.send(web, mac)
                sent += 1

        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            for damage in 8 * (
                "add rule inet saru input accept",
                "add chain inet saru input { policy drop; }",
            ):
                nft.run(damage)
                assert nft_install.apply(configured)
        finally:
            done.set()
            flooding.join()
        assert sent > 1000
        assert noted("passed") == set()
        nft.run(table_of(DIVISIONS[0], range(1024)))
        wire.send(web, mac)
        assert noted("passed") == {mac.hex(":")}
