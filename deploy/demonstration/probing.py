# SPDX-License-Identifier: GPL-2.0-or-later
"""Prober and capture together: what is sent, and who accepts it, without a gap."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.demonstration.capture import Capture
from deploy.demonstration.prober import Prober
from deploy.demonstration.record import Family
from deploy.lab import topology

TARGETS = {
    Family.IPV4: (topology.VIP, topology.PORT),
    Family.IPV6: (topology.VIP6, topology.PORT),
}
"""The VIP's addresses, and the service's port."""


@contextmanager
def probing(capture: Capture, prober: Prober, drain: float) -> Iterator[None]:
    """Probe without a pause. The capture goes on for `drain` seconds more, what an answer may
    need; then what went wrong in either is raised."""
    capture.open()
    prober.start()
    try:
        yield
    finally:
        try:
            prober.stop()
            time.sleep(drain)
        finally:
            capture.stop()
