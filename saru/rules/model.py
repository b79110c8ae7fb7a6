# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rules a configuration asks for: pure, from its services to chains of rules.

Each family has up to four chains of Saru's own, each reached by one jump that stands first in a
built-in chain:

- filter SARU-INPUT: a packet for a VIP passes if this director holds its block.
- filter SARU-FORWARD: nothing goes back out of the VIP's interface. All directors receive what is
  addressed to one of them; with forwarding switched on they would pass it round and round.
- mangle and nat SARU-POSTROUTING, for LVS-NAT: of the real servers' packets, which all directors
  receive, one director sends each on. iptables allows no DROP in nat, so mangle decides and nat
  only masquerades what came that far.

They are written as iptables takes them; saru.rules.nft_model says the same in nftables' words.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from saru.config import Config, Protocol, RulesMode, Service
from saru.link.sysctl import Setting
from saru.rules.rule import Rule, rule

MULTIPORT_MAX = 15  # ports that one `-m multiport` takes
_NEW = "-m conntrack --ctstate NEW"
_SYN = "--tcp-flags SYN,ACK,FIN,RST SYN"


class Family(enum.IntEnum):
    """An address family, by the number in its name."""

    IPV4 = 4
    IPV6 = 6

    def __str__(self) -> str:
        return f"IPv{self.value}"

    @classmethod
    def of(cls, address: str) -> Family:
        """The family of an address or network."""
        return cls(ipaddress.ip_network(address, strict=False).version)

    @property
    def icmp(self) -> _Icmp:
        """The words that the family's ICMP rules use."""
        return _ICMP[self]


@dataclass(frozen=True, slots=True)
class _Icmp:
    protocol: str
    match: str
    errors: tuple[str, ...]

    def of_type(self, name: str, *, negated: bool = False) -> str:
        """Clauses for the messages of one type; negated: of all others."""
        option = "--icmp-type" if self.match == "icmp" else "--icmpv6-type"
        return f"-p {self.protocol} -m {self.match} {'! ' * negated}{option} {name}"


_ICMP = {
    Family.IPV4: _Icmp(
        "icmp", "icmp", ("destination-unreachable", "time-exceeded", "parameter-problem")
    ),
    Family.IPV6: _Icmp(
        "ipv6-icmp",
        "icmp6",
        ("destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem"),
    ),
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A chain of Saru's own, and the built-in chain that jumps to it."""

    table: str
    chain: str
    hook: str

    @property
    def jump(self) -> Rule:
        """The rule in the built-in chain."""
        return rule(f"-j {self.chain}")


# In the order of installation: what drops comes before what lets pass.
FORWARD = Place("filter", "SARU-FORWARD", "FORWARD")
INPUT = Place("filter", "SARU-INPUT", "INPUT")
MANGLE = Place("mangle", "SARU-POSTROUTING", "POSTROUTING")
NAT = Place("nat", "SARU-POSTROUTING", "POSTROUTING")
PLACES = (INPUT, FORWARD, MANGLE, NAT)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of one family. A place that is not in `chains` is to be empty and unreached."""

    family: Family
    chains: tuple[tuple[Place, tuple[Rule, ...]], ...]

    def text(self) -> str:
        """The rules as `iptables-restore --noflush` takes them, to be fed once."""
        lines: list[str] = []
        for table in dict.fromkeys(place.table for place, _ in self.chains):
            here = [(place, rules) for place, rules in self.chains if place.table == table]
            lines.append(f"*{table}")
            lines += (f":{place.chain} - [0:0]" for place, _ in here)
            lines += (f"-A {place.chain} {each}" for place, rules in here for each in rules)
            lines += (f"-I {place.hook} 1 {place.jump}" for place, _ in here)
            lines.append("COMMIT")
        return "".join(f"{line}\n" for line in lines)


def rule_sets(config: Config) -> tuple[RuleSet, ...]:
    """What the configuration asks for, per family; nothing where no service is configured."""
    if not config.services:
        return ()
    interface = config.link.interface if config.link else None
    return tuple(
        found
        for family in Family
        if (
            found := rule_set(
                family,
                config.services,
                config.rules.mode,
                real_servers=config.rules.real_servers,
                interface=interface,
            )
        ).chains
    )


def rule_set(
    family: Family,
    services: Sequence[Service],
    mode: RulesMode,
    *,
    real_servers: Iterable[str] = (),
    interface: str | None = None,
) -> RuleSet:
    """The rules of one family.

    `services` (one or more) may be of both families. `real_servers` are the networks behind LVS-NAT
    (none: no rules for it); `interface` is the VIPs' (None: it has no shared MAC, so nothing is
    forwarded back).
    """
    mine = [service for service in services if Family.of(service.vip) is family]
    networks = [network for network in real_servers if Family.of(network) is family]
    chains: dict[Place, list[Rule]] = {}
    if mine:
        chains[INPUT] = list(_input(family, mine, mode))
    if interface is not None:
        chains[FORWARD] = [rule(f"-i {interface} -o {interface}", "-j DROP")]
    if networks:
        first = (mine or services)[0].id
        mangle = chains.setdefault(MANGLE, [])
        nat = chains.setdefault(NAT, [])
        if mode is RulesMode.SYNC:
            mangle += _replies(mine)
        for network in networks:
            mangle += _one_sends(family, network, networks, first)
            nat += _masquerade(family, network, networks)
    return RuleSet(family, tuple((place, tuple(rules)) for place, rules in chains.items()))


def settings(config: Config) -> tuple[Setting, ...]:
    """The kernel's settings that the rules rely on."""
    if not config.services or config.rules.mode is not RulesMode.CONNTRACK:
        return ()
    loose = Setting(
        "net/netfilter/nf_conntrack_tcp_loose",
        "0",
        "or connection tracking takes the middle of another director's connection for a new one",
        module="nf_conntrack",
    )
    if not config.rules.real_servers:
        return (loose,)
    tracked = Setting(
        "net/ipv4/vs/conntrack",
        "1",
        "or IPVS hides its connections from connection tracking",
        module="ip_vs",
    )
    return (loose, tracked)


def _input(family: Family, services: Sequence[Service], mode: RulesMode) -> Iterator[Rule]:
    icmp = family.icmp
    for vip in dict.fromkeys(service.vip for service in services):
        mine = [service for service in services if service.vip == vip]
        ids = list(dict.fromkeys(service.id for service in mine))
        to = f"-d {_host(vip)}"
        tcp = any(service.protocol is Protocol.TCP for service in mine)
        if mode is RulesMode.CONNTRACK:
            related = "-m conntrack --ctstate"
            if tcp:
                yield rule(to, "-p tcp", f"{related} ESTABLISHED,RELATED", "-j ACCEPT")
            yield rule(to, f"-p {icmp.protocol}", f"{related} RELATED", "-j ACCEPT")
        for service in mine:
            for ports in _ports(service, "dport"):
                head = [to, f"-p {service.protocol}", *ports]
                if mode is RulesMode.CONNTRACK and service.protocol is Protocol.TCP:
                    # A rule has one `-m tcp` at most: nftables' iptables merges a second into it.
                    head[-1] += f" {_SYN}" if head[-1].startswith("-m tcp") else f" -m tcp {_SYN}"
                    head.append(_NEW)
                yield rule(*head, f"-m saru --id {service.id}", "-j ACCEPT")
        # A ping belongs to no service: with several ids the first one decides, or two would answer.
        echo = icmp.of_type("echo-request")
        yield rule(to, echo, f"-m saru --id {ids[0]} --sense src-addr", "-j ACCEPT")
        # An error goes by the packet that it is about, so it reaches the holder of that connection.
        for error in icmp.errors:
            for each in ids:
                yield rule(to, icmp.of_type(error), f"-m saru --id {each}", "-j ACCEPT")
            yield rule(to, icmp.of_type(error), "-j DROP")
        # All the rest, with IPv6's neighbour discovery, is for every director.
        yield rule(to, icmp.of_type("echo-request", negated=True), "-j ACCEPT")
        yield rule(to, "-j DROP")


def _replies(services: Iterable[Service]) -> Iterator[Rule]:
    """With connection sync every director can translate a real server's reply, and would send it.

    The reply's destination port is the end user's, so it falls into the connection's block.
    """
    for service in services:
        for ports in _ports(service, "sport"):
            head = (f"-s {_host(service.vip)}", f"-p {service.protocol}", *ports)
            yield rule(*head, f"-m saru --id {service.id} --sense dst-port", "-j RETURN")
            yield rule(*head, "-j DROP")


def _one_sends(
    family: Family, network: str, networks: Iterable[str], number: int
) -> Iterator[Rule]:
    """Which of the packets that real servers send this director passes on."""
    icmp, come = family.icmp, f"-s {network}"
    saru = f"-m saru --id {number}"
    # The director's own packets, beats among them, are nobody else's to send.
    yield rule(come, "-m addrtype --src-type LOCAL", "-j RETURN")
    for other in networks:
        yield rule(come, f"-d {other}", "-j RETURN")
    yield rule(come, "-m conntrack --ctstate INVALID", "-j DROP")
    yield rule(come, "-m conntrack --ctstate ESTABLISHED", "-j RETURN")
    yield rule(come, "-m conntrack --ctstate RELATED", "-j RETURN")
    yield rule(come, "-p tcp", f"-m tcp {_SYN}", _NEW, saru, "-j RETURN")
    yield rule(come, "-p udp", _NEW, saru, "-j RETURN")
    echo = icmp.of_type("echo-request")
    yield rule(come, echo, _NEW, f"{saru} --sense dst-addr", "-j RETURN")
    yield rule(come, icmp.of_type("echo-request", negated=True), _NEW, "-j RETURN")
    yield rule(come, "-j DROP")


def _masquerade(family: Family, network: str, networks: Iterable[str]) -> Iterator[Rule]:
    """What mangle let pass is masqueraded.

    The match is not asked again here: a block that went between the two answers would let a packet
    out with the real server's own address.
    """
    come = f"-s {network}"
    yield rule(come, "-m addrtype --src-type LOCAL", "-j ACCEPT")
    for other in networks:
        yield rule(come, f"-d {other}", "-j ACCEPT")
    for protocol in ("tcp", "udp", family.icmp.protocol):
        yield rule(come, f"-p {protocol}", _NEW, "-j MASQUERADE")


def _ports(service: Service, side: str) -> Iterator[tuple[str, ...]]:
    """Clauses for a service's ports, as many as it takes; one empty row for all ports."""
    ports = service.ports
    if not ports:
        yield ()
    elif len(ports) == 1 and service.protocol in (Protocol.TCP, Protocol.UDP):
        yield (f"-m {service.protocol} --{side} {ports[0]}",)
    else:
        for first in range(0, len(ports), MULTIPORT_MAX):
            some = ",".join(map(str, ports[first : first + MULTIPORT_MAX]))
            yield (f"-m multiport --{side}s {some}",)


def _host(address: str) -> str:
    return str(ipaddress.ip_network(address))
