# SPDX-License-Identifier: GPL-2.0-or-later
"""The core without what keeps nodes whose settings differ from serving the same blocks."""

from __future__ import annotations

from saru.core.rivals import Rivals
from tests.sim.planted.patch import instead

nobody_gives_way = instead(Rivals, _gives_way=lambda _self, _rival, _holds: None)
takes_at_once = instead(Rivals, _told=lambda _self, _now: True)
