# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane and `saru table` on real kernels."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.lab import kernels
from deploy.lab.guest import Done, Guest
from tests.vm import dataplane_checks
from tests.vm.conftest import ONE_KERNEL

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def guest(module_guest: Guest) -> Guest:
    return module_guest


def saru(guest: Guest, words: str) -> Done:
    """Run `saru` with these words."""
    return guest.run(["saru", *words.split()], check=False, timeout=300)


def told(guest: Guest, *lines: str, prefix: str = "") -> list[tuple[int, str, str]]:
    """The status, output and errors of `saru` with each of these command lines, after `prefix`."""
    program = [
        *prefix.split(),
        sys.executable,
        str(PROJECT / "tests/vm/inside/commands.py"),
        *lines,
    ]
    done = guest.run(program, timeout=300, cwd=str(PROJECT), env={"PYTHONPATH": str(PROJECT)})
    return [(status, output, errors) for status, output, errors in json.loads(done.stdout)]


@ONE_KERNEL
def test_table_commands(guest: Guest) -> None:
    words = "table set 7 --blocks 16 --held 0-3,8 --lease 500s --seed 3 --term 4.1.2 --serial 9"
    none, set_, got, renewed, listed, stale, *rest = told(
        guest,
        "table get 7",
        words,
        "table get 7 --json",
        "table renew 7 --lease 500s",
        "table list --json",
        words.replace("--serial 9", "--serial 8"),
        # What is left open follows on the table there is.
        "table set 7 --blocks 16 --held none --lease 9s",
        "table get 7 --packets",
        "table delete 7",
        "table delete 7",
        "table list",
    )
    assert none == (1, "", "saru: there is no table of id 7\n")
    assert set_ == (0, "", "")
    found = json.loads(got[1])
    left, deadline = found["table"].pop("left_ms"), found["table"].pop("deadline_ns")
    assert 0 < left <= 500_000
    assert found == {
        "id": 7,
        "table": {
            "blocks": 16,
            "seed": 3,
            "term": "4.1.2",
            "serial": 9,
            "held": [[0, 3], [8, 8]],
            "held_count": 5,
            "lease_max_ms": 500_000,
        },
        "users": 0,
        "accepted": 0,
        "rejected": 0,
        "expired": 0,
        "no_key": 0,
        "packets": [0] * 16,
    }
    assert renewed[0] == 0
    (one,) = json.loads(listed[1])
    assert one["table"]["deadline_ns"] > deadline
    assert stale == (1, "", "saru: the version is older than the table's\n")
    followed, shown, gone, again, empty = rest
    assert followed[0] == gone[0] == 0
    assert "  version: 4.1.2/10\n  blocks: 16, seed 0\n  held: 0 (none)\n" in shown[1]
    assert shown[1].endswith("  no block has seen a packet\n")
    assert again == (1, "", "saru: there is no table of id 7\n")
    assert empty[1].split()[0] == "ID"


@ONE_KERNEL
def test_without_the_right_to_it(guest: Guest) -> None:
    refused = (1, "", "saru: the kernel refuses: this needs CAP_NET_ADMIN (run it as root)\n")
    lines = ("table list", "table watch", "table set 1 --held all --lease 5s")
    assert told(guest, *lines, prefix="setpriv --bounding-set -net_admin") == [refused] * 3


@ONE_KERNEL
def test_another_network_namespace_has_tables_of_its_own(guest: Guest) -> None:
    here = "saru table set 8 --held all --lease 500s && saru table get 8 > /dev/null"
    there = "unshare -n saru table get 8"
    done = guest.run(["sh", "-c", f"{here} && {there}"], check=False, timeout=300)
    assert (done.returncode, done.stderr) == (1, "saru: there is no table of id 8\n")


@ONE_KERNEL
def test_watch_prints_events_until_interrupted(guest: Guest) -> None:
    watch = guest.start_command(["saru", "table", "watch", "--json"])
    while not watch.stdout:  # it takes a while until it listens
        assert watch.poll() is None, watch.stderr
        assert saru(guest, "table set 9 --held all --lease 500s").returncode == 0
    watch.kill(signal.SIGINT)
    done = watch.wait(60)
    assert (done.returncode, done.stderr) == (0, "")
    event = json.loads(done.stdout.splitlines()[0])
    assert (event["event"], event["id"], event["users"], event["term"]) == ("set", 9, 0, "1.0.0")


@ONE_KERNEL
def test_hand_and_daemon_do_not_push_together(guest: Guest) -> None:
    hold = (
        "import sys; from saru.daemon.lock import Lock; "
        "lock = Lock.of_table(1, 'saru'); print('held', flush=True); sys.stdin.read()"
    )
    daemon = guest.start_command([sys.executable, "-c", hold], cwd=str(PROJECT))
    while "held" not in daemon.stdout:
        assert daemon.poll() is None, daemon.stderr
        time.sleep(0.1)
    for words in ("set 1 --held all --lease 5s", "renew 1 --lease 5s"):
        done = saru(guest, f"table {words}")
        assert done.returncode == 1
        assert done.stderr.startswith("saru: a daemon keeps the tables of this host (cluster saru")
        assert done.stderr.endswith("stop it first, or write --force\n")
    assert saru(guest, "table set 1 --held all --lease 9s --force").returncode == 0
    daemon.kill()


@pytest.fixture(scope="module")
def results(guest: Guest) -> dict[str, Any]:
    """What the checks inside the guest found."""
    program = [sys.executable, "-m", "tests.vm.dataplane_checks"]
    done = guest.run(program, cwd=str(PROJECT), timeout=600)
    guest.run(["insmod", str(kernels.build_module(guest.kernel))])  # the last check removes it
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(guest.kernel.version, found["figures"])
    checks: dict[str, Any] = found["checks"]
    return checks


@pytest.mark.parametrize("check", dataplane_checks.CHECKS)
def test_the_data_plane_inside(results: dict[str, str | None], check: str) -> None:
    assert results[check] is None, results[check]


def test_the_kernel_has_nothing_to_complain_of(guest: Guest, results: dict[str, Any]) -> None:
    assert results
    log = guest.kernel_log()
    for sign in ("BUG:", "WARNING:", "Oops", "Call Trace"):
        assert sign not in log
