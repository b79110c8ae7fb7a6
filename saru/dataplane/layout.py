# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the data plane `nftables` keeps a table of the kernel, and what a rule asks of it. Pure.

Everything is in one table of nftables, `inet saru`. Each id N has three sets in it:

    lease_N   one element, which the kernel forgets when the lease's time is up. Its key stands for
              the division (number of blocks and seed), so that a rule written for another division
              matches nothing
    until_N   one interval of the wall clock, up to the deadline; beside it, as its comment, version
              and deadline of the table
    held_N    the held blocks by number

A rule that looks into them all, in this order, matches a packet of a held block before the
deadline: its `judgement`. Time comes first. A packet that is judged while a table is being replaced
may see the first sets as they were and the last as it is, but not the other way round: so it may be
accepted by the old table's time and the new one's blocks, never by the new one's time and the old
one's blocks.

Rules and data plane both `add` the sets, whoever comes first.
"""

from __future__ import annotations

from collections.abc import Iterable

from saru.core.blocks import Map, Sense, jhash
from saru.core.settings import Division
from saru.errors import SaruError

FAMILY = "inet"
TABLE = "saru"

WITH_PORTS = "meta l4proto { tcp, udp, udplite, sctp, dccp }"
"""Without this a rule would take the first bytes of other protocols, ICMP's among them, for ports.
"""

_PORT_SENSES = Sense.SRC_PORT | Sense.DST_PORT
_IP = {4: "ip", 6: "ip6"}
_FIELDS = (
    (Sense.SRC_ADDR, "{ip} saddr"),
    (Sense.DST_ADDR, "{ip} daddr"),
    (Sense.SRC_PORT, "th sport"),
    (Sense.DST_PORT, "th dport"),
)
_WORDS = {
    # 32 bits that begin with the field. A header that has ports is at least 8 bytes long.
    Sense.SRC_ADDR: "@nh,96,32",
    Sense.DST_ADDR: "@nh,128,32",
    Sense.SRC_PORT: "@th,0,32",
    Sense.DST_PORT: "@th,16,32",
}


def lease_set(id_: int) -> str:
    """The name of the set with the lease of an id."""
    return f"lease_{id_}"


def until_set(id_: int) -> str:
    """The name of the set with the deadline of an id."""
    return f"until_{id_}"


def held_set(id_: int) -> str:
    """The name of the set of the held blocks of an id."""
    return f"held_{id_}"


def definitions(ids: Iterable[int]) -> str:
    """What makes the table and the sets of these ids, in nft's syntax.

    What is there already is left as it is, its elements included.
    """
    lines = [f"add table {FAMILY} {TABLE}"]
    for id_ in ids:
        # `typeof`, for nft has no other words for these types; and no sizes, for then a set could
        # not be added over one of another size.
        for name, kind in (
            (lease_set(id_), "typeof @nh,0,32; flags timeout;"),
            (until_set(id_), "typeof meta time; flags interval;"),
            (held_set(id_), "typeof numgen random mod 65536;"),
        ):
            lines.append(f"add set {FAMILY} {TABLE} {name} {{ {kind} }}")
    return "".join(f"{line}\n" for line in lines)


def division_key(blocks: int, seed: int) -> int:
    """What stands for a division in its lease: 32 bits, not 0."""
    return jhash(blocks.to_bytes(4, "big") + seed.to_bytes(4, "big"), 0) or 1


def judgement(division: Division, sense: Sense, version: int, mapping: Map = Map.AUTO) -> str:
    """The matches, in nft's syntax, that hold for packets of held blocks before the deadline.

    `version` is 4 or 6; addresses are of that family, and a rule by ports alone is the same for
    both. Raises SaruError for a map that the sense does not have.
    """
    key = division_key(division.blocks, division.seed)
    matches = [WITH_PORTS] if sense & _PORT_SENSES else []
    # Whatever the packet: a word of it, with the key's bits set and all others cleared, is the key.
    matches.append(f"@nh,0,32 & {key:#x} | {key:#x} @{lease_set(division.id)}")
    matches.append(f"meta time @{until_set(division.id)}")
    if mapping.resolve(sense) is Map.HASH:
        block = _hashed(division, sense, version)
    else:
        block = _ranged(division, sense, version)
    matches.append(f"{block} @{held_set(division.id)}")
    return " ".join(matches)


def _hashed(division: Division, sense: Sense, version: int) -> str:
    fields = " . ".join(text.format(ip=_IP[version]) for member, text in _FIELDS if member in sense)
    return f"jhash {fields} mod {division.blocks} seed {division.seed:#x}"


def _ranged(division: Division, sense: Sense, version: int) -> str:
    """The block as the upper bits of a word, which nft turns into a number of the host's."""
    word = _WORDS.get(sense)
    if word is None or (version == 6 and not sense & _PORT_SENSES):
        raise SaruError(
            f"sense {sense}: the map range takes one port or one IPv4 address; write hash"
        )
    lower = 33 - division.blocks.bit_length()
    # Not `meta nfproto ipv4`: behind that nft would list the word as `ip saddr`, and what it then
    # lists it does not read again.
    of_family = "" if sense & _PORT_SENSES else "@nh,0,8 & 0xf0 == 0x40 "
    return f"{of_family}{word} >> {lower}"
