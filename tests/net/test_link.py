# SPDX-License-Identifier: GPL-2.0-or-later
"""The link on a real switch: a bridge that learns, with a director and a client on its ports.

[ this namespace ]                 [ client ]      [ other director ]
      eth0                            eth0               eth0
        |                              |                   |
     +--+------------------------------+-------------------+--+
     |  p0                            p1                   p2 |   bridge, in a namespace
     +--------------------------------------------------------+   of its own ("switch")
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyroute2 import netns

from saru import config as configuration
from saru.errors import ConfigError, OutageError
from saru.link import shared

SHARED = "00:50:56:14:03:40"
GROUP = "01:50:56:14:03:40"
OWN = "02:00:00:00:00:11"
VIP, VIP6 = "172.17.60.201", "fd00:17::201"
PATIENCE = 20.0  # seconds


def sh(*words: str, namespace: str | None = None) -> str:
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    done = subprocess.run([*inside, *words], check=True, capture_output=True, text=True)
    return done.stdout


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


@dataclass
class Wire:
    """The namespaces around this one, and every frame that came out of eth0."""

    switch: str
    client: str
    other: str
    sniffer: socket.socket
    seen: list[bytes] = field(default_factory=list)

    def frames(self) -> list[bytes]:
        """All frames that eth0 has sent so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, address = self.sniffer.recvfrom(2048)
                if address[2] != socket.PACKET_OUTGOING:
                    self.seen.append(frame)
        return self.seen

    def sources(self) -> set[str]:
        return {frame[6:12].hex(":") for frame in self.frames()}

    def learned(self) -> set[str]:
        """The MACs that the switch has learned on the director's port."""
        entries = json.loads(sh("bridge", "-j", "fdb", "show", "br", "br0", namespace=self.switch))
        return {e["mac"] for e in entries if e["ifname"] == "p0" and "permanent" not in str(e)}

    def neighbour(self, address: str) -> str | None:
        """What the client holds for the MAC of an address, once it has asked."""
        with contextlib.suppress(ValueError):
            entries = json.loads(sh("ip", "-j", "neigh", "show", address, namespace=self.client))
            for entry in entries:
                if "lladdr" in entry:
                    return str(entry["lladdr"])
        return None

    def reach(self, address: str) -> str:
        """Let the client send to an address until it knows a MAC for it; that MAC."""

        def asked() -> bool:
            netns.pushns(self.client)
            try:
                kind = socket.AF_INET6 if ":" in address else socket.AF_INET
                with socket.socket(kind, socket.SOCK_DGRAM) as sender:
                    sender.sendto(b"", (address, 9))
            finally:
                netns.popns()
            return self.neighbour(address) is not None

        until(asked, f"an answer for {address}")
        found = self.neighbour(address)
        assert found is not None
        return found


@pytest.fixture
def wire() -> Iterator[Wire]:
    """The switch, the client and the other director, and a sniffer from before eth0 is up."""
    tail = uuid.uuid4().hex[:6]
    names = [f"saru-{role}-{tail}" for role in ("switch", "client", "other")]
    with contextlib.ExitStack() as stack:
        for name in names:
            sh("ip", "netns", "add", name)
            stack.callback(sh, "ip", "netns", "del", name)
        switch, client, other = names
        sh("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", namespace=switch)
        sh("ip", "link", "set", "br0", "up", namespace=switch)
        sh("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "p0", "netns", switch)
        for port, name in (("p1", client), ("p2", other)):
            words = (
                "ip",
                "link",
                "add",
                "eth0",
                "netns",
                name,
                "type",
                "veth",
                "peer",
                "name",
                port,
            )
            sh(*words, namespace=switch)
        sh("ip", "link", "set", "eth0", "address", OWN)
        for port in ("p0", "p1", "p2"):
            sh("ip", "link", "set", port, "master", "br0", "up", namespace=switch)
        netns.pushns(switch)
        try:
            sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sniffer.bind(("p0", 3))
        finally:
            netns.popns()
        sniffer.setblocking(False)
        stack.callback(sniffer.close)
        sh("ip", "link", "set", "eth0", "up", namespace=client)
        sh("ip", "addr", "add", "172.17.0.1/16", "dev", "eth0", namespace=client)
        sh("ip", "addr", "add", "fd00:17::1/64", "dev", "eth0", "nodad", namespace=client)
        yield Wire(switch, client, other, sniffer)


def written(tmp_path: Path, mode: str = "unicast", mac: str = SHARED) -> configuration.Config:
    file = tmp_path / "saru.conf"
    file.write_text(
        f'[director]\nname = "walter"\n[daemon]\nrun = "{tmp_path}/run"\nstate = "{tmp_path}"\n'
        f'[link]\ninterface = "eth0"\nmac = "{mac}"\nmode = "{mode}"\n'
        f'addresses = ["{VIP}/16", "{VIP6}/64"]\n'
        f'[[service]]\nvip = "{VIP}"\nprotocol = "tcp"\n'
        f'[[service]]\nvip = "{VIP6}"\nprotocol = "tcp"\n',
        encoding="utf-8",
    )
    return configuration.load(file)


def state() -> dict[str, object]:
    """Everything about eth0 and its settings that `down` must give back."""
    addresses = json.loads(sh("ip", "-j", "addr", "show", "dev", "eth0"))[0]
    routes = json.loads(sh("ip", "-j", "route")) + json.loads(sh("ip", "-j", "-6", "route"))
    names = ("arp_ignore", "arp_announce", "send_redirects", "rp_filter", "promote_secondaries")
    settings = [f"{interface}/{name}" for interface in ("all", "eth0") for name in names]
    return {
        "mac": addresses["address"],
        "up": "UP" in addresses["flags"],
        "addresses": sorted(each["local"] for each in addresses["addr_info"]),
        "routes": sorted(str(sorted(each.items())) for each in routes),
        "settings": [Path("/proc/sys/net/ipv4/conf", each).read_text() for each in settings],
        "addr_gen_mode": Path("/proc/sys/net/ipv6/conf/eth0/addr_gen_mode").read_text(),
        "nftables": sh("nft", "list", "ruleset"),
    }


def test_the_shared_mac_is_never_seen_as_a_source(wire: Wire, tmp_path: Path) -> None:
    """From the first frame on, IPv6's at start-up included; so the switch goes on flooding."""
    config = written(tmp_path)
    shared.up(config)
    assert shared.check(config) == []
    # ARP and neighbour discovery say the shared MAC; the frames that say it do not carry it.
    assert wire.reach(VIP) == SHARED
    assert wire.reach(VIP6) == SHARED
    until(lambda: any(f[12:14] == b"\x86\xdd" for f in wire.frames()), "IPv6 frames")
    until(lambda: any(f[12:14] == b"\x08\x06" for f in wire.frames()), "ARP frames")
    # What goes out through the socket of a program is masked as well.
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        raw.send(bytes.fromhex("ffffffffffff" + SHARED.replace(":", "") + "88b5") + b"x" * 46)
    until(lambda: any(f[12:14] == b"\x88\xb5" for f in wire.frames()), "the program's frame")
    assert wire.sources() == {OWN}
    assert wire.learned() == {OWN}


def test_without_the_mask_the_switch_learns_it(wire: Wire, tmp_path: Path) -> None:
    """What the test above would see if there were no mask: mode hub has none."""
    config = written(tmp_path, "hub")
    shared.up(config)
    assert shared.check(config) == []
    assert wire.reach(VIP) == SHARED
    assert SHARED in wire.sources()
    assert SHARED in wire.learned()


def test_every_director_receives_what_the_client_sends(wire: Wire, tmp_path: Path) -> None:
    shared.up(written(tmp_path))
    wire.reach(VIP)
    sh("ip", "link", "set", "eth0", "up", namespace=wire.other)
    netns.pushns(wire.other)
    try:
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        listener.bind(("eth0", 3))
    finally:
        netns.popns()
    listener.setblocking(False)
    to_vip = []

    def arrived() -> bool:
        wire.reach(VIP)
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = listener.recv(2048)
                if frame[:6].hex(":") == SHARED:
                    to_vip.append(frame)
        return len(to_vip) > 0

    with listener:
        until(arrived, "the client's frame at the other director")


@pytest.mark.usefixtures("wire")
def test_ipv6_keeps_a_link_local_address_of_its_own(tmp_path: Path) -> None:
    shared.up(written(tmp_path))
    info = json.loads(sh("ip", "-j", "-6", "addr", "show", "dev", "eth0"))[0]["addr_info"]
    assert {each["local"] for each in info} == {"fe80::ff:fe00:11", VIP6}
    assert not any("tentative" in each or "dadfailed" in each for each in info)


def test_multicast_tells_a_multicast_mac_and_keeps_its_own(wire: Wire, tmp_path: Path) -> None:
    """Neighbour discovery's checksum is right after the change, or the client would not take it."""
    config = written(tmp_path, "multicast", GROUP)
    shared.up(config)
    assert shared.check(config) == []
    assert wire.reach(VIP) == GROUP
    assert wire.reach(VIP6) == GROUP
    # The director's own questions in the VIP's name tell the same.
    for family, vip, client in (
        (socket.AF_INET, VIP, "172.17.0.1"),
        (socket.AF_INET6, VIP6, "fd00:17::1"),
    ):
        sh("ip", "neigh", "flush", "dev", "eth0")
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.bind((vip, 0))
            sender.sendto(b"", (client, 9))
    assert wire.neighbour(VIP) == GROUP
    assert wire.neighbour(VIP6) == GROUP
    assert wire.sources() == {OWN}
    shared.down(config)
    assert GROUP.replace(":", "") not in Path("/proc/self/net/dev_mcast").read_text()


@pytest.mark.parametrize("mode", ["unicast", "multicast", "hub"])
@pytest.mark.parametrize("was_up", [True, False])
@pytest.mark.usefixtures("wire")
def test_up_twice_changes_nothing_and_down_gives_all_back(
    tmp_path: Path, mode: str, was_up: bool
) -> None:
    if was_up:
        sh("ip", "link", "set", "eth0", "up")
        sh("ip", "addr", "add", "10.9.0.2/24", "dev", "eth0")
        sh("ip", "addr", "add", "fd00:9::2/64", "dev", "eth0", "nodad")
        sh("ip", "route", "add", "default", "via", "10.9.0.1", "metric", "7")
        sh("ip", "-6", "route", "add", "default", "via", "fd00:9::1")
        until(lambda: "fe80::ff:fe00:11" in str(state()["addresses"]), "the link-local address")
    before = state()
    config = written(tmp_path, mode, GROUP if mode == "multicast" else SHARED)
    assert shared.up(config)
    assert shared.up(config) == []
    assert shared.check(config) == []
    during = state()
    if was_up:
        routes = set(before["routes"])  # type: ignore[call-overload]
        assert {r for r in routes if "'via'" in r or "gateway" in r} <= set(during["routes"])  # type: ignore[call-overload]
        assert set(before["addresses"]) <= set(during["addresses"])  # type: ignore[call-overload]
    assert shared.down(config)
    assert state() == before
    assert shared.down(config) == []


@pytest.mark.usefixtures("wire")
def test_a_mask_that_went_is_named_and_put_back(tmp_path: Path) -> None:
    config = written(tmp_path)
    shared.up(config)
    for damage in (
        ("nft", "flush", "ruleset"),
        ("nft", "flush", "chain", "netdev", "saru-link-eth0", "out"),
        ("nft", "insert", "rule", "netdev", "saru-link-eth0", "out", "accept"),
    ):
        sh(*damage)
        assert any("the mask" in each for each in shared.check(config)), damage
        assert shared.check_mask(config)
        assert shared.up(config) == ["eth0: the mask put in"]
        assert shared.check(config) == []


@pytest.mark.usefixtures("wire")
def test_the_vips_go_and_come_alone(tmp_path: Path) -> None:
    config = written(tmp_path)
    shared.up(config)
    assert len(shared.remove_addresses(config)) == 2
    assert shared.remove_addresses(config) == []
    assert [each for each in shared.check(config) if "is missing" in each] == shared.check(config)
    assert len(shared.add_addresses(config)) == 2
    assert shared.check(config) == []


@pytest.mark.usefixtures("wire")
def test_a_director_whose_device_has_no_mac_of_its_own_gets_one(tmp_path: Path) -> None:
    """The MAC was set by hand before; the director's name makes a local one, always the same."""
    sh("ip", "link", "set", "eth0", "address", SHARED)
    config = written(tmp_path)
    shared.up(config)
    mask = shared.mask_of(config)
    assert mask is not None
    assert mask.source != SHARED
    assert int(mask.source[:2], 16) & 0x03 == 0x02
    own = json.loads((tmp_path / "run" / "link-eth0.json").read_text())["mac"]
    assert own == mask.source
    assert shared.check(config) == []


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    config = written(tmp_path)
    with pytest.raises(OutageError, match="no interface eth0"):
        shared.up(config)
    (tmp_path / "saru.conf").write_text(f'[daemon]\nrun = "{tmp_path}"\nstate = "{tmp_path}"\n')
    with pytest.raises(ConfigError, match=r"\[link\]"):
        shared.up(configuration.load(tmp_path / "saru.conf"))
