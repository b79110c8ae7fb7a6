# SPDX-License-Identifier: GPL-2.0-or-later
"""What directors keep in ZooKeeper: what comes back, what fits, what is refused."""

from __future__ import annotations

import msgspec
import pytest

from saru.core.beat import Allocation, Grant
from saru.core.ensemble.record import Account, Document, Holds, Member, Reign, term_of
from saru.core.reach import Reach
from saru.core.share import Share
from saru.core.term import Session, Term, Version
from saru.wire import znodes

CZXID = 7 << 32 | 0xABCDEF01
VERSION = Version(term_of(CZXID), 9)
ZOOKEEPER_MAX = 2**20 - 1  # bytes, of a request


def some_document(blocks: int, directors: int) -> Document:
    """Block b is held by director b % directors, as scattered as can be."""
    names = sorted(f"director-{n}" for n in range(directors))
    every = sum(1 << block for block in range(0, blocks, directors))
    grants = tuple(
        Grant(
            name,
            Session(CZXID + place, 3),
            (every << place & (1 << blocks) - 1).to_bytes((blocks + 7) // 8, "little"),
        )
        for place, name in enumerate(names)
    )
    members = tuple(Member(grant.node, grant.session, VERSION, VERSION) for grant in grants)
    return Document(Allocation(1, VERSION, grants), members, VERSION, 400_000_000)


def some_account() -> Account:
    holds = (Holds(1, VERSION, b"\x0f\x00", None, b"\0\0"),)
    session, reach = Session(CZXID, 2), Reach(3, b"mark")
    return Account(
        "walter", session, 17, VERSION.term, True, True, False, False, 100, Share(100), reach, holds
    )


def test_a_term_is_the_czxid_of_the_election_node() -> None:
    assert term_of(CZXID).packed() == CZXID
    assert term_of(CZXID) < term_of(CZXID + 1) < term_of(8 << 32)


@pytest.mark.parametrize(("blocks", "directors"), [(2, 1), (16, 3), (1024, 64), (65536, 64)])
def test_an_allocation_comes_back_and_fits(blocks: int, directors: int) -> None:
    document = some_document(blocks, directors)
    content = znodes.encode_document(document, blocks)
    assert znodes.decode_document(content, blocks) == document
    assert len(content) < ZOOKEEPER_MAX / 10


def test_an_account_of_many_blocks_fits() -> None:
    account = some_account()
    large = (Holds(1, VERSION, b"\xff" * 8192, VERSION, b"\xff" * 8192),)
    account = msgspec.structs.replace(account, holds=large)
    content = znodes.encode_account(account)
    assert znodes.decode_account(content) == account
    assert len(content) < ZOOKEEPER_MAX / 10


def test_accounts_and_reigns_come_back() -> None:
    account, reign = some_account(), Reign(Term(1, 2, 3), "wendy")
    assert znodes.decode_account(znodes.encode_account(account)) == account
    assert znodes.decode_reign(znodes.encode_reign(reign)) == reign


def test_an_allocation_of_another_number_of_blocks_is_refused() -> None:
    content = znodes.encode_document(some_document(16, 3), 16)
    for blocks in (8, 32):
        with pytest.raises(ValueError, match="it is not for"):
            znodes.decode_document(content, blocks)


@pytest.mark.parametrize("content", [b"", b"\xff", b"hello", b"\x92\x01\xc0", b"\x98" * 9])
def test_nonsense_is_refused(content: bytes) -> None:
    for decode in (znodes.decode_account, znodes.decode_reign):
        with pytest.raises(ValueError, match="nobody can read it"):
            decode(content)
    with pytest.raises(ValueError, match="nobody can read it"):
        znodes.decode_document(content, 16)


def test_another_format_is_refused() -> None:
    content = znodes.encode_reign(Reign(Term(1, 2, 3), "wendy")).replace(
        b"\x92\x01", b"\x92\x02", 1
    )
    with pytest.raises(ValueError, match="format 2"):
        znodes.decode_reign(content)


@pytest.mark.parametrize(
    "change",
    [
        {"node": "../master"},
        {"session": Session(-1, 0)},
        {"weight": 65536},
        {"seq": 2**63},
        {"holds": (Holds(0, None, b"", None, b""),)},
        {"holds": (Holds(1, None, b"\0" * 8193, None, b""),)},
        {"reach": Reach(1, b"no mark")},
    ],
)
def test_an_impossible_account_is_refused(change: dict[str, object]) -> None:
    account = msgspec.structs.replace(some_account(), **change)
    with pytest.raises(ValueError, match=r"is not from|name|nobody"):
        znodes.decode_account(znodes.encode_account(account))


def test_truncated_and_altered_documents_never_pass_for_others() -> None:
    document = some_document(16, 3)
    content = znodes.encode_document(document, 16)
    for place in range(len(content)):
        for altered in (content[:place], content[:place] + b"\xff" + content[place + 1 :]):
            try:
                znodes.decode_document(altered, 16)
            except ValueError:
                continue
