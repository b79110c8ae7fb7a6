# SPDX-License-Identifier: GPL-2.0-or-later
"""The core without R7 or R8; kernels and clocks that are not what the rules count on."""

from __future__ import annotations

from saru.core.action import Action
from saru.core.coordinator import Coordinator
from saru.core.term import Version
from saru.core.voter import Voter
from tests.sim import node
from tests.sim.kernel import Kernel, Nftables
from tests.sim.node import Node
from tests.sim.planted.patch import instead, together
from tests.unit.cores import Host

_settle = Coordinator._settle
_let_go = Coordinator._let_go
_waited = Voter.waited


def _let_go_and_say(self: Coordinator, now: int, why: str) -> None:
    _let_go(self, now, why)
    self.dropping = False


no_deadline = instead(Kernel, accepts=lambda self: self.held if self.version else 0)


def _by_the_wall_clock(self: Nftables) -> int:
    return self.held if self.version and self._wall() < self.until else 0


def _by_its_length(self: Nftables) -> int:
    return self.held if self.version and self._clock() < self.ends else 0


wall_clock_alone = instead(Nftables, accepts=_by_the_wall_clock)
length_alone = instead(Nftables, accepts=_by_its_length)
more_drift = instead(node, DRIFT=10 * node.DRIFT)
said_too_early = instead(Coordinator, _let_go=_let_go_and_say)
no_wait = instead(Voter, waited=lambda _self, _now: True)


def _set_anything(self: Kernel, version: Version, held: int, deadline: int) -> bool:
    self.version, self.held, self.deadline = version, held, deadline
    return True


kernel_takes_anything = instead(Kernel, set=_set_anything)
nothing_voided = together(
    instead(Node, _void=lambda _self: None), instead(Host, _void=lambda _self: None)
)


def _settle_with_former(self: Coordinator, now: int) -> list[Action]:
    self.former = False
    return _settle(self, now)


former_tables = instead(Coordinator, _settle=_settle_with_former)
joins_at_once = instead(Coordinator, joined=lambda _self, _now: True)
