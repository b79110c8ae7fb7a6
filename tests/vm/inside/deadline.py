# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the kernel stops accepting at the deadline, whatever happened to the daemon.

`deadline SCENARIO [MODULE CPU]`: sends probes over the loopback without a pause, each between
two readings of CLOCK_BOOTTIME, and sees at once whether it was accepted. Prints JSON: the
`deadline` by which the kernel had to stop, when the last accepted probe was begun (`last_begun`),
when the first one that was not accepted was done (`first_refused_done`), and how many there
were.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vm.inside import family as saru

LEASE = 300_000_000
PERIOD = 0.05
AFTER = 400_000_000
"""ns that probes go on after the deadline."""


def pusher() -> int:
    """A child that renews as a daemon does: computes the deadline, then sends it."""
    child = os.fork()
    if child:
        return child
    with saru.Family() as own:
        while True:
            try:
                own.renew(1, 1, 1, saru.now() + LEASE)
            except saru.RefusedError:
                os._exit(3)
            time.sleep(PERIOD)


def late_pusher(serial: int) -> int:
    """A child that is stopped between computing a deadline and sending it."""
    child = os.fork()
    if child:
        return child
    with saru.Family() as own:
        deadline = saru.now() + LEASE
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            if serial == 1:
                own.renew(1, 1, 1, deadline)
            else:
                own.set(serial=serial, deadline=deadline)
        except saru.RefusedError:
            os._exit(3)
    os._exit(0)


@dataclass
class Seen:
    """What the probes told."""

    last_begun: int = 0
    first_refused_done: int = 0
    accepted: int = 0
    refused: int = 0
    accepted_again: int = 0


class Prober:
    """UDP probes to this host's own port 9, which a rule with the match guards."""

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", 9))
        self.receiver.setblocking(False)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.bind(("127.0.0.1", 40000))
        self.seen = Seen()

    def probe(self) -> None:
        seen = self.seen
        begun = saru.now()
        self.sender.sendto(b"", ("127.0.0.1", 9))
        try:
            self.receiver.recv(1)
            accepted = True
        except BlockingIOError:
            accepted = False
        done = saru.now()
        if accepted:
            seen.accepted += 1
            seen.accepted_again += seen.refused > 0
            seen.last_begun = begun
        else:
            seen.refused += 1
            seen.first_refused_done = seen.first_refused_done or done

    def until(self, when: int) -> None:
        while saru.now() < when:
            self.probe()


def current_deadline(family: saru.Family) -> int:
    return family.get().number(saru.A_DEADLINE)


def daemon_ends(family: saru.Family, prober: Prober, number: signal.Signals) -> int:
    """A daemon that renews is stopped or killed."""
    child = pusher()
    prober.until(saru.now() + 2 * LEASE)
    os.kill(child, number)
    if number == signal.SIGSTOP:
        os.waitpid(child, os.WUNTRACED)
    else:
        os.waitpid(child, 0)
    deadline = current_deadline(family)
    prober.until(deadline + AFTER)
    if number == signal.SIGSTOP:
        os.kill(child, signal.SIGCONT)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3, "a late RENEW was taken"
        prober.until(saru.now() + AFTER)
    return deadline


def daemon_paused(family: saru.Family, prober: Prober, serial: int) -> int:
    """A daemon is paused with a deadline in its hands, and sends it when that has passed."""
    child = late_pusher(serial)
    os.waitpid(child, os.WUNTRACED)
    deadline = current_deadline(family)
    prober.until(deadline + AFTER)
    os.kill(child, signal.SIGCONT)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (3 if serial == 1 else 0)
    prober.until(saru.now() + AFTER)
    return deadline


def timekeeper_stalled(family: saru.Family, prober: Prober, module: str, cpu: int) -> int:
    """A CPU, perhaps the one that keeps the time, takes no interrupt across the deadline.

    How long loading a module takes is not known beforehand: the second try waits longer.
    """
    os.sched_setaffinity(0, {1 - cpu})
    for serial, seconds in enumerate((1, 2, 4, 8), 2):
        deadline = saru.now() + seconds * saru.SECOND
        insmod = ["insmod", module, f"cpu={cpu}", f"milliseconds={seconds * 2000}"]
        stall = subprocess.Popen(["taskset", "--cpu-list", str(cpu), *insmod])
        family.set(serial=serial, deadline=deadline)
        prober.seen = Seen()
        prober.until(deadline + AFTER)
        assert stall.wait() == 0
        parameters = Path("/sys/module/stall/parameters")
        began, ended = (int((parameters / name).read_text()) for name in ("began", "ended"))
        subprocess.run(["rmmod", "stall"], check=True)
        if began < deadline - AFTER and ended > deadline + AFTER:
            return deadline
    raise AssertionError("the CPU was never stalled across the deadline")


def main() -> None:
    scenario = sys.argv[1]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    guard = "-p udp --dport 9"
    for rule in (f"{guard} -m saru --id 1 -j ACCEPT", f"{guard} -j DROP"):
        subprocess.run(["iptables-legacy", "-A", "INPUT", *rule.split()], check=True)
    with saru.Family() as family:
        prober = Prober()
        prober.seen = Seen()
        family.set(deadline=saru.now() + LEASE)
        if scenario == "stopped":
            deadline = daemon_ends(family, prober, signal.SIGSTOP)
        elif scenario == "killed":
            deadline = daemon_ends(family, prober, signal.SIGKILL)
        elif scenario == "paused-renew":
            deadline = daemon_paused(family, prober, 1)
        elif scenario == "paused-set":
            deadline = daemon_paused(family, prober, 2)
        else:
            deadline = timekeeper_stalled(family, prober, sys.argv[2], int(sys.argv[3]))
    json.dump({"deadline": deadline, **vars(prober.seen)}, sys.stdout)


main()
