# SPDX-License-Identifier: GPL-2.0-or-later
"""What nftables tells of changes, read as far as Saru's own rules and mask are concerned. Pure.

The kernel sends a message for each table, chain and rule that comes or goes, and one more at the
end of a transaction. iptables' own changes are among them where it is the nftables one. Saru's own
are chains called SARU-… there, or else the table `inet saru` with all its chains; the sets in it
are the data plane's, which looks after them itself.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator

from saru.dataplane.elements import attributes
from saru.dataplane.layout import TABLE
from saru.dataplane.netfilter import heard

_TABLE_NAME = 1  # the same number in the messages of tables, chains and rules
_CHAIN_NAME = {3: 3, 5: 3, 6: 2, 8: 2}  # by the kind of message
_NEW = {0, 3, 6}  # table, chain, rule
_GONE = {2, 5, 8}
_GONE_TABLE = 2
_END = 15  # NFT_MSG_NEWGEN
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6", 5: "netdev"}
_TABLES = {b"filter", b"mangle", b"nat"}
_OWN = re.compile(rb"SARU-[A-Z]+|saru-link-[A-Za-z0-9_.-]+")


class Notice(enum.IntEnum):
    """What a transaction means to the guard."""

    NOTHING = 0
    LOOK = 1  # a table that Saru's rules stand in has changed
    MASK_GONE = 2  # the mask, or a part of it, went and did not come back in the same transaction
    GONE = 3  # rules of Saru's own, or the way to them, went and did not come back likewise


class Notices:
    """Joins the messages of a transaction into one notice."""

    def __init__(self) -> None:
        self._gone: set[bytes] = set()
        self._come: set[bytes] = set()
        self._touched = False

    def feed(self, received: bytes) -> Iterator[Notice]:
        """The notices that a datagram completes; a transaction that means nothing yields none."""
        for kind, family, payload in heard(received):
            if kind == _END:
                notice = self._close()
                if notice is not Notice.NOTHING:
                    yield notice
            elif family in _FAMILIES and kind in _NEW | _GONE:
                self._take(kind, family, payload)

    def _take(self, kind: int, family: int, payload: bytes) -> None:
        said = dict(attributes(payload))
        table = said.get(_TABLE_NAME, b"").rstrip(b"\0")
        if _FAMILIES[family] == "inet":
            if table != TABLE.encode():
                return
            own = {table + b"/" + said.get(_CHAIN_NAME.get(kind, 0), b"")}
        else:
            own = set(_OWN.findall(payload))
            if not own and (_FAMILIES[family] == "netdev" or table not in _TABLES):
                return
        self._touched = True
        if kind in _NEW:
            self._come |= own
        elif kind == _GONE_TABLE:
            self._gone |= own | {table}
        else:
            self._gone |= own

    def _close(self) -> Notice:
        gone, touched = self._gone - self._come, self._touched
        self.__init__()  # type: ignore[misc]
        if gone:
            masks_alone = all(name.startswith(b"saru-link-") for name in gone)
            return Notice.MASK_GONE if masks_alone else Notice.GONE
        return Notice.LOOK if touched else Notice.NOTHING
