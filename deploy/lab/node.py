# SPDX-License-Identifier: GPL-2.0-or-later
"""A director or a witness that is a network namespace: its files and its processes.

Its daemon is a child of this process and can be started, stopped, killed, frozen and thawed any
number of times. Its files lie in one directory:

    saru.conf           written anew at every start
    run/                what a machine has under /run: gone after a power cut
    state/              what it has under /var/lib: outlives power cuts
    saru.log            what the daemon says, of all its lives
    start.log           what the commands before it said, and it itself when it could not start
    service.log         what serves the VIP here
"""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deploy.lab import configuration, topology
from deploy.lab.cache import PROJECT, LabError
from deploy.lab.configuration import Places, Plan, Settings
from deploy.lab.network import Network
from saru import control
from saru.errors import OutageError
from saru.status import State, Status

PATIENCE = 60.0
"""Seconds that anything here may take on a busy host."""
LOOK = 0.02
"""Seconds between two looks at something that is waited for."""
PRIORITY = ("nice", "-n", "-15")
"""As the daemon's systemd unit has it: beats in time are what keeps the blocks."""
CLUSTER = "saru"
"""[cluster] name, whose socket is asked."""


class NodeStoppedError(LabError):
    """The daemon has ended, or never started; the text has its last words."""


def wait_until(what: str, so: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until `so()` is true; LabError if that takes longer than `patience` seconds."""
    until = time.monotonic() + patience
    while not so():
        if time.monotonic() > until:
            raise LabError(f"waited {patience:.0f} s in vain: {what}")
        time.sleep(LOOK)


def held(status: Status, number: int = 1) -> int:
    """How many blocks of an id the kernel accepts on the node whose status this is."""
    return sum(division.held for division in status.divisions if division.id == number)


class Node:
    """The node `name` of a plan; `directory` holds its files. Made by a Cluster."""

    def __init__(self, network: Network, plan: Plan, name: str, directory: Path) -> None:
        self.name = name
        self.namespace = network.namespace(name)
        self.directory = directory
        self.witness = name in plan.witnesses
        self.own: Settings = {}
        """Settings of this node alone, from the daemon's next start on."""
        self.around: tuple[str, ...] = ()
        """Words before its command line, from the daemon's next start on."""
        self._network = network
        self._plan = plan
        self._daemon: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []
        self._places = Places(
            authkeys=directory.parent / "authkeys",
            run=directory / "run",
            state=directory / "state",
        )
        self.config = directory / "saru.conf"

    # --- power ----------------------------------------------------------------------------------

    @property
    def on(self) -> bool:
        """Whether it has power."""
        return self.namespace in self._network.namespaces()

    def power_on(self) -> None:
        """Make the namespace and start what serves the VIP in it, but no daemon."""
        if self.on:
            raise LabError(f"{self.name} is on already")
        shutil.rmtree(self._places.run, ignore_errors=True)
        self._places.run.mkdir(parents=True)
        self._network.add_director(self.name)
        if not self.witness:
            module = PROJECT / "deploy/lab/responder.py"
            addresses = [topology.VIP, topology.VIP6]
            # What it does not answer in time would look like a block that nobody holds.
            program = [*PRIORITY, sys.executable, str(module), self.name, str(topology.PORT)]
            self._others.append(
                self._network.start(
                    self.name, [*program, *addresses], self.directory / "service.log"
                )
            )

    def power_cut(self) -> None:
        """At one moment everything of it is gone: cables, processes, rules, tables, /run."""
        if not self.on:
            raise LabError(f"{self.name} is off already")
        self._network.remove_director(self.name)
        self.bury()

    def bury(self) -> None:
        """Take leave of processes that were killed."""
        for process in (*self._others, self._daemon):
            if process is not None:
                process.wait()
        self._others.clear()
        self._daemon = None

    # --- the daemon -----------------------------------------------------------------------------

    def saru(self, *words: str) -> list[str]:
        """The command line of `saru WORDS` on this node, to be run with the project's root as
        the current directory."""
        program = [sys.executable, "-m", "saru", "--config", str(self.config), *words]
        return ["ip", "netns", "exec", self.namespace, *program]

    def run(self, *words: str) -> str:
        """What `saru WORDS` prints on this node; LabError if it fails."""
        done = subprocess.run(self.saru(*words), cwd=PROJECT, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"{self.name}: `saru {' '.join(words)}` failed: {done.stderr.strip()}")
        return done.stdout

    def start(self) -> None:
        """Start the daemon, after rules and link as at a boot; return at once."""
        if self.running:
            raise LabError(f"{self.name}: its daemon runs already")
        text = configuration.config(self._plan, self.name, self._places, self.own)
        self.config.write_text(text)
        saru = [sys.executable, "-m", "saru", "--config", str(self.config)]
        commands = [] if self.witness else [[*saru, "rules", "apply"], [*saru, "link", "up"]]
        # It says where it logs to what stands before: a start that fails is told in start.log.
        daemon = [
            *PRIORITY,
            *self.around,
            *saru,
            "--debug",
            "--log_facility",
            str(self.directory / "saru.log"),
        ]
        daemon += ["--witness"] if self.witness else []
        script = " && ".join([*map(shlex.join, commands), f"exec {shlex.join(daemon)}"])
        (self.directory / "start.log").unlink(missing_ok=True)
        self._daemon = self._network.start(
            self.name, ["sh", "-c", script], self.directory / "start.log"
        )

    def adopt(self, daemon: subprocess.Popen[bytes]) -> None:
        """Have a process that was started in the namespace by others for the node's daemon."""
        if self.running:
            raise LabError(f"{self.name}: its daemon runs already")
        self._daemon = daemon

    def wait_ready(self) -> None:
        """Wait until the daemon answers; NodeStoppedError with its words if it ends instead."""

        def answers() -> bool:
            if self._daemon is None or self._daemon.poll() is not None:
                raise NodeStoppedError(f"{self.name}: no daemon: {self.last_words()}")
            return self.status() is not None

        wait_until(f"{self.name}'s daemon answers", answers)

    def last_words(self) -> str:
        """What a daemon that did not start has said."""
        try:
            return (self.directory / "start.log").read_text().strip()
        except FileNotFoundError:
            return ""

    @property
    def running(self) -> bool:
        """Whether the daemon runs; a frozen one does."""
        return self._daemon is not None and self._daemon.poll() is None

    @property
    def pid(self) -> int:
        """The daemon's; NodeStoppedError without one."""
        if self._daemon is None or self._daemon.poll() is not None:
            raise NodeStoppedError(f"{self.name}: its daemon does not run: {self.last_words()}")
        return self._daemon.pid

    def stop(self) -> int:
        """End the daemon as systemd does (SIGTERM), and wait for it: its status."""
        self._signal(signal.SIGTERM)
        return self.wait_ended()

    def wait_ended(self) -> int:
        """Wait for the end of a daemon that was told to end: its status."""
        assert self._daemon is not None
        try:
            return self._daemon.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: its daemon does not stop") from None

    def kill(self) -> None:
        """Kill the daemon (SIGKILL). Rules, VIP and the kernel's table stay."""
        self._signal(signal.SIGKILL)
        assert self._daemon is not None
        self._daemon.wait()

    def freeze(self) -> None:
        """Let the daemon do nothing more, without knowing of it (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen daemon go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        _ = self.pid  # a process that has ended takes no signal
        assert self._daemon is not None
        self._daemon.send_signal(number)

    # --- what it says ---------------------------------------------------------------------------

    @property
    def socket(self) -> Path:
        """Where the daemon answers."""
        return control.socket_path(self._places.run, CLUSTER)

    def status(self, timeout: float = 5.0) -> Status | None:
        """What `saru status --json` says; None if no daemon answers in `timeout` seconds."""
        try:
            return control.ask(self.socket, Status, "status", timeout=timeout)
        except OutageError:
            return None

    def held(self, number: int = 1) -> int:
        """How many blocks of an id its kernel accepts, as it says; 0 if it does not answer."""
        status = self.status()
        return held(status, number) if status else 0

    def sees(self, name: str, state: State) -> bool:
        """Whether it says of a node that it is in a state."""
        status = self.status()
        found = [d for d in status.directors if d.name == name] if status else []
        return bool(found) and state in found[0].states

    def log(self) -> str:
        """What the daemon has said, in all its lives."""
        path = self.directory / "saru.log"
        return path.read_text() if path.exists() else ""
