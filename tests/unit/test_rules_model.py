# SPDX-License-Identifier: GPL-2.0-or-later
"""What the configuration asks for, rule by rule."""

from __future__ import annotations

import re

import pytest

from saru.config import Protocol, RulesMode, Service
from saru.rules.model import FORWARD, INPUT, MANGLE, NAT, Family, Place, RuleSet, rule_set
from saru.rules.rule import parse

VIP = "172.17.60.201"
VIP6 = "fd00::201"
TCP = Service(VIP, Protocol.TCP, (), 1)
UDP = Service(VIP, Protocol.UDP, (), 1)


def lines(rules: RuleSet, place: Place) -> list[str]:
    return [str(rule) for rule in dict(rules.chains)[place]]


def test_the_references_input_rules() -> None:
    """Its five rules stand there in its order; errors are judged before the fourth."""
    written = lines(rule_set(Family.IPV4, [TCP, UDP], RulesMode.SYNC), INPUT)
    to = "-d 172.17.60.201/32"
    echo = "-p icmp -m icmp --icmp-type echo-request"
    reference = [
        f"{to} -p tcp -m saru --id 1 -j ACCEPT",
        f"{to} -p udp -m saru --id 1 -j ACCEPT",
        f"{to} {echo} -m saru --id 1 --sense src-addr -j ACCEPT",
        f"{to} -p icmp -m icmp ! --icmp-type echo-request -j ACCEPT",
        f"{to} -j DROP",
    ]
    errors = [
        line
        for name in ("destination-unreachable", "time-exceeded", "parameter-problem")
        for line in (
            f"{to} -p icmp -m icmp --icmp-type {name} -m saru --id 1 -j ACCEPT",
            f"{to} -p icmp -m icmp --icmp-type {name} -j DROP",
        )
    ]
    assert written == reference[:3] + errors + reference[3:]


def test_ipv6_keeps_neighbour_discovery_for_all() -> None:
    service = Service(VIP6, Protocol.TCP, (80,), 1)
    written = lines(rule_set(Family.IPV6, [service], RulesMode.SYNC), INPUT)
    to = f"-d {VIP6}/128"
    assert written[0] == f"{to} -p tcp -m tcp --dport 80 -m saru --id 1 -j ACCEPT"
    errors = ("destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem")
    for name in errors:
        assert f"{to} -p ipv6-icmp -m icmp6 --icmpv6-type {name} -j DROP" in written
    assert written[-2:] == [
        f"{to} -p ipv6-icmp -m icmp6 ! --icmpv6-type echo-request -j ACCEPT",
        f"{to} -j DROP",
    ]


def test_with_connection_tracking_only_new_tcp_is_judged_and_all_udp() -> None:
    written = lines(rule_set(Family.IPV4, [TCP, UDP], RulesMode.CONNTRACK), INPUT)
    to = "-d 172.17.60.201/32"
    assert written[:4] == [
        f"{to} -p tcp -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        f"{to} -p icmp -m conntrack --ctstate RELATED -j ACCEPT",
        f"{to} -p tcp -m tcp --tcp-flags SYN,ACK,FIN,RST SYN -m conntrack --ctstate NEW "
        "-m saru --id 1 -j ACCEPT",
        f"{to} -p udp -m saru --id 1 -j ACCEPT",
    ]
    assert written[-1] == f"{to} -j DROP"


@pytest.mark.parametrize("mode", RulesMode)
def test_a_rule_holds_one_tcp_match_at_most(mode: RulesMode) -> None:
    services = [TCP, Service(VIP, Protocol.TCP, (80,), 1), Service(VIP, Protocol.TCP, (1, 2), 1)]
    for line in lines(rule_set(Family.IPV4, services, mode), INPUT):
        assert line.count("-m tcp") <= 1


def test_many_ports_are_split() -> None:
    ports = tuple(range(8000, 8031))
    service = Service(VIP, Protocol.SCTP, ports, 7)
    written = lines(rule_set(Family.IPV4, [service], RulesMode.SYNC), INPUT)
    found = [re.search(r"-p sctp -m multiport --dports (\S+) -m saru --id 7 ", w) for w in written]
    parts = [match[1].split(",") for match in found if match]
    assert [len(part) for part in parts] == [15, 15, 1]
    assert [int(port) for part in parts for port in part] == list(ports)


def test_several_ids_on_one_vip() -> None:
    """Each service goes by its own id; one id alone decides on pings, or two would answer."""
    services = [Service(VIP, Protocol.TCP, (80,), 2), Service(VIP, Protocol.TCP, (443,), 5)]
    written = lines(rule_set(Family.IPV4, services, RulesMode.SYNC), INPUT)
    assert "--dport 80 -m saru --id 2 " in written[0]
    assert "--dport 443 -m saru --id 5 " in written[1]
    pings = [line for line in written if " --icmp-type echo-request -m saru" in line]
    assert len(pings) == 1
    assert "--id 2 " in pings[0]


def test_each_vip_ends_with_its_drop() -> None:
    other = Service("172.17.60.202", Protocol.TCP, (), 1)
    written = lines(rule_set(Family.IPV4, [TCP, other, UDP], RulesMode.SYNC), INPUT)
    drops = [line for line in written if line in (f"-d {VIP}/32 -j DROP", written[-1])]
    assert drops == [f"-d {VIP}/32 -j DROP", "-d 172.17.60.202/32 -j DROP"]
    assert written.index(f"-d {VIP}/32 -p udp -m saru --id 1 -j ACCEPT") < written.index(drops[0])


def test_nothing_goes_back_out_of_the_vips_interface() -> None:
    for family in Family:
        rules = rule_set(family, [TCP], RulesMode.SYNC, interface="eth0")
        assert lines(rules, FORWARD) == ["-i eth0 -o eth0 -j DROP"]
    assert FORWARD not in dict(rule_set(Family.IPV4, [TCP], RulesMode.SYNC).chains)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("mode", RulesMode)
def test_lvs_nat_drops_in_mangle_and_never_in_nat(family: Family, mode: RulesMode) -> None:
    network = {Family.IPV4: "192.168.6.0/24", Family.IPV6: "fd00:6::/64"}[family]
    rules = rule_set(family, [TCP], mode, real_servers=["192.168.6.0/24", "fd00:6::/64"])
    nat, mangle = lines(rules, NAT), lines(rules, MANGLE)
    assert nat
    assert not any("DROP" in line for line in nat)
    assert mangle[-1] == f"-s {network} -j DROP"
    judged = [line for line in mangle if f"-s {network}" in line and "-m saru" in line]
    assert [re.search(r"-p (\S+)", line)[1] for line in judged] == [  # type: ignore[index]
        "tcp",
        "udp",
        family.icmp.protocol,
    ]
    # What the director itself sends, its beats among it, is never judged.
    assert mangle.index(f"-s {network} -m addrtype --src-type LOCAL -j RETURN") < min(
        mangle.index(line) for line in mangle if line.startswith(f"-s {network}") and "DROP" in line
    )
    replies = [line for line in mangle if f"-s {VIP}" in line]
    expect = family is Family.IPV4 and mode is RulesMode.SYNC
    assert bool(replies) is expect
    if expect:
        assert replies == [
            f"-s {VIP}/32 -p tcp -m saru --id 1 --sense dst-port -j RETURN",
            f"-s {VIP}/32 -p tcp -j DROP",
        ]


def test_the_text_is_for_iptables_restore() -> None:
    rules = rule_set(
        Family.IPV4, [TCP], RulesMode.SYNC, real_servers=["192.168.6.0/24"], interface="eth0"
    )
    text = rules.text().splitlines()
    assert text[0] == "*filter"
    assert [line for line in text if line.startswith("*")] == ["*filter", "*mangle", "*nat"]
    assert text.count("COMMIT") == 3
    assert "-I INPUT 1 -j SARU-INPUT" in text
    for line in text:
        if line.startswith("-A "):
            parse(line.split(maxsplit=2)[2])
        else:
            assert line[0] in "*:-C"
