# SPDX-License-Identifier: GPL-2.0-or-later
"""The core without what keeps nodes whose settings differ from serving the same blocks."""

from __future__ import annotations

from saru.core.coordinator import Coordinator
from saru.core.rivals import Rivals
from tests.sim.planted.patch import instead

nobody_gives_way = instead(Rivals, _gives_way=lambda _self, _rival, _holds: None)
_claim = Coordinator.claim


def _claim_without_former(self: Coordinator, now: int) -> object:
    former, self.former = self.former, False
    claim = _claim(self, now)
    self.former = former
    return claim


nothing_left = instead(Coordinator, claim=_claim_without_former)
takes_at_once = instead(Rivals, _told=lambda _self, _now: True)
