# SPDX-License-Identifier: GPL-2.0-or-later
"""The unit under a real systemd, installed as the README says: one director, alone in its cluster.

The guest's clock counts the guest's own instructions: a busy host makes it slow, and takes nothing
from the lease that a restart has to be done in. Each test goes on where the one before has stopped.
"""

from __future__ import annotations

import json
import re
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.lab import director, kernels
from deploy.lab.cache import PROJECT
from deploy.lab.channel import Process
from deploy.lab.guest import Guest
from tests.vm.readme import in_room
from tests.vm.systemd import Systemd

PATIENCE = 300.0
"""Seconds that anything here may take on a busy host."""
CONFIG = """\
[cluster]
nodes = ["walter"]

[times]
keepalive = "300ms"
deadtime = "3s"

[heartbeat]
interfaces = ["eth1"]
authkeys = "/etc/saru/authkeys"

[director]
dataplane = "module"

[link]
interface = "eth0"
mac = "00:50:56:14:03:40"
addresses = ["172.17.60.201/16"]

[[service]]
vip = "172.17.60.201"
ports = [80, 443]
"""
KEYS = f"auth 1\n1 sha256 {'5' * 64}\n"
BLOCKS = 1024
CAVEAT = 'The quorum is "none"'
CAPABILITIES = {
    "net_bind_service": 10, "net_admin": 12, "net_raw": 13,
    "ipc_lock": 14, "sys_module": 16, "sys_nice": 23,
}  # fmt: skip
"""Their numbers in <linux/capability.h>."""


class Walter:
    """The director; its service is `saru`."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._prepare()
        self.systemd = Systemd(guest)
        self.run = self.systemd.run

    def _prepare(self) -> None:
        """Programs, module, configuration and interfaces; neither rules nor link.

        The service does not see /tmp, and this checkout may be there, or the cache.
        """
        packages = Path(sysconfig.get_path("purelib")).resolve()
        module = kernels.build_module(self.guest.kernel)
        wrapper = (
            "#!/bin/sh\n"
            'PYTHONPATH=/opt/saru/own:/opt/saru/packages exec /usr/bin/python3 -m saru "$@"\n'
        )
        script = [
            director.BEGIN,
            director.script(self.guest.kernel),
            # It is for the unit to load the module, by its name.
            "rmmod xt_saru",
            director.file("/etc/modprobe.d/saru.conf", f"install xt_saru insmod {module}"),
            "mkdir -p /opt/saru/own/saru /opt/saru/packages",
            f"mount --bind {PROJECT}/saru /opt/saru/own/saru",
            f"mount --bind {packages} /opt/saru/packages",
            director.file(director.WRAPPER, wrapper, 0o755),
            director.file("/etc/saru/saru.conf", CONFIG),
            director.file("/etc/saru/authkeys", KEYS, 0o600),
            *(f"ip link add eth{n} type dummy && ip link set eth{n} up" for n in range(2)),
            "ip addr add 192.168.6.11/24 dev eth1",
        ]
        self.guest.run(["bash", "-s"], input="\n".join(script).encode())

    def facts(self, *names: str) -> dict[str, str]:
        return dict(self.systemd.facts("saru", *names))

    def said(self, pattern: str) -> int:
        """How many lines of the log, of all lives and with systemd's own, have it."""
        log = self.run("journalctl --sync && journalctl --unit=saru --output=cat").stdout
        return sum(re.search(pattern, line) is not None for line in log.splitlines())

    def complaints(self) -> list[str]:
        """What it has warned of in this life, but for what this cluster cannot help."""
        words = "journalctl --priority=warning --output=cat"
        this = "_SYSTEMD_INVOCATION_ID=$(systemctl show --property=InvocationID --value saru)"
        log = self.run(f"journalctl --sync && {words} {this}").stdout
        return [line for line in log.splitlines() if not line.startswith(CAVEAT)]

    def holding(self) -> Any:
        """Its status once the kernel has all its blocks."""
        told: list[Any] = []

        def holds() -> bool:
            told.append(json.loads(self.run("saru status --json").stdout))
            return bool(told[-1]["divisions"][0]["held"] == BLOCKS)

        eventually("it holds its blocks", holds)
        return told[-1]

    def table(self) -> Any:
        """What the kernel has under id 1; None if nothing."""
        return json.loads(self.run("saru table get 1 --json").stdout)["table"]


def eventually(what: str, so: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < until, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def walter() -> Iterator[Walter]:
    """The service is installed, and not started."""
    with Guest.boot("walter", icount=True, memory_mb=256) as guest:
        made = Walter(guest)
        for block in in_room("install"):
            if block.note.startswith("file: "):
                made.run(director.file(block.note.split()[2], block.text))
            elif "systemctl" in block.text:
                *before, last = block.commands()
                assert last == "systemctl start saru"
                made.run("\n".join(["set -e", *before]))
        yield made


@pytest.fixture(scope="module")
def watch(walter: Walter) -> Process:
    """`saru table watch` beside the running service; it has begun to listen."""
    watch = walter.guest.start_command(["saru", "table", "watch", "--json"])
    rule = "OUTPUT -m saru --id 9 -j ACCEPT"

    def listens() -> bool:
        assert watch.poll() is None, watch.stderr
        walter.run(f"iptables -w -A {rule} && iptables -w -D {rule}")
        return bool(watch.stdout)

    eventually("it prints events", listens)
    return watch


def happened(watch: Process) -> list[str]:
    """What has happened to the director's table since the watch began."""
    events = [json.loads(line) for line in watch.stdout.splitlines()]
    return [event["event"] for event in events if event["id"] == 1]


def test_it_has_started_when_it_is_past_its_start_up_wait(walter: Walter) -> None:
    status = json.loads(walter.run("systemctl start saru && saru status --json").stdout)
    assert [one["waited"] for one in status["directors"]] == [True]
    assert walter.facts("ActiveState", "Result") == {"ActiveState": "active", "Result": "success"}


def test_the_sandbox_is_closed_and_keeps_it_from_nothing(walter: Walter) -> None:
    """Rules and link it has made itself, in there."""
    pid = walter.facts("MainPID")["MainPID"]
    shown = walter.run(f"cat /proc/{pid}/status").stdout
    is_so = dict(line.split(":\t", 1) for line in shown.splitlines() if ":\t" in line)
    assert int(is_so["CapBnd"], 16) == sum(1 << number for number in CAPABILITIES.values())
    assert (is_so["NoNewPrivs"], is_so["Seccomp"]) == ("1", "2")
    closed = f"touch /proc/{pid}/root/usr/touched; ls /proc/{pid}/root/dev/ttyS0"
    refused = walter.run(closed, check=False)
    assert "Read-only file system" in refused.stderr
    assert "No such file" in refused.stderr
    assert int(is_so["VmLck"].split()[0]) > 0
    assert "SCHED_RR" in walter.run(f"chrt --pid {pid}").stdout
    assert walter.run(f"cat /proc/{pid}/oom_score_adj").stdout == "-900\n"
    walter.run("saru rules check && saru link check && grep ^xt_saru /proc/modules")
    assert walter.holding()["problems"] == []
    assert walter.complaints() == []


def test_a_restart_is_a_pause_and_the_kernel_keeps_its_blocks(
    walter: Walter, watch: Process
) -> None:
    seen = len(happened(watch))
    walter.run("systemctl restart saru")
    assert walter.table()["held_count"] == BLOCKS
    assert not {"deleted", "expired"} & set(happened(watch)[seen:])
    assert walter.said(r"walter: starts \(incarnation 1,") == 1
    assert walter.said("walter: pauses; its blocks stay for") == 1
    went_on = r"walter: goes on after a pause of .* \(session 1\..* of its lease left\)"
    assert walter.said(went_on) == 1
    assert walter.said("walter: lapsed|walter: lost") == 0


def test_a_reload_reads_the_keys(walter: Walter) -> None:
    walter.run(f"echo '2 sha256 {'6' * 64}' >> /etc/saru/authkeys && systemctl reload saru")
    # The daemon says so, and `saru reload`.
    assert walter.said("^walter: signs with key 1, accepts 1, 2") == 2


def test_a_reload_of_faulty_keys_fails_and_says_why(walter: Walter) -> None:
    walter.run("echo '3 sha257 7777' >> /etc/saru/authkeys")
    done = walter.run("systemctl reload saru", check=False)
    assert done.returncode != 0
    shown = walter.run("journalctl --sync && systemctl status --no-pager saru").stdout
    assert "active (running)" in shown
    assert "saru: /etc/saru/authkeys:4: key 3 has no known method" in shown
    walter.run("sed -i '/^3 /d' /etc/saru/authkeys && systemctl reload saru")


def test_who_is_killed_is_started_again(walter: Walter, watch: Process) -> None:
    seen = len(happened(watch))
    walter.run("systemctl kill --signal=KILL saru")
    eventually("it starts", lambda: walter.facts("NRestarts") == {"NRestarts": "1"})
    eventually("it runs", lambda: walter.facts("ActiveState") == {"ActiveState": "active"})
    assert walter.said(r"walter: starts \(incarnation 2,") == 1
    # By itself at its deadline, or for the next daemon, whichever came first.
    assert {"expired", "deleted"} & set(happened(watch)[seen:])
    # However often that happens.
    assert walter.facts("StartLimitIntervalUSec") == {"StartLimitIntervalUSec": "0"}


def test_a_stop_is_a_farewell(walter: Walter, watch: Process) -> None:
    seen = len(happened(watch))
    walter.run("systemctl stop saru")
    assert walter.facts("ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
    assert walter.table() is None
    eventually("its table is deleted", lambda: "deleted" in happened(watch)[seen:])
    assert walter.said("walter: stops") == walter.said("walter: leaves") == 1
    assert walter.said("walter: pauses; its blocks stay") == 1
    walter.run("test ! -e /var/lib/saru/saru.paused")
    done = walter.run("saru status", check=False)
    assert (done.returncode, "no daemon answers" in done.stderr) == (1, True)


def test_a_wrong_configuration_is_not_tried_again(walter: Walter) -> None:
    walter.run("sed -i.right 's/^deadtime/daedtime/' /etc/saru/saru.conf")
    assert walter.run("systemctl start saru", check=False).returncode != 0
    facts = walter.facts("ActiveState", "SubState", "ExecMainStatus", "NRestarts")
    assert facts == {
        "ActiveState": "failed",
        "SubState": "failed",  # and not auto-restart
        "ExecMainStatus": "2",
        "NRestarts": "0",
    }
    assert walter.said("saru: /etc/saru/saru.conf: times.daedtime: unknown key") == 1
    walter.run("mv /etc/saru/saru.conf.right /etc/saru/saru.conf")


def test_a_restart_with_another_deadtime_is_a_farewell_and_a_start(walter: Walter) -> None:
    """As the README says: the file is changed first, and then the service restarted."""
    walter.run("systemctl start saru")
    walter.holding()
    left, began = walter.said("walter: leaves"), walter.said("walter: starts")
    paused, went_on = walter.said("walter: pauses"), walter.said("walter: goes on")
    change = "sed -i 's/^deadtime = .*/deadtime = \"4s\"/' /etc/saru/saru.conf"
    walter.run(f"{change} && saru config check && systemctl restart saru")
    why = "walter cannot pause, for the configuration has changed in times.deadtime"
    assert walter.said(why) == 1
    assert walter.said("walter: leaves") == left + 1
    assert walter.said("walter: starts") == began + 1
    assert (walter.said("walter: pauses"), walter.said("walter: goes on")) == (paused, went_on)
    status = walter.holding()
    assert [one["waited"] for one in status["directors"]] == [True]  # systemd has waited for it
    assert walter.facts("ActiveState", "Result") == {"ActiveState": "active", "Result": "success"}
    walter.run("systemctl stop saru")


# The kernel notes every call of the function that writes its switch for hurried grace periods.
TRACE = """
cd /sys/kernel/debug/tracing
echo rcu_expedited_store > set_ftrace_filter
echo function > current_tracer
"""


def test_nftables_is_served_in_the_sandbox_and_asked_to_hurry(walter: Walter) -> None:
    walter.run('sed -i \'s/"module"/"nftables"/\' /etc/saru/saru.conf && systemctl start saru')
    status = walter.holding()
    assert (status["dataplane"], status["problems"]) == ("nftables", [])
    assert walter.complaints() == []
    walter.guest.run(["sh", "-e", "-c", TRACE])
    walter.run("systemctl stop saru")
    trace = walter.guest.run(["cat", "/sys/kernel/debug/tracing/trace"]).stdout
    assert "rcu_expedited_store" in trace
    assert walter.run("cat /sys/kernel/rcu_expedited").stdout == "0\n"
