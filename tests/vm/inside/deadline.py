# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the kernel stops accepting at the deadline, whatever happened to the daemon.

`deadline SCENARIO [MODULE CPU]`: sends probes over the loopback without a pause, each between
two readings of CLOCK_BOOTTIME, and sees at once whether it was accepted. Prints JSON: the
`deadline` by which the kernel had to stop, when the last accepted probe was begun (`last_begun`),
when the first one that was not accepted was done (`first_refused_done`), and how many there
were of each.

On a busy host this program, or the daemon it plays, may not get its turn in time; then nothing is
proved, and the same is tried again with more time.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.prober import ENOUGH, Prober, Seen
from tests.vm.inside import family as saru

LEASE = 300_000_000
"""ns; that of the first try."""
TRIES = 6
"""Each with twice the time of the one before."""
PERIOD = 0.05
REFUSED = 3
"""A child's status if the kernel refuses what it sends."""


def pusher(lease: int, serial: int) -> int:
    """A child that renews as a daemon does: computes the deadline, then sends it."""
    child = os.fork()
    if child:
        return child
    with saru.Family() as own:
        while True:
            try:
                own.renew(1, 1, serial, saru.now() + lease)
            except saru.RefusedError:
                os._exit(REFUSED)
            time.sleep(PERIOD)


def late_pusher(lease: int, serial: int, renews: bool) -> int:
    """A child that is stopped between computing a deadline and sending it: with RENEW for the
    table of `serial`, or with the SET that replaces it."""
    child = os.fork()
    if child:
        return child
    with saru.Family() as own:
        deadline = saru.now() + lease
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            if renews:
                own.renew(1, 1, serial, deadline)
            else:
                own.set(serial=serial + 1, deadline=deadline)
        except saru.RefusedError:
            os._exit(REFUSED)
    os._exit(0)


def current_deadline(family: saru.Family) -> int:
    return family.get().number(saru.A_DEADLINE)


Scenario = Callable[[saru.Family, Prober, int, int], tuple[int, bool]]
"""Called with a table's serial and a lease; the deadline, and whether the try was one."""


def daemon_ends(
    number: signal.Signals, family: saru.Family, prober: Prober, serial: int, lease: int
) -> tuple[int, bool]:
    """A daemon that renews is stopped or killed."""
    family.set(serial=serial, deadline=saru.now() + lease)
    child = pusher(lease, serial)
    prober.until(saru.now() + 2 * lease)
    os.kill(child, number)
    status = os.waitpid(child, os.WUNTRACED)[1]
    deadline = current_deadline(family)
    prober.past(deadline)
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGCONT)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended == REFUSED, "a late RENEW was taken"
        prober.past(saru.now())
    # If it has ended by itself, it did not get its turn within a lease.
    return deadline, os.WIFSTOPPED(status) or os.WIFSIGNALED(status)


def daemon_paused(
    renews: bool, family: saru.Family, prober: Prober, serial: int, lease: int
) -> tuple[int, bool]:
    """A daemon is paused with a deadline in its hands, and sends it when that has passed."""
    family.set(serial=serial, deadline=saru.now() + lease)
    child = late_pusher(lease, serial, renews)
    os.waitpid(child, os.WUNTRACED)
    its_deadline_at_most = saru.now() + lease
    deadline = current_deadline(family)
    prober.past(deadline)
    prober.past(its_deadline_at_most)
    os.kill(child, signal.SIGCONT)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (REFUSED if renews else 0)
    prober.past(saru.now())
    return deadline, True


def cpu_stalled(
    module: str, cpu: int, family: saru.Family, prober: Prober, serial: int, lease: int
) -> tuple[int, bool]:
    """A CPU, perhaps the one that keeps the time, takes no interrupt across the deadline."""
    os.sched_setaffinity(0, {1 - cpu})
    # It takes a while to load a module; and of a CPU stalled for 20 s the kernel would complain.
    lease = min(3 * lease, 8 * saru.SECOND)
    deadline = saru.now() + lease
    insmod = ["insmod", module, f"cpu={cpu}", f"milliseconds={2 * lease // 1_000_000}"]
    stall = subprocess.Popen(["taskset", "--cpu-list", str(cpu), *insmod])
    family.set(serial=serial, deadline=deadline)
    prober.past(deadline)
    assert stall.wait() == 0
    parameters = Path("/sys/module/stall/parameters")
    began, ended = (int((parameters / name).read_text()) for name in ("began", "ended"))
    subprocess.run(["rmmod", "stall"], check=True)
    before = sum(begun > began for begun in prober.seen.accepted)
    after = sum(done < ended for done in prober.seen.refused)
    across = f"from {(began - deadline) / 1e9:.3f} to {(ended - deadline) / 1e9:.3f} s"
    print(
        f"stalled {across} after the deadline; {before} accepted, {after} refused", file=sys.stderr
    )
    return deadline, before >= ENOUGH and after >= ENOUGH


def chosen(words: list[str]) -> Scenario:
    """The scenario that the command line names."""
    match words:
        case ["stopped"]:
            return partial(daemon_ends, signal.SIGSTOP)
        case ["killed"]:
            return partial(daemon_ends, signal.SIGKILL)
        case ["paused-renew"]:
            return partial(daemon_paused, True)
        case ["paused-set"]:
            return partial(daemon_paused, False)
        case ["stalled", module, cpu]:
            return partial(cpu_stalled, module, int(cpu))
    raise SystemExit(f"no scenario {words}")


def main() -> None:
    scenario = chosen(sys.argv[1:])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # The kernel limits how many errors it tells of.
    Path("/proc/sys/net/ipv4/icmp_ratemask").write_text("0")
    guard = "-p udp --dport 9"
    for rule in (f"{guard} -m saru --id 1 -j ACCEPT", f"{guard} -j REJECT"):
        subprocess.run(["iptables-legacy", "-A", "INPUT", *rule.split()], check=True)
    with saru.Family() as family:
        prober = Prober()
        for turn in range(TRIES):
            prober.seen = seen = Seen()
            deadline, proper = scenario(family, prober, 1 + 2 * turn, LEASE << turn)
            proper = proper and min(len(seen.accepted), len(seen.refused)) >= ENOUGH
            wrong = seen.accepted_again or max(seen.accepted, default=0) >= deadline
            if wrong or proper:
                break
    found = {
        "deadline": deadline,
        "tries": turn + 1,
        "proper": proper,
        "accepted": len(seen.accepted),
        "refused": len(seen.refused),
        "accepted_again": seen.accepted_again,
        "last_begun": max(seen.accepted, default=0),
        "first_refused_done": min(seen.refused, default=0),
    }
    json.dump(found, sys.stdout)


main()
