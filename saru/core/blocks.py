# SPDX-License-Identifier: GPL-2.0-or-later
"""From a packet to its block, and sets of blocks as bitmaps.

This is the kernel match's arithmetic over again, for those who have to know
beforehand where a packet falls: probes, status, tests. Shared vectors hold the
two equal. Nothing here is fast enough for a packet's path, nor has to be.

A packet's block follows from the sense (which fields count) and the map:

``range``
    one field, taken as a number; blocks of equal width in numeric order. Ports
    and IPv4 addresses only. The default for one port field.
``hash``
    the fields' bytes in network order, in the order of `Sense`, through jhash
    with the table's seed, then scaled to the number of blocks. The default for
    everything else.

What is hashed is what nftables hashes for the same expression. A lone field
enters at its own length: a port as 2 bytes, an IPv4 address as 4, an IPv6
address as 16. In a concatenation every field starts on a multiple of 4 bytes,
so there a port is followed by 2 bytes of zero. jhash reads words in the machine's
byte order; this twin computes what little-endian machines do.

A bitmap is an int of any size: bit b stands for block b. On netlink and between
directors it is a string of little-endian bytes, block b being bit b % 8 of byte
b // 8.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import compress

BLOCKS_MIN = 2
BLOCKS_MAX = 65536
PORT_BITS = 16
OWNERS_MAX = 255
"""How many bitmaps `owners` can tell apart: an owner is one byte, 0 is nobody."""

_WORD = 0xFFFFFFFF
_JHASH_START = 0xDEADBEEF
_BIT_OF_DIGIT = bytes.maketrans(b"01", b"\x00\x01")
_DIGIT_OF_PLANE = [bytes(b"01"[value >> plane & 1] for value in range(256)) for plane in range(8)]


class Sense(enum.Flag):
    """The packet fields a rule looks at, in the order in which they are hashed.

    The values are those of `enum saru_sense` in the kernel's interface.
    """

    SRC_ADDR = 1
    DST_ADDR = 2
    SRC_PORT = 4
    DST_PORT = 8

    @classmethod
    def parse(cls, text: str) -> Sense:
        """The sense that `text` ("src-addr,src-port") names; ValueError if it names none."""
        sense = cls(0)
        for word in text.split(","):
            member = _SENSE_OF_WORD.get(word)
            if member is None:
                known = ", ".join(_SENSE_OF_WORD)
                raise ValueError(f"sense {text!r}: unknown field {word!r}; fields are {known}")
            if member in sense:
                raise ValueError(f"sense {text!r}: field {word!r} stands there twice")
            sense |= member
        return sense

    def __str__(self) -> str:
        return ",".join(word for word, member in _SENSE_OF_WORD.items() if member in self)


_SENSE_OF_WORD = {
    "src-addr": Sense.SRC_ADDR,
    "dst-addr": Sense.DST_ADDR,
    "src-port": Sense.SRC_PORT,
    "dst-port": Sense.DST_PORT,
}
_PORT_SENSES = (Sense.SRC_PORT, Sense.DST_PORT)


class Map(enum.Enum):
    """How a field becomes a block; the values are those of `enum saru_map`."""

    AUTO = 0
    HASH = 1
    RANGE = 2

    def resolve(self, sense: Sense) -> Map:
        """What AUTO stands for under `sense`; anything else as it is."""
        if self is not Map.AUTO:
            return self
        return Map.RANGE if sense in _PORT_SENSES else Map.HASH


@dataclass(frozen=True)
class Packet:
    """The fields of a packet that a sense can name; ports are 0 to 65535."""

    src_addr: IPv4Address | IPv6Address
    dst_addr: IPv4Address | IPv6Address
    src_port: int
    dst_port: int

    def fields(self, sense: Sense) -> list[bytes]:
        """The fields that `sense` names, in network order and in the order of `Sense`."""
        every = (
            (Sense.SRC_ADDR, self.src_addr.packed),
            (Sense.DST_ADDR, self.dst_addr.packed),
            (Sense.SRC_PORT, self.src_port.to_bytes(2, "big")),
            (Sense.DST_PORT, self.dst_port.to_bytes(2, "big")),
        )
        return [field for member, field in every if member in sense]

    def block(self, blocks: int, seed: int, sense: Sense, mapping: Map = Map.AUTO) -> int:
        """The packet's block among `blocks`; ValueError where the match refuses the rule too."""
        fields = self.fields(sense)
        if mapping.resolve(sense) is Map.HASH:
            return hash_block(fields, blocks, seed)
        if len(fields) != 1 or len(fields[0]) > 4:
            raise ValueError(f"sense {sense}: range takes one port or one IPv4 address")
        return range_block(int.from_bytes(fields[0], "big"), 8 * len(fields[0]), blocks)


def check_blocks(blocks: int) -> None:
    """Raise ValueError unless `blocks` is a number of blocks that a table can have."""
    if not BLOCKS_MIN <= blocks <= BLOCKS_MAX or blocks & (blocks - 1):
        raise ValueError(
            f"{blocks} blocks: must be a power of two from {BLOCKS_MIN} to {BLOCKS_MAX}"
        )


def hash_block(fields: Sequence[bytes], blocks: int, seed: int) -> int:
    """The block of `fields` (network order, at least one) under the seed of a table."""
    check_blocks(blocks)
    if not fields:
        raise ValueError("no field to hash")
    if len(fields) == 1:
        key = fields[0]
    else:
        key = b"".join(field.ljust(-len(field) % 4 + len(field), b"\0") for field in fields)
    return reciprocal_scale(jhash(key, seed), blocks)


def range_block(value: int, width_bits: int, blocks: int) -> int:
    """The block of a field of `width_bits` bits (16 or more) that has this value."""
    check_blocks(blocks)
    if not 0 <= value < 1 << width_bits:
        raise ValueError(f"{value} is not a number of {width_bits} bits")
    return value * blocks >> width_bits


def reciprocal_scale(value: int, end: int) -> int:
    """A 32-bit value scaled to 0 … end - 1, as the kernel does it: by its upper bits."""
    return value * end >> 32


def jhash(key: bytes, seed: int) -> int:
    """Linux's jhash of `key` with `seed` (32 bits) as its initial value: 0 to 2**32 - 1.

    That is Bob Jenkins' lookup3 over little-endian words. It takes 12 bytes a
    round; the last round, of 1 to 12 bytes filled up with zeros, is mixed
    differently. An empty key has no round at all.
    """
    a = b = c = (_JHASH_START + len(key) + seed) & _WORD
    for start in range(0, len(key), 12):
        part = key[start : start + 12].ljust(12, b"\0")
        a = a + int.from_bytes(part[0:4], "little") & _WORD
        b = b + int.from_bytes(part[4:8], "little") & _WORD
        c = c + int.from_bytes(part[8:12], "little") & _WORD
        if start + 12 >= len(key):
            return _final(a, b, c)
        a, b, c = _mix(a, b, c)
    return c


def _turn(word: int, by: int) -> int:
    """A 32-bit word rotated to the left."""
    return (word << by | word >> (32 - by)) & _WORD


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Stir a round that is not the last: one step six times, the names moving up by one each."""
    for by in (4, 6, 8, 16, 19, 4):
        a, b, c = b, c + b & _WORD, (a - c & _WORD) ^ _turn(c, by)
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    """Stir the last round: one step seven times, the names moving up by one each.

    What the last step made is the hash.
    """
    for by in (14, 11, 25, 16, 4, 14, 24):
        a, b, c = b, (c ^ b) - _turn(b, by) & _WORD, a
    return b


def bitmap_of(members: Iterable[int]) -> int:
    """The bitmap of these blocks."""
    bitmap = 0
    for block in members:
        bitmap |= 1 << block
    return bitmap


def bitmap_blocks(bitmap: int) -> list[int]:
    """The blocks of a bitmap, in ascending order."""
    return list(compress(range(bitmap.bit_length()), _bits(bitmap, 0)))


def bitmap_to_bytes(bitmap: int, blocks: int) -> bytes:
    """The bitmap as blocks / 8 little-endian bytes (at least 1); ValueError if it does not fit."""
    check_blocks(blocks)
    if bitmap < 0 or bitmap >> blocks:
        raise ValueError(f"the bitmap has blocks beyond the last of {blocks}")
    return bitmap.to_bytes((blocks + 7) // 8, "little")


def bitmap_from_bytes(data: bytes, blocks: int) -> int:
    """What `bitmap_to_bytes` made; ValueError if it cannot have."""
    check_blocks(blocks)
    if len(data) != (blocks + 7) // 8:
        raise ValueError(f"a bitmap of {blocks} blocks cannot have {len(data)} bytes")
    bitmap = int.from_bytes(data, "little")
    if bitmap >> blocks:
        raise ValueError(f"the bitmap has blocks beyond the last of {blocks}")
    return bitmap


def owners_of(bitmaps: Sequence[int], blocks: int) -> bytes:
    """One byte a block: 1 + the place of the bitmap that has the block, 0 if none has.

    The bitmaps must be disjoint and fit (ValueError), and at most OWNERS_MAX.
    Owners are put together by the bits of their numbers, one plane of all
    blocks each: 8 conversions, however many bitmaps there are.
    """
    check_blocks(blocks)
    if len(bitmaps) > OWNERS_MAX:
        raise ValueError(f"{len(bitmaps)} bitmaps: at most {OWNERS_MAX} can be told apart")
    planes = [0] * len(bitmaps).bit_length()
    taken = 0
    for owner, bitmap in enumerate(bitmaps, 1):
        if bitmap < 0 or bitmap >> blocks:
            raise ValueError(f"the bitmap has blocks beyond the last of {blocks}")
        if bitmap & taken:
            raise ValueError(f"block {bitmap_blocks(bitmap & taken)[0]} is in two bitmaps")
        taken |= bitmap
        for plane in range(owner.bit_length()):
            if owner >> plane & 1:
                planes[plane] |= bitmap
    total = sum(
        int.from_bytes(_bits(bitmap, blocks), "little") << plane
        for plane, bitmap in enumerate(planes)
    )
    return total.to_bytes(blocks, "little")


def bitmaps_of(owners: bytes, count: int) -> list[int]:
    """The bitmaps 1 … count that `owners_of` would turn into these owners."""
    everything = (1 << len(owners)) - 1
    backwards = owners[::-1]
    planes = [
        int(backwards.translate(_DIGIT_OF_PLANE[plane]), 2) for plane in range(count.bit_length())
    ]
    bitmaps = []
    for owner in range(1, count + 1):
        bitmap = everything
        for plane, members in enumerate(planes):
            bitmap &= members if owner >> plane & 1 else everything ^ members
        bitmaps.append(bitmap)
    return bitmaps


def _bits(bitmap: int, width: int) -> bytes:
    """The bitmap's bits from block 0 upwards, a byte each, at least `width` of them."""
    return f"{bitmap:0{width}b}".encode().translate(_BIT_OF_DIGIT)[::-1]
