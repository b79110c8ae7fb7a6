# SPDX-License-Identifier: GPL-2.0-or-later
"""The other directors, as their reports in ZooKeeper show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from saru.core.ensemble.record import Account
from saru.core.participant import Participant
from saru.core.share import Order
from saru.daemon.others import Other
from saru.errors import OutageError, SaruError, UsageError
from saru.membership.znode import LostError
from saru.membership.zookeeper import ZookeeperMembership


class Registered:
    """Those that are registered. Nobody watches the reports: they are read when somebody asks."""

    def __init__(
        self,
        core: Callable[[], Participant[Any]],
        membership: Callable[[], ZookeeperMembership],
    ) -> None:
        self._core = core
        self._membership = membership
        self._accounts: Mapping[str, Account] = {}

    async def refresh(self) -> None:
        """Read the reports."""
        try:
            self._accounts = await self._membership().accounts()
        except LostError:
            raise OutageError(_UNREACHABLE) from None

    def get(self, node: str) -> Other:
        """The director `node`, by its report."""
        account = self._accounts.get(node)
        if account is None:
            known = sorted({self._core().node, *self._accounts, *self._core().settings.nodes})
            if node in known:
                raise SaruError(f"{node} is not registered with ZooKeeper: its daemon does not run")
            raise UsageError(f"there is no director {node}; there are {', '.join(known)}")
        if account.left:
            raise SaruError(f"{node} has left: its daemon does not run")
        return Other(account.share, account.session.incarnation)

    def takers(self) -> set[str]:
        """Those that are able, and have a weight and a lease."""
        own = self._core().node
        return {
            name
            for name, account in self._accounts.items()
            if name != own and account.able and account.weight and account.leased
        }

    async def order(self, order: Order) -> None:
        """Into a znode that its director watches."""
        try:
            await self._membership().order(order)
        except LostError:
            raise OutageError(_UNREACHABLE) from None


_UNREACHABLE = "there is no connection with ZooKeeper: nothing can be asked of others now"
