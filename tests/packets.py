# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets built byte by byte, IPv4 and IPv6, well-formed or not."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

HOPOPTS, ICMP, TCP, UDP, IPV6, ROUTING, FRAGMENT = 0, 1, 6, 17, 41, 43, 44
DCCP, GRE, ESP, AH, ICMPV6, NONE, DSTOPTS, SCTP, UDPLITE = 33, 47, 50, 51, 58, 59, 60, 132, 136
ECHO_REPLY, UNREACHABLE, QUENCH, REDIRECT, ECHO, EXCEEDED, PARAMETER = 0, 3, 4, 5, 8, 11, 12
ECHO6, ECHO_REPLY6, NEIGHBOUR6 = 128, 129, 135
WITH_PORTS = (TCP, UDP, DCCP, SCTP, UDPLITE)

Address = IPv4Address | IPv6Address
MORE = 1
"""For `fragment`: more fragments follow."""


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    offset: int = 0,
    more: bool = False,
    identification: int = 1,
) -> bytes:
    """A packet of the addresses' family. IPv6: `protocol` is the first next header.

    `options`, `offset` (in units of 8 bytes) and `more` are IPv4's; IPv6 has `fragment`.
    """
    src, dst = ip_address(source), ip_address(destination)
    if isinstance(src, IPv6Address):
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
        return head + src.packed + dst.packed + payload
    words = 5 + len(options) // 4
    fields = [
        0x40 | words, 0, 4 * words + len(payload), identification,
        (0x2000 if more else 0) | offset, 64, protocol, 0, src.packed, dst.packed,
    ]  # fmt: skip
    fields[7] = checksum(struct.pack("!BBHHHBBH4s4s", *fields) + options)
    return struct.pack("!BBHHHBBH4s4s", *fields) + options + payload


def ports(source: int, destination: int, rest: int = 16) -> bytes:
    """The beginning of every transport header that has ports, and `rest` bytes more."""
    return struct.pack("!HH", source, destination) + b"\x50" * rest


def udp(source: int, destination: int, payload: bytes = b"") -> bytes:
    """A UDP datagram without a checksum."""
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def icmp(kind: int, rest: bytes = bytes(4), code: int = 0) -> bytes:
    """An ICMP message; ICMPv6 needs `icmpv6`'s checksum only where the kernel itself looks."""
    body = struct.pack("!BBH", kind, code, 0) + rest
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def icmp_error(kind: int, about: bytes) -> bytes:
    """An ICMP or ICMPv6 error about (the beginning of) a packet."""
    return icmp(kind, bytes(4) + about)


def extension(following: int, units: int = 0) -> bytes:
    """A hop-by-hop, destination or routing header of 8 + 8 * `units` bytes."""
    length = 8 + 8 * units
    return bytes([following, units, 1, length - 4]) + bytes(length - 4)


def authentication(following: int, words: int = 4) -> bytes:
    """An authentication header of 8 + 4 * `words` bytes."""
    return bytes([following, words, 0, 0]) + bytes(4 + 4 * words)


def fragment(following: int, offset: int, more: int = 0, identification: int = 7) -> bytes:
    """IPv6's fragment header; `offset` in units of 8 bytes."""
    return struct.pack("!BBHI", following, 0, offset << 3 | more, identification)
