# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru rules`, the guard and `saru link` inside guests of both kernels.

The checks themselves are in inside/check_rules.py and, for the link, in tests/net: they run in the
guest, in one process, because a program's start takes a second there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from deploy.lab import director, kernels
from deploy.lab.cache import PROJECT
from deploy.lab.guest import Guest

MEMORY_MB = 1536
"""65,536 blocks in one transaction of nftables, with somebody who listens to its notices."""
MODULES = "veth bridge tun nf_conntrack ip_vs"


pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module", params=kernels.VERSIONS)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A director; its module lies where the checks can load it anew."""
    with Guest.boot("rules", kernel=request.param, memory_mb=MEMORY_MB) as guest:
        director.prepare(guest)
        module = kernels.build_module(guest.kernel)
        script = f"cp {module} /root/xt_saru.ko; modprobe -a {MODULES}; mkdir -p /run/netns"
        guest.run(["sh", "-ec", script])
        yield guest


def checked(guest: Guest, file: str, *options: str, variant: str = "nft") -> None:
    """Run a file's tests in a network namespace of the guest."""
    pytest_words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    words = ["unshare", "--net", *pytest_words, str(PROJECT / file), *options]
    environment = {"SARU_TEST_VARIANT": variant}
    done = guest.run(words, check=False, timeout=900, cwd=str(PROJECT), env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_rules_and_guard(guest: Guest) -> None:
    variant = {"6.1": "legacy", "6.12": "nft"}[guest.kernel.version]
    checked(guest, "tests/vm/inside/check_rules.py", variant=variant)


def test_link(guest: Guest) -> None:
    """The mask on this kernel; the rest of the link does not depend on it."""
    some = "never_seen or without_the_mask or multicast_tells"
    checked(guest, "tests/net/test_link.py", "-k", some)


@pytest.mark.parametrize("guest", kernels.VERSIONS[:1], indirect=True)
def test_nat(guest: Guest) -> None:
    """LVS-NAT: real packets through IPVS; on one kernel, for the rules are the same."""
    checked(guest, "tests/vm/inside/check_nat.py")


def test_nftables(guest: Guest) -> None:
    """What nftables makes of packets on this kernel, and what its rules let in."""
    rules = PROJECT / "tests/net/test_nft_rules.py"
    notices = PROJECT / "tests/net/test_rules_notice.py"
    checked(
        guest,
        "tests/net/test_nft_packets.py::test_packets",
        f"{rules}::test_who_lets_in_what",
        f"{rules}::test_established_connections_stay_and_new_ones_are_judged",
        f"{rules}::test_damage_is_named_and_mended[sync]",
        f"{notices}::test_what_a_change_of_nftables_own_rules_means",
    )


@pytest.mark.parametrize("guest", kernels.VERSIONS[:1], indirect=True)
def test_the_data_plane_nftables(guest: Guest) -> None:
    """Tables and deadlines of the data plane nftables on the oldest kernel there is; on the host's,
    which is newer as a rule, all of it is tried.

    Left out are those that start programs, which takes long in a guest, and the wall clock that is
    set back: then the lease ends by the kernel's ticks alone, and those of an emulated processor
    come late (on 6.1 it was seen to end 1.8 ms late).
    """
    net = PROJECT / "tests/net"
    left_out = " and ".join(
        f"not {word}" for word in ("others_transactions", "wall_clock_is_set_back")
    )
    checked(
        guest,
        *(
            str(net / f"test_nft_{of}.py")
            for of in ("dataplane", "listing", "letting_go", "deadline")
        ),
        "-k",
        left_out,
    )
