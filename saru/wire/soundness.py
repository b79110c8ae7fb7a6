# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the values of a message are possible at all.

What passes here may be false, but it fits the widths that the core and the kernel count in. All
checks raise ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence

from saru.config.reading import is_name
from saru.core.beat import Allocation, Beat
from saru.core.reach import MARK_BYTES
from saru.core.share import Order, Share
from saru.core.term import COUNTER_MAX, INCARNATION_MAX, NEVER, PLACE_MAX, Session, Term, Version

NUMBER_MAX = 2**63 - 1  # running numbers; one below the kernel's width, so that adding 1 fits
ID_MAX = 65535
WEIGHT_MAX = 65535
MEMBERS_MAX = 512  # directors named in one list of a beat
IDS_MAX = 1024  # ids named in one list of a beat
DIGEST_BYTES = 8
PING_MAX = 65535  # ping nodes reached
KEYS_MAX = 255  # keys named in a beat
DEADTIME_MAX = 24 * 3600 * 10**9  # ns; as long as a configuration can have it
WAIT_MAX = 3 * DEADTIME_MAX  # ns; as long as a start-up wait can be
_SETTINGS_MAX = 256


def check_beat(beat: Beat) -> None:
    """Refuse a beat with a value that no director can have meant."""
    _name(beat.node)
    _session(beat.session)
    _number(beat.seq)
    _within(len(beat.settings), _SETTINGS_MAX, "settings")
    if beat.term is not None:
        _term(beat.term)
    _within(beat.weight, WEIGHT_MAX, "weight")
    if beat.share is not None:
        _share(beat.share)
    if beat.reach is not None:
        _within(beat.reach.count, PING_MAX, "reach")
        if len(beat.reach.mark) != MARK_BYTES:
            raise ValueError(f"a mark of {len(beat.reach.mark)} bytes")
    _within(len(beat.keys), KEYS_MAX, "list")
    for key in beat.keys:
        _within(key.number, KEYS_MAX, "key")
        if len(key.mark) != MARK_BYTES:
            raise ValueError(f"a mark of {len(key.mark)} bytes")
    _number(beat.lease_left)
    _within(beat.deadtime, DEADTIME_MAX, "deadtime")
    _within(beat.wait_left, WAIT_MAX, "wait")
    for members in (beat.heard, beat.asks, beat.promises):
        _members(members)
    for heard in beat.heard:
        # In one piece: it is the longest list, and every beat of every director has one.
        session = heard.session
        if not (
            1 <= session.incarnation <= INCARNATION_MAX
            and 0 <= session.number <= NUMBER_MAX
            and 0 <= heard.seq <= NUMBER_MAX
            and is_name(heard.node)
        ):
            raise ValueError(f"heard {heard}")
    for ask in beat.asks:
        _fenced(ask.node, ask.session)
    for promise in beat.promises:
        _fenced(promise.node, promise.session)
        _number(promise.seq)
    _check_ids(beat)


def _check_ids(beat: Beat) -> None:
    for ids in (beat.reports, beat.offers, beat.wants):
        _within(len(ids), IDS_MAX, "list")
    for report in beat.reports:
        _id(report.id)
        for version in (report.taken, report.taking):
            if version is not None:
                _version(version)
    for offer in beat.offers:
        _id(offer.id)
        _version(offer.version)
        if len(offer.digest) != DIGEST_BYTES:
            raise ValueError(f"a digest of {len(offer.digest)} bytes")
    for want in beat.wants:
        _id(want.id)
        _version(want.version)


def check_allocation(allocation: Allocation) -> None:
    """Refuse an allocation whose names or numbers are impossible, or not in order."""
    _id(allocation.id)
    _version(allocation.version)
    for grant in allocation.grants:
        _member(grant.node, grant.session)
    names = [grant.node for grant in allocation.grants]
    if names != sorted(set(names)):
        raise ValueError("grants are not in the order of names, one each")


def check_order(order: Order) -> None:
    """Refuse an order whose names or numbers are impossible."""
    _name(order.node)
    _name(order.by)
    if not 1 <= order.incarnation <= INCARNATION_MAX:
        raise ValueError(f"incarnation {order.incarnation}")
    _number(order.revision)
    if order.weight is not None:
        _within(order.weight, WEIGHT_MAX, "weight")


def _share(share: Share) -> None:
    _within(share.weight, WEIGHT_MAX, "weight")
    _number(share.revision)
    if share.by:
        _name(share.by)


def _within(value: int, high: int, what: str) -> None:
    if not 0 <= value <= high:
        raise ValueError(f"{what} {value} is not from 0 to {high}")


def _number(value: int) -> None:
    _within(value, NUMBER_MAX, "number")


def _id(value: int) -> None:
    if not 1 <= value <= ID_MAX:
        raise ValueError(f"id {value}")


def _name(name: str) -> None:
    if not is_name(name):
        raise ValueError(f"name {name!r}")


def _session(session: Session) -> None:
    if not 1 <= session.incarnation <= INCARNATION_MAX:
        raise ValueError(f"incarnation {session.incarnation}")
    _number(session.number)


def _member(node: str, session: Session) -> None:
    _name(node)
    _session(session)


def _fenced(node: str, session: Session) -> None:
    """A node to be fenced may never have been heard by anybody: its session is NEVER then."""
    _name(node)
    if session != NEVER:
        _session(session)


def _members(members: Sequence[object]) -> None:
    _within(len(members), MEMBERS_MAX, "list")


def _term(term: Term) -> None:
    _within(term.counter, COUNTER_MAX, "counter")
    _within(term.place, PLACE_MAX, "place")
    if not 1 <= term.incarnation <= INCARNATION_MAX:
        raise ValueError(f"incarnation {term.incarnation}")


def _version(version: Version) -> None:
    _term(version.term)
    _number(version.serial)
