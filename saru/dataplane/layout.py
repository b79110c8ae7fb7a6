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
from saru.dataplane import fields
from saru.errors import SaruError

FAMILY = "inet"
TABLE = "saru"


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


def judgement(
    division: Division, sense: Sense, version: int, mapping: Map = Map.AUTO, *, about: bool = False
) -> str:
    """The matches, in nft's syntax, that hold for packets of held blocks before the deadline.

    `version` is 4 or 6, and the packets are of that family. With `about` it is not the packet
    itself that is judged, but the one that it, an ICMP error, is about. Raises SaruError for a map
    that the sense does not have.
    """
    key = division_key(division.blocks, division.seed)
    read = fields.about(version) if about else fields.own(version)
    hashed = mapping.resolve(sense) is Map.HASH
    block = _hashed(division, sense, read) if hashed else _ranged(division, sense, version, read)
    return " ".join(
        (
            read.there(sense),
            # Whatever the packet: a word of it, with the key's bits set and all others cleared, is
            # the key.
            f"@nh,0,32 & {key:#x} | {key:#x} @{lease_set(division.id)}",
            f"meta time @{until_set(division.id)}",
            f"{block} @{held_set(division.id)}",
        )
    )


def _hashed(division: Division, sense: Sense, read: fields.Fields) -> str:
    joined = " . ".join(words for member, words in read.words.items() if member in sense)
    return f"jhash {joined} mod {division.blocks} seed {division.seed:#x}"


def _ranged(division: Division, sense: Sense, version: int, read: fields.Fields) -> str:
    """The block as the upper bits of a word, which nft turns into a number of the host's."""
    start = read.starts.get(sense)
    if start is None or (version == 6 and not sense & fields.PORTS):
        raise SaruError(
            f"sense {sense}: the map range takes one port or one IPv4 address; write hash"
        )
    return f"{start},32 >> {33 - division.blocks.bit_length()}"
