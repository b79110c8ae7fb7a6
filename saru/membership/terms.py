# SPDX-License-Identifier: GPL-2.0-or-later
"""The znode `settings`: what all directors must have in common, before any of them registers.

Who comes first writes it. Whoever differs waits, and says in which keys, until nobody is registered
any more: then its own settings count. That nobody is, and that nobody comes meanwhile, ZooKeeper
itself sees to: `directors` is deleted and made anew in the transaction that writes them, which it
refuses while there are znodes in there.
"""

from __future__ import annotations

from saru.core.settings import Settings, differing
from saru.membership.keeper import Keeper, Watch
from saru.membership.places import Places
from saru.membership.znode import Make, Put, RacedError, Remove, Znode


class DifferingError(RacedError):
    """The cluster has other settings, and registered directors; `keys` are those that differ."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__(f"the cluster's settings differ from ours in {', '.join(keys)}")
        self.keys = tuple(keys)


async def agree(keeper: Keeper, places: Places, settings: Settings, watch: Watch) -> Znode:
    """The znode, whose settings are ours; `watch` is called when it has changed.

    Raises DifferingError; `watch` is called when it is worth another try.
    """
    ours = settings.digest().hex().encode()
    while True:
        found = await keeper.get(places.settings, watch)
        if found is not None and found.data == ours:
            return found
        try:
            if found is None:
                await keeper.commit(Make(places.settings, ours))
            else:
                await keeper.commit(
                    Put(places.settings, ours, found.version),
                    Remove(places.directors),
                    Make(places.directors, b""),
                )
        except RacedError as why:
            if found is None or why.place != 1:
                continue
            if (await keeper.children(places.directors, watch)).names:
                raise DifferingError(differing(_digest(found.data), settings.digest())) from None


def _digest(data: bytes) -> bytes:
    try:
        return bytes.fromhex(data.decode("ascii", "replace"))
    except ValueError:
        return b""
