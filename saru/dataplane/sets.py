# SPDX-License-Identifier: GPL-2.0-or-later
"""A table as the elements of its sets in nftables, and back. Pure.

What no packet is judged by, the version first of all, is a comment of the interval in `until_N`:
an element without a timeout, so that it is still there when the lease has gone.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

from saru.core.blocks import BLOCKS_MAX, bitmap_blocks
from saru.core.term import Term, Version
from saru.dataplane import Table, elements
from saru.dataplane.bounds import Bounds
from saru.dataplane.elements import Request
from saru.dataplane.layout import division_key, held_set, lease_set, until_set

_COMMENT = re.compile(
    r"(\d+)\.(\d+)\.(\d+)/(\d+) until (\d+)/(\d+) held (\d+)/(\d+) seed (\d+)", re.ASCII
)
_TIME = struct.Struct(">Q")


def comment(table: Table) -> str:
    """What is written beside a table's deadline: at most 125 characters, of nft's 128."""
    return (
        f"{table.version} until {table.deadline}/{table.lease_max} "
        f"held {table.held.bit_count()}/{table.blocks} seed {table.seed}"
    )


def held_count(said: str) -> int | None:
    """How many blocks are held by a comment's word; None if the comment is not one of ours.

    A listing with fewer is not whole: while the kernel makes room in a set that has grown, which
    goes on for a while after the transaction, its listings leave elements out and give others
    twice (net/netfilter/nft_set_hash.c, nft_rhash_walk). Judging a packet goes wrong in no such
    way.
    """
    found = _COMMENT.fullmatch(said)
    return int(found[7]) if found is not None else None


def table(id_: int, said: str, held: int) -> Table | None:
    """The table of a comment and held blocks; None if the comment is not one of ours."""
    found = _COMMENT.fullmatch(said)
    if found is None:
        return None
    *term, serial, deadline, lease_max, _, blocks, seed = map(int, found.groups())
    return Table(
        id=id_,
        blocks=blocks,
        seed=seed,
        version=Version(Term(*term), serial),
        deadline=deadline,
        lease_max=lease_max,
        held=held,
    )


def replacement(
    there: Table | None, new: Table, bounds: Bounds, *, only: bool, sure: bool
) -> list[Request]:
    """The changes that make `there`, which the kernel has, into `new`.

    With `only` the kernel refuses them all if the lease of `there` has gone already. `sure`: no
    other blocks than those of `there` are in the kernel. A listing cannot promise that, see
    `held_count`; and where there is no table, somebody may have emptied the other sets alone.
    """
    number = new.id
    lease = lease_set(number)
    changes = [elements.flush(lease)]
    if only and there is not None:
        changes = elements.remove(lease, [_lease(there, 0)])
    if bounds.timeout:
        changes += elements.add(lease, [_lease(new, bounds.timeout)])
    changes.append(elements.flush(until_set(number)))
    changes += elements.add(
        until_set(number),
        (
            elements.element(_TIME.pack(0), comment=comment(new)),
            elements.element(_TIME.pack(bounds.until), end=True),
        ),
    )
    before = there.held if there is not None and sure else 0
    if not sure:
        changes.append(elements.flush(held_set(number)))
    changes += elements.remove(held_set(number), _blocks(before & ~new.held))
    changes += elements.add(held_set(number), _blocks(new.held & ~before))
    return changes


def removal(id_: int) -> list[Request]:
    """The changes after which an id has no table."""
    return [elements.flush(name(id_)) for name in (lease_set, until_set, held_set)]


def _lease(of: Table, timeout: int) -> bytes:
    key = division_key(of.blocks, of.seed)
    return elements.element(key.to_bytes(4, "big"), timeout=timeout)


def _blocks(bitmap: int) -> list[bytes]:
    return elements.numbered(bitmap_blocks(bitmap))


def held(numbers: Iterable[int]) -> int:
    """The bitmap of the blocks that are elements; others than blocks are none of ours."""
    found = bytearray(BLOCKS_MAX // 8)
    for number in numbers:
        if number < BLOCKS_MAX:
            found[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(found, "little")
