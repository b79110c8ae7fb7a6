# SPDX-License-Identifier: GPL-2.0-or-later
"""Each test in here runs in a network namespace of its own (root needed)."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest
from pyroute2 import netns


@pytest.fixture(autouse=True)
def namespace() -> Iterator[str]:
    """A fresh namespace, entered by the test's process and so by all that it starts."""
    name = f"saru-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        netns.pushns(name)
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield name
        finally:
            netns.popns()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
