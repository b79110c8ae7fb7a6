# SPDX-License-Identifier: GPL-2.0-or-later
"""LVS-NAT with the rules that `saru rules` generates: real packets through IPVS.

            client ---- eth0  director  eth1 ---- server

Runs inside a guest that tests/vm/test_rules.py made a director of.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import netns

from saru import cli
from saru.core.blocks import range_block
from tests.vm.inside import family as tables

VIP, OWN, CLIENT, SERVER = "172.17.60.201", "172.17.0.11", "172.17.1.1", "192.168.6.4"
PORT, BLOCKS = 40000, 1024
PATIENCE = 120.0
CONFIG = f"""\
[director]
name = "walter"
dataplane = "module"
[rules]
mode = "conntrack"
real_servers = ["192.168.6.0/24"]
[link]
interface = "eth0"
mac = "00:50:56:14:03:40"
[[service]]
vip = "{VIP}"
protocol = "tcp"
ports = [80]
"""
DIRECTOR = f"""
ip netns add client; ip netns add server
ip link add eth0 type veth peer name eth0 netns client
ip link add eth1 type veth peer name eth0 netns server
ip addr add {OWN}/16 dev eth0; ip addr add {VIP}/16 dev eth0; ip link set eth0 up
ip addr add 192.168.6.11/24 dev eth1; ip link set eth1 up; ip link set lo up
ip -n client addr add {CLIENT}/16 dev eth0; ip -n client link set eth0 up
ip -n server addr add {SERVER}/24 dev eth0; ip -n server link set eth0 up
ip -n server route add default via 192.168.6.11
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.vs.conntrack=1
ipvsadm -A -t {VIP}:80 -s rr; ipvsadm -a -t {VIP}:80 -r {SERVER}:80 -m
"""


@pytest.fixture(autouse=True)
def director(tmp_path: Path) -> Iterator[None]:
    """This namespace is a director between the two others, with its rules."""
    subprocess.run(["sh", "-ec", DIRECTOR], check=True)
    try:
        path = tmp_path / "saru.conf"
        path.write_text(CONFIG)
        assert cli.run(["--config", str(path), "rules", "apply"]) == 0
        yield
    finally:
        away = "ipvsadm -C; ip link del eth0; ip link del eth1; ip netns del client"
        subprocess.run(["sh", "-ec", f"{away}; ip netns del server"], check=True)


@contextlib.contextmanager
def space(name: str) -> Iterator[None]:
    """Sockets that are made meanwhile belong to that namespace."""
    netns.pushns(name)
    try:
        yield
    finally:
        netns.popns()


def begin(name: str, port: int, address: tuple[str, int]) -> socket.socket:
    """A connection that begins from a port, and goes on trying."""
    with space(name):
        one = socket.socket()
    one.bind(("", port))
    one.setblocking(False)
    one.connect_ex(address)
    return one


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.05)


def hold(family: tables.Family, *ports: int) -> None:
    """Hold the blocks of these source ports, and no others."""
    held = bytearray(BLOCKS // 8)
    for port in ports:
        block = range_block(port, 16, BLOCKS)
        held[block // 8] |= 1 << block % 8
    family.set(serial=tables.now(), blocks=BLOCKS, bitmap=bytes(held))


def rejected(family: tables.Family) -> int:
    return family.get().number(tables.A_REJECTED)


def exchange(one: socket.socket, listener: socket.socket) -> tuple[str, str]:
    """Let the connection come about, both ways: who is at the other end, as either side sees it."""
    listener.settimeout(PATIENCE)
    taken, peer = listener.accept()
    with taken:
        one.settimeout(PATIENCE)
        taken.sendall(b"answer")
        assert one.recv(100) == b"answer"
        one.sendall(b"thanks")
        taken.settimeout(PATIENCE)
        assert taken.recv(100) == b"thanks"
        return one.getpeername()[0], peer[0]


def test_the_vip_answers_for_the_block_that_is_held() -> None:
    mine, theirs = PORT, PORT + 8 * 64
    with space("server"):
        listener = socket.create_server((SERVER, 80))
    with listener, tables.Family() as family:
        hold(family, mine)
        before = rejected(family)
        with begin("client", theirs, (VIP, 80)):
            until(lambda: rejected(family) > before, "another director is left the packet")
            with begin("client", mine, (VIP, 80)) as one:
                assert exchange(one, listener) == (VIP, CLIENT)
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_one_director_sends_on_what_a_real_server_begins() -> None:
    with space("client"):
        listener = socket.create_server((CLIENT, 80))
    with listener, tables.Family() as family:
        hold(family)
        before = rejected(family)
        with begin("server", PORT, (CLIENT, 80)) as one:
            until(lambda: rejected(family) > before, "it is left to another director")
            hold(family, PORT)
            # From the director's own address: the answer comes back to it.
            assert exchange(one, listener) == (CLIENT, OWN)
