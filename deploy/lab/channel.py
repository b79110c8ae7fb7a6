# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's side of a guest's agent: commands run in the guest."""

import base64
import contextlib
import fcntl
import json
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.lab.cache import LabError

PORTS = 8
"""How many hosts can talk to one guest's agent at a time."""
GRACE = 10.0
"""Seconds that a killed command's end may take to be reported."""


class GuestGoneError(LabError):
    """The guest is not there any more: its QEMU has ended."""


class CommandTimeoutError(LabError):
    """A command in a guest took longer than it was given; it has been killed."""


class CommandFailedError(LabError):
    """A command in a guest ended with another status than 0."""


@dataclass(frozen=True)
class Done:
    """How a command ended. `returncode` is negative for a signal."""

    returncode: int
    stdout: str
    stderr: str


Listener = Callable[[str, bytes], None]
"""Called with `out` or `err` and a chunk of output, from the channel's own thread."""


class Process:
    """A command in a guest. What it prints is kept unless a listener takes it."""

    def __init__(self, channel: "Channel", number: int, listener: Listener | None) -> None:
        self._channel = channel
        self._number = number
        self._listener = listener
        self._output = {"out": bytearray(), "err": bytearray()}
        self._ended = threading.Event()
        self._status: int | None = None

    def take(self, message: Mapping[str, Any]) -> None:
        """A message about this command (called by the channel)."""
        if "exit" in message:
            self._status = message["exit"]
            self._ended.set()
        for stream in ("out", "err"):
            if stream in message:
                chunk = base64.b64decode(message[stream])
                if self._listener:
                    self._listener(stream, chunk)
                else:
                    self._output[stream] += chunk

    def abandon(self) -> None:
        """The guest has gone (called by the channel)."""
        self._ended.set()

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._output["out"].decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has printed as errors so far."""
        return self._output["err"].decode(errors="replace")

    def poll(self) -> int | None:
        """The status, or None while it runs. Raises GuestGoneError when the guest has ended."""
        if self._ended.is_set() and self._status is None:
            raise GuestGoneError(f"{self._channel.name}: the guest has ended")
        return self._status

    def wait(self, timeout: float | None = None) -> Done:
        """Wait at most `timeout` seconds for the end; CommandTimeoutError leaves it running."""
        if not self._ended.wait(timeout):
            raise CommandTimeoutError(f"{self._channel.name}: still running after {timeout} s")
        status = self.poll()
        assert status is not None
        return Done(status, self.stdout, self.stderr)

    def write(self, data: bytes) -> None:
        """Hand the command input."""
        for start in range(0, len(data), 32768):
            chunk = base64.b64encode(data[start : start + 32768]).decode()
            self._channel.say({"id": self._number, "in": chunk})

    def close_input(self) -> None:
        """Tell the command that its input ends."""
        self._channel.say({"id": self._number, "eof": True})

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the command and the children in its session."""
        self._channel.say({"id": self._number, "kill": int(number)})


class Channel:
    """A connection to a guest's agent, over the first port that nobody else holds.

    Ports are Unix sockets `agent.0` and so on in the guest's directory; a lock on
    `agent.0.lock` says that one is taken.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory
        self._processes: dict[int, Process] = {}
        self._next = 0
        self._lock = threading.Lock()
        self._word = secrets.token_hex(8)
        self._ready = threading.Event()
        self._gone = False
        self._socket = self._connect()
        self._reader = threading.Thread(target=self._read, daemon=True, name=f"agent {name}")
        self._reader.start()

    def _connect(self) -> socket.socket:
        for number in range(PORTS):
            path = self._directory / f"agent.{number}"
            self._hold = open(f"{path}.lock", "w")  # noqa: SIM115
            try:
                fcntl.flock(self._hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._hold.close()
                continue
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(path))
            except OSError as error:
                connection.close()
                self._hold.close()
                raise GuestGoneError(f"{self.name}: no guest answers at {path}") from error
            return connection
        raise LabError(f"{self.name}: all {PORTS} ways to its agent are taken")

    def greet(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the agent's answer; False if there was none."""
        until = time.monotonic() + timeout
        while not self._ready.is_set() and not self._gone:
            left = until - time.monotonic()
            if left <= 0:
                return False
            # Said again and again: what is said before the agent listens is lost.
            self._send(b"\n" + json.dumps({"hello": self._word}).encode() + b"\n")
            self._ready.wait(min(left, 0.5))
        if self._gone:
            raise GuestGoneError(f"{self.name}: the guest has ended")
        return True

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: str = "/root",
        listener: Listener | None = None,
    ) -> Process:
        """Start a command, found on the guest's own path."""
        with self._lock:
            number = self._next
            self._next += 1
            process = Process(self, number, listener)
            self._processes[number] = process
        request = {"id": number, "argv": list(argv), "env": dict(env or {}), "cwd": cwd}
        self.say(request)
        return process

    def say(self, message: Mapping[str, Any]) -> None:
        """Send one message to the agent."""
        self._send(json.dumps(message).encode() + b"\n")

    def _send(self, data: bytes) -> None:
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError as error:
            raise GuestGoneError(f"{self.name}: the guest has ended") from error

    def _read(self) -> None:
        waiting = b""
        while True:
            try:
                chunk = self._socket.recv(1 << 20)
            except OSError:
                chunk = b""
            if not chunk:
                break
            *lines, waiting = (waiting + chunk).split(b"\n")
            for line in lines:
                self._take(line)
        self._gone = True
        self._ready.set()
        with self._lock:
            for process in self._processes.values():
                process.abandon()

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        if message.get("hello") == self._word:
            self._ready.set()
        elif self._ready.is_set() and "id" in message:
            process = self._processes.get(message["id"])
            if process is not None:
                process.take(message)
                if "exit" in message:
                    del self._processes[message["id"]]

    def close(self) -> None:
        """Hang up; what was started over this channel and still runs is killed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(GRACE)
        self._socket.close()
        self._hold.close()
