# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rules of nftables name an id, and what they have counted. Pure.

A rule names an id if it looks into the set of its lease. Counters in such a rule count packets that
it was asked about, where they stand before that look, and packets that it accepted, where they
stand behind it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from saru.dataplane import Table, TableState
from saru.dataplane.elements import Message, attributes, names_in

_LEASE = re.compile(r"lease_(\d+)", re.ASCII)
_EXPRESSIONS = 4  # NFTA_RULE_EXPRESSIONS
_NAME, _DATA = 1, 2  # NFTA_EXPR_*
_LOOKUP_SET = 1
_PACKETS = 2


@dataclass(slots=True)
class Usage:
    """How many rules name an id, and the packets counted before and behind their look."""

    users: int = 0
    asked: int = 0
    accepted: int = 0

    def state(self, id_: int, table: Table | None) -> TableState:
        """With the table, all that is known of the id."""
        rejected = max(0, self.asked - self.accepted)
        return TableState(
            id=id_, table=table, users=self.users, accepted=self.accepted, rejected=rejected
        )


NONE = Usage()


def ids(sets: Iterable[Message]) -> list[int]:
    """The ids that have sets, in their order."""
    found = (_LEASE.fullmatch(names_in(each)[1]) for each in sets)
    return sorted(int(match[1]) for match in found if match)


def usage(rules: Iterable[Message]) -> dict[int, Usage]:
    """By id, from a list of the table's rules."""
    found: dict[int, Usage] = {}
    for rule in rules:
        before = 0
        named: Usage | None = None
        for name, data in _expressions(rule):
            if name == b"lookup":
                match = _LEASE.fullmatch(data.get(_LOOKUP_SET, b"").rstrip(b"\0").decode())
                if match:
                    named = found.setdefault(int(match[1]), Usage())
                    named.users += 1
                    named.asked += before
            elif name == b"counter":
                (packets,) = struct.unpack(">Q", data[_PACKETS])
                if named is None:
                    before += packets
                else:
                    named.accepted += packets
    return found


def _expressions(rule: Message) -> Iterator[tuple[bytes, dict[int, bytes]]]:
    for number, listed in attributes(rule.payload):
        if number == _EXPRESSIONS:
            for _, expression in attributes(listed):
                parts = dict(attributes(expression))
                yield parts[_NAME].rstrip(b"\0"), dict(attributes(parts.get(_DATA, b"")))
