# SPDX-License-Identifier: GPL-2.0-or-later
"""What directors keep in ZooKeeper <-> bytes: typed, versioned, checked.

ZooKeeper takes up to a megabyte. An allocation says in one byte a block whose it is, compressed:
with 65,536 blocks and 64 directors that is less than 80 kB. All decoding raises ValueError for what
no director can have meant. Who may write is up to ZooKeeper's access lists.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

from saru.config.reading import is_name
from saru.core.beat import Allocation, Grant
from saru.core.blocks import BLOCKS_MAX, bitmap_to_bytes, bitmaps_of, owners_of
from saru.core.ensemble.record import Account, Document, Member, Reign
from saru.core.reach import MARK_BYTES
from saru.core.term import COUNTER_MAX, INCARNATION_MAX, PLACE_MAX, Session, Term, Version
from saru.wire.soundness import ID_MAX, IDS_MAX, NUMBER_MAX, WEIGHT_MAX

Record = TypeVar("Record")

FORMAT = 1
DIRECTORS_MAX = 255
_BITMAP_MAX = BLOCKS_MAX // 8


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """A document: `owners` is a byte a block, 1 + the place in `holders`, 0 for nobody's."""

    format: int
    id: int
    version: Version
    holders: tuple[tuple[str, Session], ...]
    owners: bytes
    members: tuple[Member, ...]
    company: Version | None
    lease: int


class _Stamped(msgspec.Struct, frozen=True, array_like=True):
    """Anything else, with the number of the format before it."""

    format: int
    content: msgspec.Raw


def encode_document(document: Document, blocks: int) -> bytes:
    """The content of `allocations/ID`, an id of that many blocks."""
    allocation = document.allocation
    owners = owners_of([grant.bitmap() for grant in allocation.grants], blocks)
    packed = _Packed(
        format=FORMAT,
        id=allocation.id,
        version=allocation.version,
        holders=tuple((grant.node, grant.session) for grant in allocation.grants),
        owners=zlib.compress(owners),
        members=document.members,
        company=document.company,
        lease=document.lease,
    )
    return msgspec.msgpack.encode(packed)


def decode_document(content: bytes, blocks: int) -> Document:
    """What `encode_document` made of an allocation with that many blocks."""
    packed = _decode(content, _Packed)
    _format(packed.format)
    unpacker = zlib.decompressobj()
    try:
        owners = unpacker.decompress(packed.owners, blocks + 1)
    except zlib.error as error:
        raise ValueError(f"the owners of the blocks are damaged: {error}") from None
    if len(owners) != blocks:
        raise ValueError(f"it is not for {blocks} blocks")
    if len(packed.holders) > DIRECTORS_MAX or max(owners) > len(packed.holders):
        raise ValueError("a block is nobody's that is named")
    for name, session in packed.holders:
        _named(name, session)
    grants = tuple(
        Grant(name, session, bitmap_to_bytes(bitmap, blocks))
        for (name, session), bitmap in zip(
            packed.holders, bitmaps_of(owners, len(packed.holders)), strict=True
        )
    )
    for member in packed.members:
        _named(member.node, member.session)
    names = [member.node for member in packed.members]
    if names != sorted(set(names)) or len(names) > DIRECTORS_MAX:
        raise ValueError("members are not in the order of names, one each")
    for version in (packed.version, packed.company, *(m.since for m in packed.members)):
        if version is not None:
            _term(version.term)
            _within(version.serial, 0, NUMBER_MAX, "serial")
    _within(packed.id, 1, ID_MAX, "id")
    _within(packed.lease, 1, NUMBER_MAX, "lease")
    allocation = Allocation(packed.id, packed.version, grants)
    return Document(allocation, packed.members, packed.company, packed.lease)


def encode_account(account: Account) -> bytes:
    """The content of `reports/NAME`."""
    return _encode(account)


def decode_account(content: bytes) -> Account:
    """What `encode_account` made."""
    account = _unstamped(content, Account)
    _named(account.node, account.session)
    _within(account.seq, 0, NUMBER_MAX, "number")
    _within(account.weight, 0, WEIGHT_MAX, "weight")
    _within(account.share.weight, 0, WEIGHT_MAX, "weight")
    _within(account.share.revision, 0, NUMBER_MAX, "number")
    if account.reach is not None:
        _within(account.reach.count, 0, WEIGHT_MAX, "reach")
        _within(len(account.reach.mark), MARK_BYTES, MARK_BYTES, "mark")
    _within(len(account.holds), 0, IDS_MAX, "list")
    for hold in account.holds:
        _within(hold.id, 1, ID_MAX, "id")
        _within(max(len(hold.held), len(hold.coming)), 0, _BITMAP_MAX, "bitmap")
    return account


def encode_reign(reign: Reign) -> bytes:
    """The content of `master`."""
    return _encode(reign)


def decode_reign(content: bytes) -> Reign:
    """What `encode_reign` made."""
    reign = _unstamped(content, Reign)
    if not is_name(reign.node):
        raise ValueError(f"name {reign.node!r}")
    _term(reign.term)
    return reign


def _encode(record: Account | Reign) -> bytes:
    return msgspec.msgpack.encode(_Stamped(FORMAT, msgspec.Raw(msgspec.msgpack.encode(record))))


def _unstamped(content: bytes, kind: type[Record]) -> Record:
    stamped = _decode(content, _Stamped)
    _format(stamped.format)
    return _decode(bytes(stamped.content), kind)


def _decode(content: bytes, kind: type[Record]) -> Record:
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except ValueError as error:
        raise ValueError(f"nobody can read it: {error}") from None


def _format(number: int) -> None:
    if number != FORMAT:
        raise ValueError(f"it is of format {number}; this program knows format {FORMAT}")


def _named(name: str, session: Session) -> None:
    if not is_name(name):
        raise ValueError(f"name {name!r}")
    _within(session.incarnation, 0, NUMBER_MAX, "czxid")
    _within(session.number, 0, NUMBER_MAX, "number")


def _term(term: Term) -> None:
    """Unlike a candidate's, any part of a czxid may be 0."""
    _within(term.counter, 0, COUNTER_MAX, "counter")
    _within(term.place, 0, PLACE_MAX, "place")
    _within(term.incarnation, 0, INCARNATION_MAX, "incarnation")


def _within(value: int, low: int, high: int, what: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{what} {value} is not from {low} to {high}")
