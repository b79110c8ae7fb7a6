# SPDX-License-Identifier: GPL-2.0-or-later
"""The netlink family: what it does, what it refuses, and that nothing shakes it."""

import json
import random
from typing import Any

import pytest

from deploy.lab import kernels
from deploy.lab.cache import PROJECT
from deploy.lab.guest import Guest
from tests.vm.conftest import run_inside

RANDOM_MESSAGES = 100_000
CHURN_SECONDS = 15
SECOND = 1_000_000_000


def check_cases(guest: Guest, program: str) -> None:
    found = json.loads(run_inside(guest, program).stdout)
    assert found
    wrong = [f"{name}: {text}" for name, text in found.items() if text]
    assert not wrong, "\n".join(wrong)


def test_tables(module_guest: Guest) -> None:
    check_cases(module_guest, "tables")


def test_refusals(module_guest: Guest) -> None:
    check_cases(module_guest, "refusals")


def test_random_messages(module_guest: Guest) -> None:
    """A warning in the kernel's log would end the guest; the fixture reads the log as well."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    done = run_inside(module_guest, "fuzz", str(RANDOM_MESSAGES), str(seed))
    answers = json.loads(done.stdout)
    print(answers)
    assert answers["sent"] >= RANDOM_MESSAGES
    assert len(answers) > 5, "the messages do not get far"


def test_churn(module_guest: Guest) -> None:
    """Rules come and go while tables are replaced and packets flow."""
    done = json.loads(run_inside(module_guest, "churn", str(CHURN_SECONDS)).stdout)
    print(done)
    assert all(turns > 0 for turns in done.values())


def test_removal(module_guest: Guest) -> None:
    """The module cannot go while a rule uses it, and goes cleanly with a table set."""
    module = kernels.build_module(module_guest.kernel)
    set_table = (
        "from tests.vm.inside import family as s; s.Family().set(1, deadline=s.now() + 10**9)"
    )
    for tool in ("iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft"):
        rule = ["INPUT", "-m", "saru", "--id", "1", "-j", "ACCEPT"]
        module_guest.run([tool, "-A", *rule])
        refused = module_guest.run(["rmmod", "xt_saru"], check=False)
        assert refused.returncode == 1
        assert "in use" in refused.stderr
        module_guest.run([tool, "-D", *rule])
        module_guest.run(["python3", "-c", set_table], env={"PYTHONPATH": str(PROJECT)})
        # nft destroys rules in a worker, and namespaces of other tests end in one.
        wait = "for _ in $(seq 600); do rmmod xt_saru && exit 0; sleep 0.1; done 2>&1; exit 1"
        module_guest.run(["sh", "-c", wait])
        module_guest.run(["insmod", str(module)])


def check_deadline(guest: Guest, *words: str) -> dict[str, Any]:
    done = run_inside(guest, "deadline", *words)
    seen: dict[str, Any] = json.loads(done.stdout)
    print(seen, done.stderr)
    assert seen["proper"], "in no try did the fault happen as it should"
    assert seen["accepted"] > 0
    assert seen["refused"] > 0
    assert seen["accepted_again"] == 0
    assert seen["last_begun"] < seen["deadline"], "accepted after the deadline"
    assert seen["first_refused_done"] >= seen["deadline"], "refused before the deadline"
    return seen


@pytest.mark.parametrize("scenario", ["stopped", "killed", "paused-renew", "paused-set"])
def test_deadline(module_guest: Guest, scenario: str) -> None:
    """The daemon hangs, dies, or is paused between computing a deadline and sending it."""
    check_deadline(module_guest, scenario)


@pytest.mark.parametrize("cpu", [0, 1])
def test_deadline_while_a_cpu_is_stalled(module_guest: Guest, cpu: int) -> None:
    """Either CPU, so also the one that keeps the time: the match reads the hardware's clock."""
    source = PROJECT / "tests/vm/stall"
    module = kernels.build_module(module_guest.kernel, source=source, name="stall")
    check_deadline(module_guest, "stalled", str(module), str(cpu))
