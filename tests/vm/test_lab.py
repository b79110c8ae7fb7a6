# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `lab`: up, status, exec, console, kill, boot, cut, heal, down."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.lab import topology
from deploy.lab.cache import PROJECT
from deploy.lab.laboratory import START_DAEMON
from tests.vm.readme import in_room

LAB = str(PROJECT / "deploy/lab/lab")
NAME = f"saru-test-{os.getpid()}"
PATIENCE = 600.0
"""Seconds that anything here may take on a busy host."""


def lab(
    *words: str, name: str = NAME, status: int = 0, text: str = ""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [LAB, "--lab", name, *words],
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "SARU_LAB": ""},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def wait_until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.2)


def states(name: str = NAME) -> dict[str, str]:
    nodes = json.loads(lab("status", "--json", name=name).stdout)["nodes"]
    return {node["name"]: node["state"] for node in nodes}


def leftovers(name: str) -> list[str]:
    """What is there of a lab: namespaces, files, processes."""
    found = [str(path) for path in Path("/run/netns").glob(f"{name}*")]
    found += [str(path) for path in (Path("/run") / name,) if path.exists()]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word.startswith(f"/run/{name}/".encode()) for word in words):
            found.append(str(path))
        if any(f"path=/run/{name}/".encode() in word for word in words):
            found.append(str(path))
    return found


def readme(words: str) -> None:
    """Run a command of the README's: there is a lab of its own for it, and no option names it."""
    environment = {**os.environ, "SARU_LAB": NAME}
    subprocess.run(words, shell=True, check=True, cwd=PROJECT, env=environment, timeout=PATIENCE)


UP, *BY_HAND, DOWN = [command for block in in_room("lab") for command in block.commands()]


@pytest.fixture(scope="module", autouse=True)
def three_directors() -> Iterator[None]:
    assert UP.endswith("lab up")
    assert DOWN.endswith("lab down")
    try:
        readme(UP)
        yield
    finally:
        readme(DOWN)


def reaches(one: str, address: str) -> bool:
    """Whether one of some pings is answered, on a busy host."""
    ping = ["ping", "-c", "1", "-w", "10", address]  # goes on until one is
    command = [LAB, "--lab", NAME, "exec", one, "--", *ping]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_status_shows_every_node() -> None:
    everyone = {"walter", "wendy", "wanda", "client", "real4", "real5"}
    found = states()
    assert set(found) == everyone
    assert {found[name] for name in ("walter", "wendy", "wanda")} == {"daemon runs"}
    shown = lab("status").stdout
    assert all(name in shown for name in everyone)


def test_exec_runs_in_directors_the_client_and_real_servers() -> None:
    assert lab("exec", "walter", "--", "hostname").stdout == "walter\n"
    assert "172.17.1.1" in lab("exec", "client", "--", "ip", "addr").stdout
    assert "192.168.6.4" in lab("exec", "192.168.6.4", "--", "ip", "addr").stdout


def test_exec_passes_on_status_errors_and_input() -> None:
    for node in ("walter", "client"):
        done = lab("exec", node, "--", "sh", "-c", "echo wrong >&2; exit 7", status=7)
        assert (done.stdout, done.stderr) == ("", "wrong\n")
        assert lab("exec", "-i", node, "--", "cat", text="said\n").stdout == "said\n"


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (["exec", "nobody", "--", "true"], 2, "no node 'nobody'"),
        (["kill", "client"], 1, "no power switch"),
        (["boot", "walter"], 1, "walter is on already"),
        (["cut", "walter"], 2, "cut needs two nodes"),
        (["cut", "walter,wendy", "walter"], 1, "cut off from itself"),
        (["up"], 1, "is up already"),
        (["up", "--kernel", "2.4"], 2, "2.4"),
        (["--lab", "no/name", "status"], 2, "cannot name a lab"),
        (["--lab", "saru-none", "status"], 1, "saru-none is not up"),
    ],
)
def test_errors_name_the_place(words: list[str], status: int, error: str) -> None:
    assert error in lab(*words, status=status).stderr


def test_the_switch_never_learns_the_shared_mac() -> None:
    reaches("client", topology.VIP)
    show = ["ip", "netns", "exec", NAME, "bridge", "fdb", "show"]
    learnt = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert topology.director("walter").mac(2) in learnt
    assert topology.SHARED_MAC not in learnt


def test_a_cut_leaves_the_others_alone() -> None:
    walter = topology.director("walter").own
    assert reaches("wendy", walter)
    lab("cut", "walter", "client")
    assert "cut: client - walter" in lab("status").stdout
    assert reaches("wendy", walter)
    lab("heal")


def test_console_has_a_shell() -> None:
    command = [LAB, "--lab", NAME, "console", "wendy"]
    console = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert console.stdin is not None
    assert console.stdout is not None
    console.stdin.write(b"echo it is $(hostname)\n")
    console.stdin.flush()
    said = b""
    while b"it is wendy" not in said:
        chunk = os.read(console.stdout.fileno(), 4096)
        assert chunk, said
        said += chunk
    console.stdin.write(b"\x1d")
    console.stdin.close()
    assert console.wait(PATIENCE) == 0


def test_a_daemon_that_ends_at_its_start_is_an_error_with_its_words() -> None:
    end = (
        "daemon=$(cat /run/saru/saru.lock); kill $daemon; while kill -0 $daemon; do sleep 0.1; done"
    )
    spoil = "echo nonsense >> /etc/saru/saru.conf"
    script = f"{end} 2>&-; {spoil}\n{START_DAEMON}"
    said = lab("exec", "wanda", "--", "sh", "-c", script, status=1).stdout
    assert "the daemon has ended" in said
    assert "nonsense" in said or "saru.conf" in said


def test_the_readmes_commands_by_hand() -> None:
    """In their order, and what they come to: a power cut and a return, a cut cable."""
    lab("exec", "walter", "--", "sh", "-c", "echo kept > /var/lib/saru/kept; touch /root/lost")
    checks = {
        "lab kill walter": check_power_cut,
        "lab boot walter": check_return,
        "lab cut walter wendy,wanda": check_cut,
        "lab heal": check_healed,
    }
    for command in BY_HAND:
        readme(command)
        checks.pop(command.removeprefix("deploy/lab/"), lambda: None)()
    assert not checks, f"the README says nothing of {list(checks)}"


def check_power_cut() -> None:
    assert states()["walter"] == "off"
    assert "is off already" in lab("kill", "walter", status=1).stderr
    assert "powered off" in lab("exec", "walter", "--", "true", status=1).stderr


def check_return() -> None:
    assert lab("exec", "walter", "--", "cat", "/var/lib/saru/kept").stdout == "kept\n"
    lab("exec", "walter", "--", "test", "!", "-e", "/root/lost")
    assert states()["walter"] == "daemon runs"
    lab("exec", "walter", "--", "saru", "status")


def check_cut() -> None:
    assert "cut: walter - wanda\ncut: walter - wendy" in lab("status").stdout
    assert not reaches("wendy", topology.director("walter").own)
    assert reaches("real4", topology.director("walter").own)


def check_healed() -> None:
    assert "cut:" not in lab("status").stdout
    assert reaches("wendy", topology.director("walter").own)


def test_down_leaves_nothing_even_after_a_crash() -> None:
    name = f"{NAME}-crash"
    up = subprocess.Popen([LAB, "--lab", name, "up", "--directors", "1"])
    try:
        console = Path("/run") / name / "walter/console"
        wait_until(console.exists, "a guest")
    finally:
        up.kill()
        up.wait()
    assert leftovers(name)
    lab("down", name=name)
    assert leftovers(name) == []
    lab("down", name=name)
    assert leftovers(NAME), "another lab is none of its business"
