# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration's prober and its count, on directors that are known to be right or wrong.

       client                 each "director" forwards, with a packet filter of its own that
         | eth0               says which source ports it accepts; all share one MAC
=========+==========  vip
  |eth0       |eth0
 walter  ...  wanda
  |eth1       |eth1
=========+==========  server (the capture listens here)
         | eth0
       real, with the VIP on lo and an answer for every connection
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from deploy.demonstration.capture import Capture
from deploy.demonstration.prober import Connection, Connections, Prober, source_port
from deploy.demonstration.record import Family, Phase, Record, Report
from deploy.demonstration.stage import Tap
from tests.net.netns import Host, eventually, ip

VIP, VIP6, PORT, BLOCKS = "172.17.60.201", "fd17::60:201", 80, 64
TARGETS = {Family.IPV4: (VIP, PORT), Family.IPV6: (VIP6, PORT)}
SHARED = "00:50:56:14:03:40"
NAMES = ("walter", "wendy", "wanda")
FIRST_THIRD, SECOND_THIRD, LAST_THIRD = "0-21503", "21504-43007", "43008-65535"


@dataclass
class Bench:
    """The namespaces, and the MAC from which each director forwards."""

    hosts: dict[str, Host]
    switch: str
    macs: dict[str, str]

    def accept(self, name: str, ports: str) -> None:
        """Replace what a director accepts."""
        text = f"""
            table inet judge
            delete table inet judge
            table inet judge {{ chain forward {{
                type filter hook forward priority 0; policy drop;
                meta l4proto {{ tcp, udp }} th sport {{ {ports} }} accept
            }}
            chain input {{
                type filter hook input priority 0;
                meta l4proto {{ tcp, udp }} th dport {PORT} th sport != {{ {ports} }} drop
            }}
            }}
        """
        subprocess.run(
            ["ip", "netns", "exec", self.hosts[name].namespace, "nft", "-f", "-"],
            input=text, text=True, check=True,
        )  # fmt: skip

    def plug(self, name: str, interface: str, bridge: str, *, mac: str = "") -> None:
        host, port = self.hosts[name], f"{name}-{bridge[0]}"
        ip(
            *("link", "add", port, "netns", self.switch, "type", "veth"),
            *("peer", "name", interface, "netns", host.namespace),
        )
        ip("link", "set", port, "master", bridge, "up", namespace=self.switch)
        if mac:
            # Here IPv6 may say something from the shared MAC.
            slave = ("type", "bridge_slave", "learning", "off")
            ip("link", "set", port, *slave, namespace=self.switch)
            host.ip("link", "set", interface, "address", mac, "arp", "off")
        host.ip("link", "set", interface, "up")


def setting(host: Host, path: str, value: str) -> None:
    words = ["ip", "netns", "exec", host.namespace, "sh", "-c", 'echo "$1" >"/proc/sys/$0"']
    subprocess.run([*words, path, value], check=True)


@pytest.fixture
def bench(namespace: str) -> Iterator[Bench]:
    made = Bench({name: Host(name) for name in ("client", "real", *NAMES)}, namespace, {})
    started = []
    try:
        for host in made.hosts.values():
            host.start()
            started.append(host)
            setting(host, "net/ipv6/conf/default/accept_dad", "0")
        for bridge in ("vip", "server"):
            ip("link", "add", bridge, "type", "bridge", namespace=namespace)
            ip("link", "set", bridge, "up", namespace=namespace)
        connect(made)
        yield made
    finally:
        for host in started:
            host.stop()


def connect(made: Bench) -> None:
    """Plug everybody in: the client reaches every director, the real server the client."""
    client, real = made.hosts["client"], made.hosts["real"]
    made.plug("client", "eth0", "vip")
    client.ip("addr", "add", "172.17.1.1/16", "dev", "eth0")
    client.ip("addr", "add", "fd17::1:1/64", "dev", "eth0")
    for vip in (VIP, VIP6):
        client.ip("neigh", "add", vip, "lladdr", SHARED, "dev", "eth0")
    made.plug("real", "eth0", "server")
    made.plug("real", "eth1", "vip")
    real.ip("addr", "add", f"{VIP}/32", "dev", "lo")
    real.ip("addr", "add", f"{VIP6}/128", "dev", "lo")
    real.ip("addr", "add", "192.168.6.4/24", "dev", "eth0")
    real.ip("addr", "add", "172.17.1.4/16", "dev", "eth1")
    real.ip("addr", "add", "fd06::4/64", "dev", "eth0")
    real.ip("addr", "add", "fd17::1:4/64", "dev", "eth1")
    for name in NAMES:
        host = made.hosts[name]
        made.plug(name, "eth0", "vip", mac=SHARED)
        made.plug(name, "eth1", "server")
        number = 11 + NAMES.index(name)
        host.ip("addr", "add", f"192.168.6.{number}/24", "dev", "eth1")
        host.ip("addr", "add", f"fd06::{number}/64", "dev", "eth1")
        host.ip("route", "add", VIP, "via", "192.168.6.4")
        host.ip("route", "add", VIP6, "via", "fd06::4")
        setting(host, "net/ipv4/ip_forward", "1")
        setting(host, "net/ipv6/conf/all/forwarding", "1")
        setting(host, "net/ipv4/conf/all/rp_filter", "0")
        made.macs[host.mac("eth1")] = name
        made.accept(name, "0")


@contextmanager
def answering(bench: Bench, name: str = "real") -> Iterator[None]:
    """The lab's own responder on a host, which calls itself real4."""
    words = [sys.executable, "-m", "deploy.lab.responder", "real4", str(PORT), VIP, VIP6]
    space = ["ip", "netns", "exec", bench.hosts[name].namespace]
    with subprocess.Popen([*space, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "listens" in process.stdout.readline()
            yield
        finally:
            process.kill()


def probe(bench: Bench, during: Callable[[Record], None], tap: Tap | None = None) -> Record:
    """What is recorded while `during` runs, and until every frame has come."""
    record = Record(bench.macs)
    capture = Capture(record, bench.switch, tap or Tap(bridge="server"), TARGETS)
    prober = Prober(record, bench.hosts["client"].namespace, TARGETS, BLOCKS, rate=500)
    capture.open()
    prober.start()
    try:
        during(record)
    finally:
        prober.stop()
        time.sleep(0.3)  # frames on their way; one that comes later would fail the test
        capture.stop()
    return record


def rounds(record: Record, count: int) -> None:
    """Wait until every block has been probed `count` times more."""
    begin = len(record)
    eventually("probes are sent", lambda: len(record) >= begin + count * BLOCKS)


def judged(record: Record, *, settled: bool = True) -> Report:
    return record.report(Phase("all", settled, 0, time.monotonic_ns()))


def test_every_probe_of_a_right_division_is_accepted_exactly_once(bench: Bench) -> None:
    for name, ports in zip(NAMES, (FIRST_THIRD, SECOND_THIRD, LAST_THIRD), strict=True):
        bench.accept(name, ports)
    report = judged(probe(bench, lambda record: rounds(record, 3)))
    assert report.probes >= 3 * BLOCKS
    assert report.blocks_probed == BLOCKS
    assert report.accepted_once == report.probes
    assert report.accepted_never == report.accepted_twice == 0
    assert set(report.per_director) == set(NAMES)
    assert sum(report.per_director.values()) == report.probes
    assert min(report.per_director.values()) >= report.probes // 4
    for counts in report.families.values():
        assert counts.accepted_once == counts.probes >= BLOCKS
    assert report.passed()


def test_probes_that_nobody_accepts_are_told(bench: Bench) -> None:
    bench.accept("walter", FIRST_THIRD)
    bench.accept("wanda", LAST_THIRD)
    record = probe(bench, lambda record: rounds(record, 3))
    report = judged(record)
    assert report.accepted_never >= BLOCKS // 3
    assert report.accepted_never + report.accepted_once == report.probes
    assert report.per_director["wendy"] == 0
    assert not report.passed()
    assert judged(record, settled=False).passed()


def test_probes_that_two_accept_are_told(bench: Bench) -> None:
    bench.accept("walter", FIRST_THIRD)
    bench.accept("wendy", SECOND_THIRD)
    bench.accept("wanda", "40960-65535")
    record = probe(bench, lambda record: rounds(record, 3))
    report = judged(record)
    assert report.accepted_twice >= 1
    assert report.accepted_never == 0
    assert sum(report.per_director.values()) == report.probes + report.accepted_twice
    assert not report.passed()
    assert not judged(record, settled=False).passed()


def test_the_time_without_an_answer_is_measured(bench: Bench) -> None:
    bench.accept("walter", "0-65535")
    times = []

    def outage(record: Record) -> None:
        rounds(record, 1)
        times.append(time.monotonic_ns())
        bench.accept("walter", "0")
        rounds(record, 3)
        bench.accept("wendy", "0-65535")
        times.append(time.monotonic_ns())
        rounds(record, 2)

    record = probe(bench, outage)
    fault, healed = times
    report = record.report(Phase("outage", False, fault, time.monotonic_ns(), fault))
    assert report.takeover_ms is not None
    assert 0 < report.takeover_ms <= (healed - fault) / 1e6
    assert report.takeover_ms >= 1000 * 2 * BLOCKS / 500
    assert report.per_director["wendy"] >= BLOCKS
    before = record.report(Phase("before", True, 0, fault))
    assert before.takeover_ms is None
    assert before.passed()


def test_a_settled_division_is_recognised(bench: Bench) -> None:
    for name, ports in zip(NAMES, (FIRST_THIRD, SECOND_THIRD, LAST_THIRD), strict=True):
        bench.accept(name, ports)
    record = probe(bench, lambda record: rounds(record, 2))
    now = time.monotonic_ns()
    assert record.steady(0, now, BLOCKS, NAMES) == ""
    assert "wanda" in record.steady(0, now, BLOCKS, NAMES[:2])
    assert "blocks" in record.steady(0, now, BLOCKS, (*NAMES, "willem"))
    assert "still to be probed" in record.steady(now, now, BLOCKS, NAMES)


def test_connections_are_answered_by_one_director(bench: Bench) -> None:
    bench.accept("walter", FIRST_THIRD)
    bench.accept("wendy", SECOND_THIRD)
    bench.accept("wanda", "40960-65535")
    made = Connections(bench.hosts["client"].namespace, TARGETS, BLOCKS)
    with answering(bench):
        found = []
        record = probe(bench, lambda _: found.extend(made.make(2 * BLOCKS)))
    assert [one.real for one in found] == ["real4"] * 2 * BLOCKS
    assert len({one.port for one in found}) == 2 * BLOCKS
    for one in found:
        expected = {
            name
            for name, first, last in (
                ("walter", 0, 21503), ("wendy", 21504, 43007), ("wanda", 40960, 65535),
            )
            if first <= one.port <= last
        }  # fmt: skip
        assert record.flow(one.port) == expected
    two = [one for one in found if len(record.flow(one.port)) == 2]
    assert two, "no connection fell into what two directors accept"


def test_directors_that_answer_themselves_are_told_by_their_cables(bench: Bench) -> None:
    bench.accept("walter", "0-21503")
    bench.accept("wendy", "16384-43007")
    # They answer from the MAC that they share: a switch that learnt it would send all to one.
    ip("link", "set", "vip", "type", "bridge", "ageing_time", "0", namespace=bench.switch)
    tap = Tap(ports={f"{name}-v": name for name in ("walter", "wendy")})
    for name in ("walter", "wendy"):
        host = bench.hosts[name]
        host.ip("addr", "add", f"{VIP}/16", "dev", "eth0")
        client = bench.hosts["client"].mac("eth0")
        host.ip("neigh", "add", "172.17.1.1", "lladdr", client, "dev", "eth0")
        host.ip("addr", "add", f"{VIP6}/64", "dev", "eth0", "nodad")
        host.ip("neigh", "add", "fd17::1:1", "lladdr", client, "dev", "eth0")
    made = Connections(bench.hosts["client"].namespace, TARGETS, BLOCKS)
    found: list[Connection] = []

    def during(record: Record) -> None:
        rounds(record, 3)
        found.extend(made.make(4))

    with answering(bench, "walter"), answering(bench, "wendy"):
        record = probe(bench, during, tap)
    report = judged(record)
    assert report.accepted_twice >= 3 * BLOCKS // 16
    assert report.accepted_never >= BLOCKS // 3
    assert report.accepted_once >= BLOCKS // 3
    assert sum(report.per_director.values()) == report.accepted_once + 2 * report.accepted_twice
    for one in found:
        holders = {"walter"} if one.port < 16384 else set()
        holders |= {"wendy"} if 21504 <= one.port < 43008 else set()
        if not 16384 <= one.port < 21504:
            assert record.flow(one.port) == holders
            assert bool(one.real) == bool(holders)


def test_a_connection_that_nobody_answers_is_told(bench: Bench) -> None:
    made = Connections(bench.hosts["client"].namespace, TARGETS, BLOCKS)
    found = []
    record = probe(bench, lambda _: found.extend(made.make(2)))
    assert [one.real for one in found] == ["", ""]
    assert all(not record.flow(one.port) for one in found)


def test_source_ports_stay_in_their_block_and_change_with_the_turn() -> None:
    for blocks in (2, 64, 1024, 32768):
        width = 65536 // blocks
        for block in range(0, blocks, max(1, blocks // 64)):
            found = {source_port(block, blocks, turn) for turn in range(width)}
            assert all(0 < port < 65536 and port // width == block for port in found)
            assert len(found) == (width if block else width - 1)
