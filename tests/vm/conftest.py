# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with the module, one for each stock kernel, shared by all tests here."""

import re
import sys
from collections.abc import Iterator

import pytest

from deploy.lab import director, kernels
from deploy.lab.cache import PROJECT
from deploy.lab.guest import Done, Guest

WORRYING = re.compile(r"BUG|WARNING|Oops|RIP:|INFO: |memory leak|general protection")


@pytest.fixture(scope="session", params=kernels.VERSIONS)
def module_guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest with xt_saru and the extension. Any kernel warning would have ended it."""
    with Guest.boot(f"module-{request.param}", kernel=request.param, cpus=2) as guest:
        director.prepare(guest)
        yield guest
        log = guest.kernel_log()
        found = WORRYING.search(log)
        assert found is None, log[max(0, found.start() - 3000) : found.end() + 3000]


ONE_KERNEL = pytest.mark.parametrize("module_guest", kernels.VERSIONS[:1], indirect=True)
"""For what does not depend on the kernel, and takes long in a guest: programs of Python, say."""
EITHER_KIND = pytest.mark.parametrize(
    ("module_guest", "kind"),
    list(zip(kernels.VERSIONS, ("legacy", "nft"), strict=True)),
    indirect=["module_guest"],
)
"""One kernel with the rules of legacy iptables, the other with those of the nftables one."""
EITHER_VERSION = pytest.mark.parametrize(
    ("module_guest", "version"),
    list(zip(kernels.VERSIONS, (4, 6), strict=True)),
    indirect=["module_guest"],
)
"""One kernel with IPv4, the other with IPv6."""


def run_inside(
    guest: Guest, program: str, *words: str, input_text: str = "", timeout: float = 900
) -> Done:
    """Run `tests.vm.inside.PROGRAM` in a network namespace of its own in the guest."""
    return guest.run(
        ["unshare", "--net", sys.executable, "-m", f"tests.vm.inside.{program}", *words],
        env={"PYTHONPATH": str(PROJECT)},
        input=input_text.encode(),
        timeout=timeout,
    )
