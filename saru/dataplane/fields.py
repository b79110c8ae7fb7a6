# SPDX-License-Identifier: GPL-2.0-or-later
"""Where nftables finds the fields that a sense names, in a packet or in one it is about. Pure.

Words that nft takes, and the matches that must hold before them: a packet that lacks a field, as
the kernel module's match sees it, must not be judged by the bytes that stand in the field's place.
What nftables has no way to find counts as lacking, too: it fails closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from saru.core.blocks import Sense

ERRORS = {4: "icmp type { 3, 4, 5, 11, 12 }", 6: "icmpv6 type < 128"}
"""Which ICMP messages are errors: about another packet."""
PORTS = Sense.SRC_PORT | Sense.DST_PORT

_BITS = {4: 32, 6: 128}  # of an address
# In an IP header, in bits: where the protocol stands, the two addresses, and what follows.
_PROTOCOL = {4: 72, 6: 48}
_SOURCE = {4: 96, 6: 64}
_END = {4: 160, 6: 320}
_FRAGMENT = 48  # IPv4's offset of a fragment
_ICMP_HEADER = 64  # bits; the packet that an error is about follows


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one packet.

    `words` are each field's own, of its own length; `starts` is where it begins, for those who look
    at more bits than it has (a header with ports is at least 8 bytes long). `with_addresses` and
    `with_ports` are matches that say that these fields are there.
    """

    words: Mapping[Sense, str]
    starts: Mapping[Sense, str]
    with_addresses: str
    with_ports: str

    def there(self, sense: Sense) -> str:
        """The matches that say that a packet has the fields of a sense."""
        return self.with_ports if sense & PORTS else self.with_addresses


def own(version: int) -> Fields:
    """The fields of the packet itself; `version` is 4 or 6.

    A fragment counts as having ports if it is IPv4's first one, or when it has been joined to the
    others. nft would take a later one's bytes for ports.
    """
    word = {4: "ip", 6: "ip6"}[version]
    whole = {4: "ip frag-off & 0x1fff == 0", 6: "exthdr frag missing"}[version]
    return Fields(
        words={
            Sense.SRC_ADDR: f"{word} saddr",
            Sense.DST_ADDR: f"{word} daddr",
            Sense.SRC_PORT: "th sport",
            Sense.DST_PORT: "th dport",
        },
        starts={
            Sense.SRC_ADDR: f"@nh,{_SOURCE[version]}",
            Sense.DST_ADDR: f"@nh,{_SOURCE[version] + _BITS[version]}",
            Sense.SRC_PORT: "@th,0",
            Sense.DST_PORT: "@th,16",
        },
        # Not `meta nfproto`: behind that nft would list the start of an address as `ip saddr`, and
        # what it then lists it does not read again.
        with_addresses=f"@nh,0,8 & 0xf0 == {version << 4:#x}",
        with_ports=f"meta l4proto {{ tcp, udp, udplite, sctp, dccp }} {whole}",
    )


def about(version: int) -> Fields:
    """The fields of the packet that an ICMP error is about, turned around: as its connection's.

    The rule must have asked for errors. A packet with IPv4 options or IPv6 extension headers, or a
    later fragment, has no ports here: nftables finds no way behind those.
    """
    bits, first = _BITS[version], f"@th,{_ICMP_HEADER},8"
    source, ports = _ICMP_HEADER + _SOURCE[version], _ICMP_HEADER + _END[version]
    starts = {
        Sense.SRC_ADDR: f"@th,{source + bits}",
        Sense.DST_ADDR: f"@th,{source}",
        Sense.SRC_PORT: f"@th,{ports + 16}",
        Sense.DST_PORT: f"@th,{ports}",
    }
    of_family = f"{first} & 0xf0 == {version << 4:#x}"
    plain = f"{first} 0x45 @th,{_ICMP_HEADER + _FRAGMENT},16 & 0x1fff == 0"
    return Fields(
        words={
            member: f"{start},{16 if member in PORTS else bits}" for member, start in starts.items()
        },
        starts=starts,
        with_addresses=of_family,
        with_ports=f"{plain if version == 4 else of_family} "
        f"@th,{_ICMP_HEADER + _PROTOCOL[version]},8 {{ 6, 17, 33, 132, 136 }}",
    )
