# SPDX-License-Identifier: GPL-2.0-or-later
"""When time alone will change something for a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saru.core.coordinator import Coordinator


def next_wake(core: Coordinator, now: int) -> int:
    """The next moment after `now` at which a tick finds anything to do."""
    settings, length = core.settings, core.settings.lease
    times = [
        core.next_beat,
        core.lease,
        core.start + settings.start_wait,
        core.start + settings.join_delay,
        core.listens_until,
        *core.yielding.times(),
        *core.rivals.times(),
        *core.office.times(),
        *core.voter.times(core.office.asks(now)),
    ]
    for peer in core.peers.values():
        times += [
            peer.received + length,
            peer.contact_until(length),
            peer.received + (settings.warntime or length),
        ]
    return min((time for time in times if time > now), default=now + settings.keepalive)
