# SPDX-License-Identifier: GPL-2.0-or-later
"""An allocation in parts that fit a frame each, and whole again.

Decoding is bounded: a part names its allocation's id, and with the id the number of blocks is
known, and with that how much there can be.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from saru.config.reading import NAME_MAX
from saru.core.beat import Allocation, Grant
from saru.core.term import Session, Version
from saru.wire.soundness import DIGEST_BYTES, ID_MAX, check_allocation

PIECE = 1200  # bytes; with everything around it at most 1400
SEAL_BYTES = 8
GRANTS_MAX = 255  # an owner is one byte
ASSEMBLIES_MAX = 4  # unfinished allocations kept of one sender
_GRANT_MAX = NAME_MAX + 24  # bytes of a grant in MessagePack
_ENCODER = msgspec.msgpack.Encoder()


class DifferingError(Exception):
    """A part of an allocation of directors with other settings."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One piece of an allocation; `index` is 0 to `count` - 1, `settings` their seal."""

    id: int
    version: Version
    settings: bytes
    digest: bytes
    index: int
    count: int
    piece: bytes


class _Contents(msgspec.Struct, frozen=True, array_like=True):
    grants: tuple[tuple[str, Session], ...]
    owners: bytes  # per block: 1 + the place of its grant, 0 if nobody holds it


_PART = msgspec.msgpack.Decoder(Part)
_CONTENTS = msgspec.msgpack.Decoder(_Contents)


def inflate(body: bytes, limit: int) -> bytes:
    """What a zlib stream contains; ValueError if it is broken, cut off or more than `limit`."""
    stream = zlib.decompressobj()
    try:
        whole = stream.decompress(body, limit)
    except zlib.error as fault:
        raise ValueError(str(fault)) from None
    if not stream.eof or stream.unused_data:
        raise ValueError(f"cut off, or over {limit} bytes")
    return whole


def contents_max(blocks: int) -> int:
    """How many bytes the contents of an allocation of so many blocks can have, uncompressed."""
    return blocks + GRANTS_MAX * _GRANT_MAX + 16


def count_max(blocks: int) -> int:
    """How many parts an allocation of so many blocks can have."""
    size = contents_max(blocks)
    return -(-(size + size // 100 + 64) // PIECE)  # zlib can make things that much longer


def seal(settings: bytes) -> bytes:
    """What stands for the settings of this digest in a part.

    A term is unique among directors with the same settings alone: two clusters that share a name
    and a key can both make a version 1.0.1/1, and each must take its own.
    """
    return hashlib.sha256(settings).digest()[:SEAL_BYTES]


def split(allocation: Allocation, blocks: Mapping[int, int], sealed: bytes) -> list[Part]:
    """The parts of an allocation; `blocks`: how many each id has; `sealed`: the settings' seal.

    Raises ValueError for an unknown id, a block in two hands, and bitmaps of a wrong length.
    """
    check_allocation(allocation)
    if allocation.id not in blocks:
        raise ValueError(f"there is no id {allocation.id}")
    contents = _Contents(
        grants=tuple((grant.node, grant.session) for grant in allocation.grants),
        owners=_owners(allocation, blocks[allocation.id]),
    )
    whole = zlib.compress(_ENCODER.encode(contents), 6)
    digest = allocation.digest()
    pieces = [whole[at : at + PIECE] for at in range(0, len(whole), PIECE)]
    return [
        Part(allocation.id, allocation.version, sealed, digest, index, len(pieces), piece)
        for index, piece in enumerate(pieces)
    ]


def _owners(allocation: Allocation, blocks: int) -> bytes:
    if len(allocation.grants) > GRANTS_MAX:
        raise ValueError(f"{len(allocation.grants)} grants, over {GRANTS_MAX}")
    union = 0
    owners = 0
    for place, grant in enumerate(allocation.grants, 1):
        bitmap = grant.bitmap()
        if len(grant.blocks) != -(-blocks // 8) or bitmap >> blocks:
            raise ValueError(f"the bitmap of {grant.node} is not one of {blocks} blocks")
        if union & bitmap:
            raise ValueError(f"a block of {grant.node} is in two hands")
        union |= bitmap
        # One binary digit per block, the highest first; then one byte, and all grants overlaid:
        # whole-array steps in C where a loop over 65,536 blocks would take its time in Python.
        digits = f"{bitmap:0{blocks}b}".encode().translate(
            bytes.maketrans(b"01", bytes((0, place)))
        )
        owners |= int.from_bytes(digits, "big")
    return owners.to_bytes(blocks, "little")


def _bitmaps(owners: bytes, grants: int) -> list[bytes]:
    """The bitmap of each grant, undoing `_owners`."""
    blocks = len(owners)
    highest_first = owners[::-1]
    bitmaps = []
    for place in range(1, grants + 1):
        table = bytearray(b"0" * 256)
        table[place] = ord("1")
        bitmap = int(highest_first.translate(table), 2)
        bitmaps.append(bitmap.to_bytes(-(-blocks // 8), "little"))
    return bitmaps


def decode(body: bytes, blocks: Mapping[int, int], sealed: bytes) -> Part:
    """The part in a body; raises ValueError (msgspec's errors are ValueErrors) if it is none.

    And DifferingError if it is none of directors with the settings of this seal.
    """
    part = _PART.decode(body)
    if len(part.settings) != SEAL_BYTES:
        raise ValueError("a seal of a wrong length")
    if part.settings != sealed:
        raise DifferingError
    known = blocks.get(part.id) if 1 <= part.id <= ID_MAX else None
    if known is None:
        raise ValueError(f"there is no id {part.id}")
    if not 0 <= part.index < part.count <= count_max(known):
        raise ValueError(f"part {part.index} of {part.count}")
    if len(part.digest) != DIGEST_BYTES or not 0 < len(part.piece) <= PIECE:
        raise ValueError("a digest or piece of a wrong length")
    return part


class Assemblies:
    """The unfinished allocations of one sender; at most ASSEMBLIES_MAX, the oldest goes first."""

    def __init__(self) -> None:
        self._unfinished: OrderedDict[tuple[int, Version, bytes, int], dict[int, bytes]] = (
            OrderedDict()
        )

    @property
    def unfinished(self) -> int:
        """How many are kept."""
        return len(self._unfinished)

    def add(self, part: Part, blocks: Mapping[int, int]) -> Allocation | None:
        """The allocation that `part` completes. Raises ValueError if what it completes is none."""
        key = (part.id, part.version, part.digest, part.count)
        pieces = self._unfinished.setdefault(key, {})
        self._unfinished.move_to_end(key)
        if len(self._unfinished) > ASSEMBLIES_MAX:
            self._unfinished.popitem(last=False)
        pieces[part.index] = part.piece
        if len(pieces) < part.count:
            return None
        del self._unfinished[key]
        return _join(part, b"".join(pieces[index] for index in range(part.count)), blocks[part.id])


def _join(part: Part, whole: bytes, blocks: int) -> Allocation:
    contents = _CONTENTS.decode(inflate(whole, contents_max(blocks)))
    if len(contents.owners) != blocks:
        raise ValueError(f"owners of {len(contents.owners)} blocks instead of {blocks}")
    if max(contents.owners) > len(contents.grants):
        raise ValueError("a block of a grant that is not there")
    bitmaps = _bitmaps(contents.owners, len(contents.grants))
    allocation = Allocation(
        id=part.id,
        version=part.version,
        grants=tuple(
            Grant(node, session, bitmap)
            for (node, session), bitmap in zip(contents.grants, bitmaps, strict=True)
        ),
    )
    check_allocation(allocation)
    if allocation.digest() != part.digest:
        raise ValueError("not the allocation that its parts announced")
    return allocation
