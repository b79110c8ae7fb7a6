# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's first process: runs commands that come in over virtio-serial ports.

Each port carries lines of JSON. A host that connects says hello with a word of its own and
ignores what comes before the answer: it may be the end of somebody else's conversation.

    host:   {"hello": WORD}                              agent: {"hello": WORD}
    host:   {"id": N, "argv": [...], "env": {...}, "cwd": DIR}
    host:   {"id": N, "in": BASE64}   {"id": N, "eof": true}   {"id": N, "kill": SIGNAL}
    agent:  {"id": N, "out": BASE64}  {"id": N, "err": BASE64} {"id": N, "exit": STATUS}

A command is a session of its own; it dies with the host's connection. Its end is reported
when it has ended, though its children may still hold its output open. STATUS is negative
for a signal, as in Python's subprocess.

Only cheap modules are imported: an emulated guest starts this in half a second.
"""

import binascii
import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import sys
from typing import Any

CHUNK = 65536
BACKLOG = 1 << 20
"""Bytes waiting for a slow host after which its commands' output is left in their pipes."""
LOOK_AROUND = 2000
"""Milliseconds without an event after which every port is read all the same."""
NOT_FOUND = 127
CONSOLE = "/dev/ttyS0"


class Command:
    """A running command and our ends of its pipes."""

    def __init__(self, port: "Port", number: int, request: dict[str, Any]) -> None:
        self.port = port
        self.number = number
        self.feed = b""
        self.fed = False
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _become(request, stdin, stdout, stderr)
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)
        os.set_blocking(self.stderr, False)

    def read(self, fd: int) -> bool:
        """Pass on one chunk of output; False when there is none now."""
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        if chunk:
            stream = "out" if fd == self.stdout else "err"
            text = binascii.b2a_base64(chunk, newline=False).decode()
            self.port.say({"id": self.number, stream: text})
            return True
        os.close(fd)
        if fd == self.stdout:
            self.stdout = -1
        else:
            self.stderr = -1
        return False

    def write(self) -> None:
        """Hand on waiting input, and its end."""
        if self.stdin < 0:
            return
        try:
            if self.feed:
                self.feed = self.feed[os.write(self.stdin, self.feed) :]
        except BlockingIOError:
            return
        except OSError:
            self.feed, self.fed = b"", True
        if self.fed and not self.feed:
            os.close(self.stdin)
            self.stdin = -1

    def kill(self, number: int) -> None:
        """Send a signal to the command's whole session."""
        with contextlib.suppress(ProcessLookupError):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:  # it has no session of its own yet
                os.kill(self.pid, number)

    def end(self, status: int) -> None:
        """The command has ended: pass on what is left, and say so."""
        for fd in (self.stdout, self.stderr):
            while fd >= 0 and self.read(fd):
                pass
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)
        self.port.say({"id": self.number, "exit": os.waitstatus_to_exitcode(status)})


def _become(request: dict[str, Any], stdin: int, stdout: int, stderr: int) -> None:
    """In the child: turn into the command. Never returns."""
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        for source, target in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        os.chdir(request.get("cwd", "/root"))
        os.closerange(3, 1024)
        argv = request["argv"]
        os.execvpe(argv[0], argv, {**os.environ, **request.get("env", {})})
    except (OSError, KeyError, TypeError, ValueError) as error:
        os.write(2, f"agent: {request.get('argv')}: {error}\n".encode())
    finally:
        os._exit(NOT_FOUND)


class Port:
    """One virtio-serial port: the host's side may come and go."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.incoming = b""
        self.outgoing = bytearray()
        self.present = False
        self.commands: dict[int, Command] = {}

    def say(self, message: dict[str, Any]) -> None:
        if self.present:
            self.outgoing += json.dumps(message).encode() + b"\n"

    def leave(self) -> None:
        """The host has gone: end what it started, forget what was said."""
        if self.present:
            for command in self.commands.values():
                command.kill(signal.SIGKILL)
            self.present = False
            self.outgoing.clear()

    def read(self) -> None:
        try:
            chunk = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self.leave()
            self.incoming = b""
            return
        *lines, self.incoming = (self.incoming + chunk).split(b"\n")
        for line in lines:
            try:
                request = json.loads(line)
            except ValueError:
                continue
            self.obey(request)

    def obey(self, request: dict[str, Any]) -> None:
        if "hello" in request:
            # A new host: QEMU may have joined its words to the last one's without a gap.
            self.leave()
            self.present = True
            self.say(request)
            return
        number = request["id"]
        if "argv" in request:
            self.commands[number] = Command(self, number, request)
            return
        command = self.commands.get(number)
        if command is None:
            return
        if "in" in request:
            command.feed += binascii.a2b_base64(request["in"])
        elif "eof" in request:
            command.fed = True
        elif "kill" in request:
            command.kill(request["kill"])
        command.write()

    def write(self) -> None:
        try:
            while self.outgoing:
                del self.outgoing[: os.write(self.fd, self.outgoing[:CHUNK])]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ENODEV):
                raise
            self.leave()


def find_ports() -> list[Port]:
    """Our ports, by the names that the host gave them."""
    base = "/sys/class/virtio-ports"
    found = []
    for entry in sorted(os.listdir(base)):
        with open(f"{base}/{entry}/name") as handle:
            if handle.read().startswith("saru."):
                found.append(Port(f"/dev/{entry}"))
    return found


class Console:
    """The serial console: a shell from the first line that somebody types there on."""

    def __init__(self) -> None:
        self.fd = os.open(CONSOLE, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        self.pid = 0

    def wake(self) -> None:
        """Somebody typed a line: start the shell in place of reading it."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, CHUNK)
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            terminal = os.open(CONSOLE, os.O_RDWR)
            fcntl.ioctl(terminal, 0x540E, 0)  # TIOCSCTTY: the keyboard's signals reach the shell
            for target in (0, 1, 2):
                os.dup2(terminal, target)
            # Neither profile nor rc: the host's may start any number of programs.
            os.execv("/bin/bash", ["bash", "--noprofile", "--norc"])


def reap(ports: list[Port], console: Console) -> None:
    """Collect every process that has ended, ours or an orphan."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == console.pid:
            console.pid = 0
        for port in ports:
            for number, command in list(port.commands.items()):
                if command.pid == pid:
                    del port.commands[number]
                    command.end(status)


def serve(ports: list[Port]) -> None:
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGIO):
        signal.signal(number, lambda *_: None)
    for port in ports:
        fcntl.fcntl(port.fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(port.fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    console = Console()
    while True:
        poll = select.poll()
        if not console.pid:
            poll.register(console.fd, select.POLLIN)
        poll.register(woken, select.POLLIN)
        readers: dict[int, Any] = {}
        for port in ports:
            # A port whose host is away hangs up all the time; SIGIO says when one comes.
            if port.present:
                poll.register(port.fd, select.POLLIN | (select.POLLOUT if port.outgoing else 0))
            for command in port.commands.values():
                if command.stdin >= 0 and command.feed:
                    poll.register(command.stdin, select.POLLOUT)
                    readers[command.stdin] = command
                for fd in (command.stdout, command.stderr):
                    if fd >= 0 and len(port.outgoing) < BACKLOG:
                        poll.register(fd, select.POLLIN)
                        readers[fd] = command
        ready = dict(poll.poll(LOOK_AROUND))
        if woken in ready:
            os.read(woken, CHUNK)
            reap(ports, console)
        if console.fd in ready:
            console.wake()
        for fd, command in readers.items():
            if fd == command.stdin and fd in ready:
                command.write()
            elif fd in ready and fd in (command.stdout, command.stderr):
                command.read(fd)
        for port in ports:
            port.read()
            port.write()


def main() -> None:
    os.environ.clear()
    os.environ.update(
        PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        HOME="/root",
        LANG="C.UTF-8",
        TERM="vt100",
    )
    serve(find_ports())


if __name__ == "__main__":
    try:
        main()
    except BaseException as error:
        print(f"agent: {error!r}", file=sys.stderr, flush=True)
        raise
