# SPDX-License-Identifier: GPL-2.0-or-later
"""LVS-NAT's part of nftables' own rules, and what is never sent back, with real connections.

                 far ---- eth0  director  eth1 ---- server

All directors receive what a real server sends of its own accord; the one with the block sends it
on, with its own address.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from saru import config, nft
from saru.core.blocks import range_block
from saru.core.settings import Division
from saru.rules import nft_install
from tests.net.netns import PATIENCE, eventually, ip
from tests.net.nft_table import table_of
from tests.net.test_nft_rules import in_namespace

DIVISION = Division(1, 1024, 0)
ADDRESSES = {
    4: {
        "far": "172.17.60.9",
        "eth0": "172.17.60.11",
        "eth1": "192.168.6.11",
        "server": "192.168.6.4",
    },
    6: {"far": "fd00:17::9", "eth0": "fd00:17::11", "eth1": "fd00:6::11", "server": "fd00:6::4"},
}
LENGTH = {4: 24, 6: 64}
PORT = 40000
CONFIG = """
[director]
name = "walter"
dataplane = "nftables"
[rules]
mode = "{mode}"
real_servers = ["192.168.6.0/24", "fd00:6::/64"]
[link]
interface = "eth0"
mac = "00:50:56:14:03:40"
[[service]]
vip = "172.17.60.201"
[[service]]
vip = "fd00:17::201"
"""


@pytest.fixture(params=["sync", "conntrack"])
def director(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> Iterator[None]:
    """This namespace is a director between the two others, with its rules, in either mode."""
    for name in ("far", "server"):
        ip("netns", "add", f"{namespace}-{name}")
    try:
        for interface, other in (("eth0", "far"), ("eth1", "server")):
            there = f"{namespace}-{other}"
            ip("link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", there)
            ends = ((interface, interface, None), (other, "eth0", there))
            for version, addresses in ADDRESSES.items():
                for who, device, where in ends:
                    words = ["addr", "add", f"{addresses[who]}/{LENGTH[version]}", "dev", device]
                    ip(*words, *(["nodad"] if version == 6 else []), namespace=where)
            for _, device, where in ends:
                ip("link", "set", device, "up", namespace=where)
        for version, addresses in ADDRESSES.items():
            words = [f"-{version}", "route", "add", "default", "via", addresses["eth1"]]
            ip(*words, namespace=f"{namespace}-server")
        for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path("/proc/sys/net", key).write_text("1", encoding="ascii")
        path = tmp_path / "saru.conf"
        path.write_text(CONFIG.format(mode=request.param))
        nft_install.apply(config.load(path))
        yield
    finally:
        for name in ("far", "server"):
            ip("netns", "del", f"{namespace}-{name}")


@pytest.mark.usefixtures("director")
@pytest.mark.parametrize("version", [4, 6])
def test_one_director_sends_on_what_a_real_server_begins(namespace: str, version: int) -> None:
    addresses = ADDRESSES[version]
    family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
    mine = range_block(PORT, 16, DIVISION.blocks)
    every = set(range(DIVISION.blocks))
    with contextlib.ExitStack() as stack:
        with in_namespace(f"{namespace}-far"):
            far = stack.enter_context(socket.create_server((addresses["far"], 80), family=family))
        with in_namespace(f"{namespace}-server"):
            begun = stack.enter_context(socket.socket(family))
        begun.bind((addresses["server"], PORT))
        begun.setblocking(False)
        nft.run(table_of(DIVISION, every - {mine}))
        begun.connect_ex((addresses["far"], 80))
        eventually("another director's to send", lambda: dropped(addresses["server"]) > 0)
        nft.run(table_of(DIVISION, {mine}))
        far.settimeout(PATIENCE)
        taken, peer = far.accept()  # the server asks again after a second
        with taken:
            assert peer[0] == addresses["eth0"]
            begun.settimeout(PATIENCE)
            taken.sendall(b"answer")
            assert begun.recv(100) == b"answer"
            # Established: whatever becomes of the block, it goes on here.
            nft.run(table_of(DIVISION, ()))
            begun.sendall(b"thanks")
            taken.settimeout(PATIENCE)
            assert taken.recv(100) == b"thanks"


def dropped(source: str) -> int:
    """How many packets of real servers of that family were left to other directors."""
    listed = nft.listing("list chain inet saru postrouting")
    rules = [each["rule"]["expr"] for each in listed if "rule" in each]
    word = "ip6" if ":" in source else "ip"
    (last,) = (
        rule
        for rule in rules
        if len(rule) == 3
        and "drop" in rule[2]
        and rule[0]["match"]["left"]["payload"]["protocol"] == word
    )
    count = last[1]["counter"]["packets"]
    assert isinstance(count, int)
    return count


@pytest.mark.usefixtures("director")
@pytest.mark.parametrize("version", [4, 6])
def test_nothing_is_forwarded_back_out_of_the_vips_interface(namespace: str, version: int) -> None:
    """Without the rule it is: the route leads where the packet came from."""
    beyond = {4: "10.1.1.1", 6: "fd00:10::1"}[version]
    family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
    addresses = ADDRESSES[version]
    ip("route", "add", beyond, "via", addresses["far"])
    ip("route", "add", beyond, "via", addresses["eth0"], namespace=f"{namespace}-far")
    nft.run(
        "add table inet count; add chain inet count behind "
        f"{{ type filter hook forward priority 10; }}; add counter inet count {SENT}; "
        f"add rule inet count behind udp dport 9 counter name {SENT} drop"
    )
    with in_namespace(f"{namespace}-far"):
        sender = socket.socket(family, socket.SOCK_DGRAM)
    with sender:
        sender.sendto(b"", (beyond, 9))
        eventually("the packet is here", lambda: counted("list chain inet saru forward") == 1)
        assert counted(f"list counter inet count {SENT}") == 0
        nft.run("flush chain inet saru forward")
        sender.sendto(b"", (beyond, 9))
        eventually("the next is sent on", lambda: counted(f"list counter inet count {SENT}") == 1)


SENT = "sent_on"


def counted(words: str) -> int:
    """What the first counter of a listing says."""
    for each in nft.listing(words):
        if "counter" in each:
            return int(each["counter"]["packets"])
        for part in each.get("rule", {}).get("expr", ()):
            if "counter" in part:
                return int(part["counter"]["packets"])
    raise AssertionError(f"no counter: {words}")
