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
