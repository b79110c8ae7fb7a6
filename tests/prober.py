# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes over the loopback without a pause: when was the last one accepted, the first refused?"""

import errno
import select
import socket
import time
from dataclasses import dataclass, field

ENOUGH = 50
"""Probes that must have been refused after a deadline, and as many accepted before it."""
ANSWER = 30_000
"""ms that the kernel may take to say what has become of a probe."""
SECOND = 10**9


def now() -> int:
    """CLOCK_BOOTTIME in ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass
class Seen:
    """What the probes told."""

    accepted: list[int] = field(default_factory=list)
    """When each accepted one was begun."""
    refused: list[int] = field(default_factory=list)
    """When each of the others was done."""
    accepted_again: int = 0
    """Accepted after another had been refused."""


class Prober:
    """UDP probes to this host's own port 9, which a rule guards.

    What it does not accept is rejected: each probe is told of either way, however late. The kernel
    must not limit how many errors it tells of (`net.ipv4.icmp_ratemask` 0).
    """

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", 9))
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.bind(("127.0.0.1", 40000))
        self.sender.connect(("127.0.0.1", 9))
        self.poll = select.poll()
        self.poll.register(self.receiver, select.POLLIN)
        self.poll.register(self.sender, select.POLLERR)
        self.seen = Seen()

    def probe(self) -> None:
        seen = self.seen
        begun = now()
        self.sender.send(b"")
        ready = [descriptor for descriptor, _ in self.poll.poll(ANSWER)]
        done = now()
        accepted = self.receiver.fileno() in ready
        if accepted:
            self.receiver.recv(1)
        else:
            assert ready, "a probe was neither accepted nor rejected"
            assert self.sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
        if accepted:
            seen.accepted_again += len(seen.refused) > 0
            seen.accepted.append(begun)
        else:
            seen.refused.append(done)

    def until(self, when: int) -> None:
        while now() < when:
            self.probe()

    def past(self, deadline: int) -> None:
        """Probe until the deadline has passed and ENOUGH more have been refused.

        A kernel that never refuses is given up, and found out by the figures.
        """
        self.until(deadline)
        enough = len(self.seen.refused) + ENOUGH
        while len(self.seen.refused) < enough and now() < deadline + 10 * SECOND:
            self.probe()
