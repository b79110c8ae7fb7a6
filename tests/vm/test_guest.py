# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests: commands in them, what they see of the host, and how they end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.lab.cache import PROJECT
from deploy.lab.guest import (
    CommandFailedError,
    CommandTimeoutError,
    Guest,
    GuestGoneError,
)

PATIENCE = 120.0
"""Seconds that anything here may take on a busy host."""


def wait_until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Guest.boot("walter") as guest:
        yield guest


def test_run_returns_what_the_command_said(guest: Guest) -> None:
    done = guest.run(["sh", "-c", "cat; echo error >&2; exit 3"], check=False, input=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (3, "in", "error\n")


def test_run_raises_on_failure_with_what_it_said(guest: Guest) -> None:
    with pytest.raises(CommandFailedError, match="ended with 4: reason"):
        guest.run(["sh", "-c", "echo reason >&2; exit 4"])


def test_a_command_that_does_not_exist(guest: Guest) -> None:
    assert guest.run(["no-such-command"], check=False).returncode == 127


def test_much_output_and_input(guest: Guest) -> None:
    text = bytes(range(256)) * 4096
    assert len(guest.run(["base64", "-w0"], input=text).stdout) == (len(text) + 2) // 3 * 4


def test_a_command_that_takes_too_long_is_killed_with_its_children(guest: Guest) -> None:
    with pytest.raises(CommandTimeoutError, match="it said: begun"):
        guest.run(["sh", "-c", "echo begun; sleep 4321; true"], timeout=30)
    assert guest.run(["pgrep", "-f", "sleep 4321"], check=False).returncode == 1


def test_commands_run_side_by_side(guest: Guest) -> None:
    first = guest.start_command(["sh", "-c", "read word; echo $word"])
    second = guest.start_command(["echo", "second"])
    assert second.wait(PATIENCE).stdout == "second\n"
    assert first.poll() is None
    first.write(b"first\n")
    assert first.wait(PATIENCE).stdout == "first\n"


def test_another_process_can_attach_and_what_it_started_ends_with_it(guest: Guest) -> None:
    other = Guest.attach(guest.directory)
    started = other.start_command(["sh", "-c", "echo up; exec sleep 5432"])
    wait_until(lambda: started.stdout == "up\n", "the command to start")
    other.close()
    wait_until(
        lambda: guest.run(["pgrep", "-f", "sleep 5432"], check=False).returncode == 1,
        "the command to end with the connection",
    )


def test_the_host_is_seen_and_not_changed(guest: Guest) -> None:
    assert guest.run(["cat", __file__]).stdout == Path(__file__).read_text()
    guest.run(["touch", "/etc/written-by-guest"])
    # A checkout below /tmp or /run is shown read-only.
    guest.run(["touch", f"{PROJECT}/written-by-guest"], check=False)
    assert not Path("/etc/written-by-guest").exists()
    assert not (PROJECT / "written-by-guest").exists()


def test_a_frozen_guest_goes_on(guest: Guest) -> None:
    guest.stop()
    running = guest.start_command(["echo", "thawed"])
    with pytest.raises(CommandTimeoutError):
        running.wait(1)
    guest.cont()
    assert running.wait(PATIENCE).stdout == "thawed\n"


def test_the_guests_clock_keeps_the_hosts_time(guest: Guest) -> None:
    program = "import time; print(time.clock_gettime_ns(time.CLOCK_BOOTTIME))"

    def elapsed(since: tuple[int, int, int]) -> tuple[int, int, int]:
        """The host's time before and after the guest's was read, and the guest's."""
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        inside = int(guest.run(["/usr/bin/python3", "-I", "-S", "-c", program]).stdout)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return before - since[0], after - since[1], inside - since[2]

    start = elapsed((0, 0, 0))
    time.sleep(10)
    # The guest's interval lies between the shortest and the longest it can have been, 1 % off.
    before, after, inside = elapsed((start[1], start[0], start[2]))
    assert before * 0.99 <= inside <= after * 1.01


def test_a_panic_ends_the_guest_and_its_log_tells() -> None:
    with Guest.boot("panics", kernel="6.12") as guest:
        with pytest.raises(GuestGoneError):
            guest.run(["sh", "-c", "echo c > /proc/sysrq-trigger"], timeout=PATIENCE)
        wait_until(lambda: not guest.alive(), "QEMU to end")
        assert "sysrq triggered crash" in guest.kernel_log()


@pytest.mark.parametrize("dies", ["at once", "before its child asks to be told"])
def test_a_guest_dies_with_its_parent(tmp_path: Path, dies: str) -> None:
    if dies != "at once":
        waits = 'while kill -0 "$PARENT"; do sleep 0.1; done'
        slow = tmp_path / "setpriv"
        slow.write_text(f'#!/bin/sh\n{waits}; exec {shutil.which("setpriv")} "$@"\n')
        slow.chmod(0o755)
    program = (
        "import os, signal\n"
        "os.environ['PARENT'] = str(os.getpid())\n"
        "from deploy.lab.guest import Guest\n"
        "guest = Guest.start('orphan')\n"
        "print(guest.directory, flush=True)\n"
        "signal.pause()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert parent.stdout is not None
    directory = parent.stdout.readline().strip()
    parent.send_signal(signal.SIGKILL)
    parent.wait()

    def gone() -> bool:
        try:
            Guest.attach(Path(directory))
        except GuestGoneError:
            return True
        return False

    wait_until(gone, "QEMU to die")
    subprocess.run(["rm", "-r", directory], check=True)


def test_instructions_are_the_clock_under_icount() -> None:
    with Guest.boot("counts", icount=True) as guest:
        assert guest.run(["uname", "-r"]).stdout.strip() == guest.kernel.release
        process = guest.pid()
        assert process is not None
        assert "shift=0" in Path(f"/proc/{process}/cmdline").read_text().split("\0")
    assert not os.path.exists(guest.directory)
