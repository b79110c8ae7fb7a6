# SPDX-License-Identifier: GPL-2.0-or-later
"""Real daemons on hosts of their own. They are witnesses: those need no module in the kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saru import config, control
from saru.errors import OutageError
from saru.membership.road import Road
from saru.status import Director, State, Status
from tests.net.netns import Host, eventually, network

NODES = ("wanda", "wendy", "willem")
CONFIG = """
[cluster]
nodes = ["walter", "wanda", "wendy", "willem"]
witnesses = ["wanda", "wendy", "willem"]
[times]
keepalive = "{keepalive}"
deadtime = "1s"
[director]
name = "{name}"
dataplane = "{dataplane}"
[heartbeat]
interfaces = ["eth0"]
authkeys = "{folder}/authkeys"
[daemon]
run = "{folder}/{name}"
state = "{folder}/{name}"
"""


class Daemon:
    """`saru` as a process in a namespace, with its log in a file."""

    def __init__(
        self, host: Host, folder: Path, keepalive: str = "100ms", dataplane: str = "auto"
    ) -> None:
        self.name = host.name
        self.log_path = folder / f"{host.name}.log"
        self.config = folder / f"{host.name}.conf"
        self.config.write_text(
            CONFIG.format(name=host.name, folder=folder, keepalive=keepalive, dataplane=dataplane)
        )
        self.socket = control.socket_path(folder / host.name, "saru")
        self.namespace = host.namespace
        self.process = self.start()

    def command(self, *words: str) -> list[str]:
        saru = [sys.executable, "-m", "saru", "--config", str(self.config), *words]
        return ["ip", "netns", "exec", self.namespace, *saru]

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command("--debug", "--log_facility", str(self.log_path)))

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def status(self) -> Status | None:
        try:
            return control.ask(self.socket, Status, "status")
        except OutageError:
            return None

    def of(self, name: str) -> Director | None:
        status = self.status()
        return next((d for d in status.directors if d.name == name), None) if status else None

    def sees(self, name: str, state: State) -> bool:
        director = self.of(name)
        return director is not None and state in director.states

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@contextmanager
def cluster(folder: Path, **keepalives: str) -> Iterator[dict[str, Daemon]]:
    keys = folder / "authkeys"
    keys.write_text("auth 1\n1 sha256 ultramonkey\n")
    keys.chmod(0o600)
    with network(*NODES) as wires:
        daemons = {}
        try:
            for name in NODES:
                host = wires.hosts[name]
                daemons[name] = Daemon(host, folder, keepalives.get(name, "100ms"))
            yield daemons
        finally:
            for daemon in daemons.values():
                daemon.end()


def masters(daemons: dict[str, Daemon]) -> set[str | None]:
    found = (daemon.status() for daemon in daemons.values())
    return {status.master if status else None for status in found}


def _agreed(daemons: dict[str, Daemon], found: list[set[str | None]]) -> bool:
    found.append(masters(daemons))
    return len(found[-1]) == 1 and None not in found[-1]


def test_three_of_four_voters_elect_a_master_and_two_do_not(tmp_path: Path) -> None:
    with cluster(tmp_path) as daemons:
        found: list[set[str | None]] = []
        eventually("all hear one master", lambda: _agreed(daemons, found))
        (first,) = found[-1]
        assert first is not None
        daemons.pop(first).end()
        eventually("both miss the master", lambda: masters(daemons) == {None})
        for daemon in daemons.values():
            status = daemon.status()
            assert status is not None
            assert not status.quorum.have
            assert "no quorum" in " ".join(status.problems)
            assert daemon.sees(first, State.SILENT)


def test_settings_that_differ_are_refused_by_both_and_named(tmp_path: Path) -> None:
    with cluster(tmp_path, willem="200ms") as daemons:
        line = "refused: its settings differ in times.keepalive"
        eventually("wanda refuses willem", lambda: f"willem: {line}" in daemons["wanda"].log())
        eventually("willem refuses wanda", lambda: f"wanda: {line}" in daemons["willem"].log())
        willem = daemons["wanda"].of("willem")
        assert willem is not None
        assert willem.states[0] is State.REFUSED
        assert willem.differs == ("times.keepalive",)


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    with cluster(tmp_path) as daemons:
        first = daemons["wanda"]
        eventually("the first answers", first.status)
        second = subprocess.run(first.command(), capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert second.stderr == (
            "saru: a daemon runs on this host already (cluster saru, "
            f"pid {first.process.pid}); stop it first: systemctl stop saru\n"
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_is_told_to_stop_says_goodbye(tmp_path: Path, number: int) -> None:
    with cluster(tmp_path) as daemons:
        eventually("wanda sees wendy", lambda: daemons["wanda"].sees("wendy", State.WITNESS))
        wendy = daemons["wendy"]
        os.kill(wendy.process.pid, number)
        assert wendy.process.wait(60) == 0
        eventually("wanda knows", lambda: daemons["wanda"].sees("wendy", State.LEFT))
        assert "wendy: left" in daemons["wanda"].log()
        wendy.process = wendy.start()
        eventually("wendy is back", lambda: daemons["wanda"].sees("wendy", State.WITNESS))


def keys(folder: Path) -> None:
    (folder / "authkeys").write_text("auth 1\n1 sha256 ultramonkey\n")
    (folder / "authkeys").chmod(0o600)


def test_the_first_beat_of_a_life_is_heard(tmp_path: Path) -> None:
    """Whoever goes on after a pause has no time for one that goes nowhere."""
    with network("walter", "wanda") as wires:
        keys(tmp_path)
        road = Road("eth0", config.load(given={}).heartbeat)
        wires.hosts["walter"].call(road.open)
        daemon = Daemon(wires.hosts["wanda"], tmp_path)
        try:
            (listener,) = road.sockets
            listener.settimeout(60)
            datagram = listener.recv(65536)
            assert int.from_bytes(datagram[23:31], "big") == 1, "the number of the datagram"
        finally:
            daemon.end()
            road.close()


def test_a_director_without_the_module_takes_nftables_and_says_so(tmp_path: Path) -> None:
    with network("walter") as wires:
        keys(tmp_path)
        daemon = Daemon(wires.hosts["walter"], tmp_path)
        try:
            eventually("walter answers", daemon.status)
            status = daemon.status()
            assert status is not None
            assert status.dataplane == "nftables"
            said = "data plane: nftables, because the kernel module xt_saru is not loaded"
            assert said in daemon.log()
        finally:
            daemon.end()


def test_a_director_that_wants_the_module_is_told_what_to_do(tmp_path: Path) -> None:
    with network("walter") as wires:
        host = wires.hosts["walter"]
        keys(tmp_path)
        daemon = Daemon(host, tmp_path, dataplane="module")
        try:
            assert daemon.process.wait(60) == 1
        finally:
            daemon.end()
        run = subprocess.run(daemon.command(), capture_output=True, text=True, check=False)
        assert run.returncode == 1
        assert "modprobe xt_saru" in run.stderr
        assert run.stderr.count("saru:") == 1


def test_a_table_has_one_daemon(tmp_path: Path) -> None:
    """Another cluster's, whose files are elsewhere, must not begin with emptying it."""
    with network("walter") as wires:
        keys(tmp_path)
        daemon = Daemon(wires.hosts["walter"], tmp_path, dataplane="nftables")
        try:
            eventually("it answers", daemon.status)
            text = daemon.config.read_text().replace(f"{tmp_path}/walter", f"{tmp_path}/mail")
            daemon.config.write_text(text.replace("[cluster]", '[cluster]\nname = "mail"'))
            second = subprocess.run(daemon.command(), capture_output=True, text=True, check=False)
            assert second.returncode == 1
            assert second.stderr.splitlines()[-1] == (
                "saru: another daemon keeps the table of id 1 on this host (cluster saru, "
                f"pid {daemon.process.pid}); give each cluster's [[id]] a number of its own"
            )
            assert daemon.status()
        finally:
            daemon.end()


def test_a_signal_at_the_start_ends_nothing(tmp_path: Path) -> None:
    """From when its lock names it, SIGHUP may come, which ends a process by default."""
    with network("wanda") as wires:
        keys(tmp_path)
        daemon = Daemon(wires.hosts["wanda"], tmp_path)
        lock = tmp_path / "wanda" / "saru.lock"
        try:
            eventually("the lock names it", lambda: lock.exists() and lock.read_bytes())

            def answers() -> bool:
                os.kill(daemon.process.pid, signal.SIGHUP)
                assert daemon.process.poll() is None
                return daemon.status() is not None

            eventually("it answers", answers)
        finally:
            daemon.end()


def test_a_daemon_that_cannot_write_when_it_is_ready_goes_on(tmp_path: Path) -> None:
    """What it would take off the disk then makes its next start-up wait longer, no more."""
    with network("wanda") as wires:
        keys(tmp_path)
        daemon = Daemon(wires.hosts["wanda"], tmp_path)
        kept = tmp_path / "wanda" / "saru.lease"
        try:
            eventually("wanda answers", daemon.status)
            assert "its start-up wait is over" not in daemon.log()
            kept.unlink()
            kept.mkdir()
            said = f"wanda: cannot keep the lease in {kept}: Is a directory"
            eventually("wanda says what it cannot do", lambda: said in daemon.log())
            assert not daemon.sees("wanda", State.WAITING)
        finally:
            daemon.end()
