# SPDX-License-Identifier: GPL-2.0-or-later
"""What the core asks of ZooKeeper, beside what every core asks the daemon to do.

Requests go out in this order, on one connection. Each but `Evict` is asked once and stands until it
is answered; what was not answered when the connection broke (`disconnected`) is asked anew once
there is one (`connected`), for its outcome is unknown. Only `Stand` outlasts that.
"""

from __future__ import annotations

import msgspec

from saru.core.action import Action
from saru.core.ensemble.record import Account, Document, Reign
from saru.core.term import Term


class Register(msgspec.Struct, frozen=True):
    """Create `directors/NAME`, ephemeral; answer with `registered`.

    A node of that name that an earlier life of this very host has left is deleted first: its tables
    are gone (R7, R8). Another host's is not: wait until it is gone, and say so.
    """


class Touch(msgspec.Struct, frozen=True):
    """Set the data of `directors/NAME`, whatever to; answer with `touched`.

    The answer carries the czxid in the stat that ZooKeeper returned, nothing remembered. If there
    is no such node: `unregistered`.
    """

    number: int


class Report(msgspec.Struct, frozen=True):
    """Write `reports/NAME`, ephemeral, creating it if it must be; answer with `reported`."""

    account: Account


class Stand(msgspec.Struct, frozen=True):
    """Take part in the election; answer with `elected` when it is won.

    It stands until then, and while it is master, whatever becomes of the connection, until
    `withdrawn` or `deposed`.
    """


class Withdraw(msgspec.Struct, frozen=True):
    """Delete the election node, whether or not it is known to exist; answer with `withdrawn`.

    A node that were left behind would be first for ever, and nobody would be master by it.
    """


class Proclaim(msgspec.Struct, frozen=True):
    """Write `master` in a transaction that checks the election node of its term.

    Answer with `proclaimed`, or with `deposed` if there is no such node.
    """

    reign: Reign


class Store(msgspec.Struct, frozen=True):
    """Write `allocations/ID` in a transaction that checks the election node of `term`.

    It replaces exactly version `base` of the znode (`ABSENT`: it creates it). Answer with `stored`;
    with `deposed` if there is no such election node; with `refused` if `base` is not the version
    that is there, and then read the znode again (`document`).
    """

    term: Term
    document: Document
    base: int


class Evict(msgspec.Struct, frozen=True):
    """Delete `directors/NODE` if it still has this czxid; needs no answer."""

    node: str
    czxid: int


class Move(msgspec.Struct, frozen=True):
    """Create `moved/NAME`, persistent; it may be there already. Answer with `has_moved`."""


EnsembleAction = (
    Action | Register | Touch | Report | Stand | Withdraw | Proclaim | Store | Evict | Move
)
