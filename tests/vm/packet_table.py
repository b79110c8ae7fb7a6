# SPDX-License-Identifier: GPL-2.0-or-later
"""The packets that the match is shown, each with what is expected of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from saru.core.blocks import Packet
from tests import packets as p

CLIENT = {4: "192.168.20.9", 6: "2001:db8:20::9"}
VIP = {4: "172.17.60.201", 6: "2001:db8:60::201"}
ROUTER = {4: "10.11.12.13", 6: "2001:db8:ee::13"}
ICMP = {4: p.ICMP, 6: p.ICMPV6}
ERRORS = {
    4: (p.UNREACHABLE, p.QUENCH, p.REDIRECT, p.EXCEEDED, p.PARAMETER),
    6: (1, 2, 3, 4),
}
ECHO = {4: (p.ECHO, p.ECHO_REPLY), 6: (p.ECHO6, p.ECHO_REPLY6)}
FIELDS = ("src-addr", "dst-addr", "src-port", "dst-port")
SENSES = tuple(
    ",".join(field for place, field in enumerate(FIELDS) if bits >> place & 1)
    for bits in range(1, 16)
)


@dataclass(frozen=True)
class Expected:
    """What the match makes of a packet: the fields it goes by, or why there are none."""

    fields: Packet | None
    drop: bool = False


NO_KEY = Expected(None)
DROP = Expected(None, drop=True)


@dataclass(frozen=True)
class Row:
    """Packets, the options they meet, and what is expected; the last packet is judged."""

    description: str
    packets: tuple[bytes, ...]
    expected: Expected
    sense: str = "src-port"
    protocol: str = ""
    map: str = ""
    untracked: bool = False
    multicast: bool = False
    invert: bool = False

    def rule(self) -> str:
        """The rule's matches, as iptables takes them."""
        words = [f"-p {self.protocol}"] if self.protocol else []
        words += ["-m saru", "! --id 1" if self.invert else "--id 1", f"--sense {self.sense}"]
        words += [f"--map {self.map}"] if self.map else []
        return " ".join(words)


def seen(version: int, source: int = 40000, destination: int = 80) -> Expected:
    """The client's connection to the VIP."""
    ends = ip_address(CLIENT[version]), ip_address(VIP[version])
    return Expected(Packet(*ends, source, destination))


def from_client(version: int, protocol: int, payload: bytes, **options: int) -> bytes:
    return p.ip(CLIENT[version], VIP[version], protocol, payload, **options)  # type: ignore[arg-type]


def answer(version: int, protocol: int = p.TCP, payload: bytes | None = None) -> bytes:
    """What the VIP sent to the client: what errors are about."""
    return p.ip(VIP[version], CLIENT[version], protocol, payload or p.ports(80, 40000))


def error(version: int, about: bytes, kind: int | None = None) -> bytes:
    body = p.icmp_error(ERRORS[version][0] if kind is None else kind, about)
    return p.ip(ROUTER[version], VIP[version], ICMP[version], body)


def rows(version: int) -> Iterator[Row]:
    """All rows of one family."""
    yield from plain(version)
    yield from without_ports(version)
    yield from errors(version)
    yield from cut_short(version)
    yield from fragments(version)
    yield from marked(version)
    yield from (options(), *ranges()) if version == 4 else extensions()


def plain(version: int) -> Iterator[Row]:
    tcp = from_client(version, p.TCP, p.ports(40000, 80))
    yes = seen(version)
    for sense in SENSES:
        yield Row(f"TCP by {sense}", (tcp,), yes, sense)
        yield Row(f"TCP by {sense}, hash", (tcp,), yes, sense, map="hash")
    for protocol in p.WITH_PORTS:
        packet = from_client(version, protocol, p.ports(65535, 1))
        for sense in ("src-port", "dst-port"):
            yield Row(f"protocol {protocol}", (packet,), seen(version, 65535, 1), sense)
    for name, number in (("tcp", p.TCP), ("udp", p.UDP), ("sctp", p.SCTP)):
        packet = from_client(version, number, p.ports(40000, 80))
        for map_ in ("", "hash"):
            yield Row(f"rule for {name}", (packet,), yes, protocol=name, map=map_)
        yield Row(f"inverted, for {name}", (packet,), yes, protocol=name, invert=True)
    yield Row("rule for all but udp", (tcp,), yes, protocol="tcp", sense="dst-port")
    yield Row("inverted", (tcp,), yes, invert=True)
    yield Row("port 0", (from_client(version, p.UDP, p.udp(0, 0)),), seen(version, 0, 0))


def without_ports(version: int) -> Iterator[Row]:
    for kind in ECHO[version]:
        echo = from_client(version, ICMP[version], p.icmp(kind))
        yield Row(f"ICMP {kind} by port", (echo,), NO_KEY)
        yield Row(f"ICMP {kind} by port, inverted", (echo,), NO_KEY, invert=True)
        yield Row(f"ICMP {kind} by both", (echo,), NO_KEY, "src-addr,src-port")
        yield Row(f"ICMP {kind} by address", (echo,), seen(version), "src-addr")
    for protocol in (p.GRE, p.ESP, 200):
        packet = from_client(version, protocol, bytes(40))
        yield Row(f"protocol {protocol} by port", (packet,), NO_KEY)
        yield Row(f"protocol {protocol} by address", (packet,), seen(version), "src-addr")


def errors(version: int) -> Iterator[Row]:
    yes = seen(version)
    for kind in ERRORS[version]:
        packet = error(version, answer(version), kind)
        for sense in ("src-port", "dst-port", "src-addr", "dst-addr", ",".join(FIELDS)):
            yield Row(f"ICMP error {kind} by {sense}", (packet,), yes, sense)
    about_udp = error(version, answer(version, p.UDP, p.udp(80, 40000)))
    yield Row("error about UDP", (about_udp,), yes, protocol="icmpv6" if version == 6 else "icmp")
    yield Row("error about UDP, inverted", (about_udp,), yes, invert=True)
    echo = answer(version, ICMP[version], p.icmp(ECHO[version][0]))
    yield Row("error about an echo, by port", (error(version, echo),), NO_KEY)
    yield Row("error about an echo, by address", (error(version, echo),), yes, "src-addr")
    header = len(answer(version)) - 20
    for length, what in ((header + 3, "cut in its ports"), (header, "without ports")):
        packet = error(version, answer(version)[:length])
        yield Row(f"error about a packet {what}", (packet,), NO_KEY)
        yield Row(f"error about a packet {what}, by address", (packet,), yes, "src-addr")
    for length in (header - 1, 0):
        packet = error(version, answer(version)[:length])
        yield Row(f"error about {length} bytes", (packet,), NO_KEY, "src-addr")
    other = answer(10 - version)
    yield Row("error about the other family", (error(version, other),), NO_KEY, "src-addr")


def cut_short(version: int) -> Iterator[Row]:
    for length in (0, 2, 3):
        packet = from_client(version, p.TCP, p.ports(40000, 80)[:length])
        yield Row(f"{length} bytes of TCP by port", (packet,), DROP)
        yield Row(f"{length} bytes of TCP by port, for tcp", (packet,), DROP, "src-port", "tcp")
        yield Row(f"{length} bytes of TCP, inverted", (packet,), DROP, invert=True)
        yield Row(f"{length} bytes of TCP by address", (packet,), seen(version), "src-addr")
    four = from_client(version, p.TCP, p.ports(40000, 80)[:4])
    yield Row("4 bytes of TCP", (four,), seen(version))
    for length in (0, 7):
        body = p.icmp_error(ERRORS[version][0], b"")[:length]
        packet = from_client(version, ICMP[version], body)
        yield Row(f"{length} bytes of ICMP by address", (packet,), DROP, "src-addr")


def fragments(version: int) -> Iterator[Row]:
    body = p.udp(40000, 80, bytes(range(56)))
    if version == 4:
        first = from_client(4, p.UDP, body[:32], more=True)
        later = from_client(4, p.UDP, body[32:], offset=4)
    else:
        first = from_client(6, p.FRAGMENT, p.fragment(p.UDP, 0, p.MORE) + body[:32])
        later = from_client(6, p.FRAGMENT, p.fragment(p.UDP, 4) + body[32:])
    yes = seen(version)
    for order in ((first, later), (later, first)):
        yield Row("a packet in two fragments", order, yes)
        yield Row("a packet in two fragments, for udp", order, yes, protocol="udp")
    yield Row("a first fragment alone", (first,), yes, untracked=True)
    yield Row("a later fragment alone", (later,), NO_KEY, untracked=True)
    yield Row("a later fragment alone, inverted", (later,), NO_KEY, untracked=True, invert=True)
    yield Row("a later fragment alone, hash", (later,), NO_KEY, "src-addr,src-port", untracked=True)
    yield Row("a later fragment by address", (later,), yes, "src-addr", untracked=True)
    if version == 4:
        yield Row("a later fragment for udp", (later,), NO_KEY, protocol="udp", untracked=True)


def marked(version: int) -> Iterator[Row]:
    tcp = from_client(version, p.TCP, p.ports(40000, 80))
    yes = seen(version)
    for sense in ("src-port", "src-addr"):
        for invert in (False, True):
            yield Row("a multicast frame", (tcp,), yes, sense, multicast=True, invert=invert)
    yield Row("a multicast frame for tcp", (tcp,), yes, protocol="tcp", multicast=True)
    echo = from_client(version, ICMP[version], p.icmp(ECHO[version][0]))
    yield Row("a multicast frame without ports", (echo,), NO_KEY, multicast=True)


def options() -> Row:
    packet = p.ip(CLIENT[4], VIP[4], p.TCP, p.ports(40000, 80), options=b"\1" * 12)
    return Row("IPv4 with options", (packet,), seen(4))


def ranges() -> Iterator[Row]:
    tcp = from_client(4, p.TCP, p.ports(40000, 80))
    for sense in ("src-addr", "dst-addr"):
        yield Row(f"range of {sense}", (tcp,), seen(4), sense, map="range")
    ah = from_client(4, p.AH, p.authentication(p.TCP) + p.ports(40000, 80))
    yield Row("IPv4 authentication header", (ah,), NO_KEY)


def extensions() -> Iterator[Row]:
    tcp, yes = p.ports(40000, 80), seen(6)

    def chain(*headers: tuple[int, bytes], last: int = p.TCP, payload: bytes = tcp) -> bytes:
        """Extension headers, each given without its first byte, before a payload."""
        kinds = [kind for kind, _ in headers] + [last]
        data = b"".join(
            bytes([kinds[place + 1]]) + rest[1:] for place, (_, rest) in enumerate(headers)
        )
        return from_client(6, kinds[0], data + payload)

    hop, dst, route = (p.extension(0, units) for units in (0, 2, 1))
    auth, whole = p.authentication(0), p.fragment(0, 0)
    single = {
        "hop-by-hop": (p.HOPOPTS, hop), "destination": (p.DSTOPTS, dst),
        "routing": (p.ROUTING, route), "authentication": (p.AH, auth),
    }  # fmt: skip
    for name, header in single.items():
        for sense in ("src-port", "dst-addr,src-port"):
            yield Row(f"behind a {name} header", (chain(header),), yes, sense)
        if header[0] != p.AH:  # `-p tcp` does not look behind this one in nftables' tables
            yield Row(f"behind a {name} header, for tcp", (chain(header),), yes, protocol="tcp")
    atomic = chain((p.FRAGMENT, whole))
    yield Row("behind an atomic fragment's header", (atomic,), yes, untracked=True)
    yield Row("behind all of them", (chain(*single.values()),), yes)
    seven = [(p.DSTOPTS, p.extension(0))] * 7
    yield Row("behind 8 headers", (chain(*seven, (p.DSTOPTS, dst)),), yes)
    nine = chain(*seven, *seven[:2])
    yield Row("behind 9 headers", (nine,), NO_KEY)
    yield Row("behind 9 headers, by address", (nine,), yes, "src-addr")
    yield Row("nothing follows", (chain(*seven[:1], last=p.NONE),), NO_KEY)
    yield Row("nothing follows, by address", (from_client(6, p.NONE, b""),), yes, "src-addr")
    cut = from_client(6, p.DSTOPTS, b"\x06\x00")
    yield Row("an extension header cut short", (cut,), DROP)
    yield Row("an extension header cut short, by address", (cut,), DROP, "src-addr")
    beyond = from_client(6, p.DSTOPTS, b"\x06\x09" + bytes(6))
    yield Row("an extension header longer than the packet", (beyond,), DROP)
    about = p.ip(VIP[6], CLIENT[6], p.DSTOPTS, p.extension(p.TCP) + p.ports(80, 40000))
    yield Row("error about a packet with an extension header", (error(6, about),), yes)
    hidden = chain((p.DSTOPTS, dst), last=p.ICMPV6, payload=p.icmp_error(1, answer(6)))
    yield Row("error behind an extension header", (hidden,), yes)
    solicitation = from_client(6, p.ICMPV6, p.icmp(p.NEIGHBOUR6, bytes(20)))
    yield Row("neighbour solicitation", (solicitation,), NO_KEY)
