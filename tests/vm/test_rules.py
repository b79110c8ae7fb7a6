# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru rules`, the guard and `saru link` inside guests of both kernels.

The checks themselves are in inside/check_rules.py and, for the link, in tests/net: they run in the
guest, in one process, because a program's start takes a second there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.lab import director, kernels
from deploy.lab.guest import Guest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    with Guest.boot("rules", kernel=request.param, memory_mb=256) as guest:
        director.prepare(guest)
        module = kernels.build_module(guest.kernel)
        modules = "veth bridge nf_conntrack ip_vs"
        guest.run(["sh", "-ec", f"cp {module} /root/xt_saru.ko; modprobe -a {modules}"])
        guest.run(["sh", "-ec", "ip link set lo up; mkdir -p /run/netns"])
        yield guest


def checked(guest: Guest, file: str, *options: str, variant: str = "nft") -> None:
    """Run a file's tests in the guest."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PROJECT / file)]
    environment = {"SARU_TEST_VARIANT": variant}
    done = guest.run(
        [*words, *options], check=False, timeout=900, cwd=str(PROJECT), env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_rules_and_guard(guest: Guest) -> None:
    variant = {"6.1": "legacy", "6.12": "nft"}[guest.kernel.version]
    checked(guest, "tests/vm/inside/check_rules.py", variant=variant)


def test_link(guest: Guest) -> None:
    """The mask on this kernel; the rest of the link does not depend on it."""
    checked(
        guest, "tests/net/test_link.py", "-k", "never_seen or without_the_mask or multicast_tells"
    )
