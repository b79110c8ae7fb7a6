# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest: a virtual machine with a stock kernel that sees the host's own file system.

The host's `/` is read-only below a tmpfs; /proc, /sys, /dev, /run and /tmp are the guest's
own. What lies on the host under /run or /tmp is not seen, except the project's checkout and
the cache. Files that change on the host while a guest runs may be seen as they were; Python's
libraries and the package `saru` always are, read-only (see image.py).

    with Guest.boot("walter", kernel="6.1") as guest:
        print(guest.run(["uname", "-r"]).stdout)
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.lab import cache, image, kernels, qemu
from deploy.lab.cache import PROJECT, LabError
from deploy.lab.channel import (
    GRACE,
    Channel,
    CommandFailedError,
    CommandTimeoutError,
    Done,
    GuestGoneError,
    Listener,
    Process,
)
from deploy.lab.image import Image
from deploy.lab.kernels import Kernel
from deploy.lab.qemu import Nic

__all__ = ["CommandFailedError", "CommandTimeoutError", "Done", "Guest", "GuestGoneError", "Nic"]

BOOT_SECONDS = 180.0
"""What a boot may take; about 8 s is usual in emulation on an idle host."""
KVM_BOOT_SECONDS = 30.0
ATTACH_SECONDS = 60.0
"""What a running guest may take to answer somebody new."""
COMMAND_SECONDS = 300.0
"""What a command may take that nobody gives another limit; a busy host may need a minute."""

# A child told to die with its parent dies with the parent's *thread*: start every QEMU from
# one thread that lives as long as this process.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qemu")


def _with_parent() -> list[str]:
    """A prefix to a command that is to die with this process. Who asks to be told of its
    parent's death when that is past is told nothing (prctl(2), PR_SET_PDEATHSIG), and has
    another parent by then: it does not start."""
    start = '[ "$PPID" = "$0" ] && exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", start, str(os.getpid())]


def last_words(directory: Path) -> str:
    """What the guest in `directory`, and its QEMU, have said last; it may be gone."""
    said = [directory / "qemu.log", directory / "console.log"]
    text = "\n".join(p.read_text(errors="replace") for p in said if p.exists())
    return "\n".join(text.strip().splitlines()[-25:]) or "it said nothing"


class Guest:
    """A running guest. Made by `boot`, or by `start` and later `wait_ready`, or by `attach`."""

    def __init__(self, name: str, kernel: Kernel, directory: Path, owned: bool) -> None:
        self.name = name
        self.kernel = kernel
        self.directory = directory
        self._owned = owned
        self._channel: Channel | None = None
        self._accel = ""
        self._restart: list[str] = []

    @classmethod
    def boot(cls, name: str, **options: object) -> Self:
        """`start` a guest and wait until it takes commands."""
        guest = cls.start(name, **options)  # type: ignore[arg-type]
        try:
            guest.wait_ready()
        except BaseException:
            guest.close()
            raise
        return guest

    @classmethod
    def start(
        cls,
        name: str,
        kernel: str | Kernel = "6.1",
        *,
        memory_mb: int = 192,
        cpus: int = 1,
        nics: Sequence[Nic] = (),
        namespace: str | None = None,
        icount: bool = False,
        append: str = "",
        shares: Mapping[str, Path] | None = None,
        directory: Path | None = None,
    ) -> Self:
        """Start a guest's QEMU and return at once.

        `namespace` names the network namespace with the taps of `nics`. Without a
        `directory` the guest dies with this process, and its files go with `close`; with
        one it lives on, and `attach` finds it there. `icount` makes the guest's clock
        count instructions (emulation always). `append` goes to the kernel's command line.
        `shares` maps directories of the guest to the host's, which it may write to.
        """
        chosen = kernel if isinstance(kernel, Kernel) else kernels.fetch(kernel)
        owned = directory is None
        where = directory or Path(tempfile.mkdtemp(prefix=f"saru-{name}-"))
        where.mkdir(parents=True, exist_ok=True)
        guest = cls(name, chosen, where, owned)
        disks = image.build()

        def words(accel: str) -> list[str]:
            prefix = ["ip", "netns", "exec", namespace] if namespace else []
            if owned:
                prefix += _with_parent()
            return prefix + qemu.command(
                chosen,
                accel,
                where,
                memory_mb=memory_mb,
                cpus=cpus,
                nics=nics,
                shares=list((shares or {}).values()),
                disks=[disk.path for disk in disks],
                icount=icount,
                append=f"{append} {_environment(name, chosen, disks, list(shares or {}))}",
            )

        accel = "tcg" if icount else qemu.accelerator(chosen)
        guest._accel = accel
        guest._restart = words("tcg")
        guest._spawn(words(accel))
        return guest

    def _spawn(self, words: list[str]) -> None:
        for old in ("console.log", "console", *(f"agent.{n}" for n in range(8))):
            (self.directory / old).unlink(missing_ok=True)
        with open(self.directory / "qemu.log", "wb") as log:
            process = _spawner.submit(
                subprocess.Popen,
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ).result()
        record = {
            "name": self.name,
            "kernel": self.kernel.version,
            "pid": process.pid,
            "started": _started(process.pid),
        }
        (self.directory / "guest.json").write_text(json.dumps(record))
        self._process: subprocess.Popen[bytes] | None = process

    @classmethod
    def attach(cls, directory: Path) -> Self:
        """The guest that some process started in `directory`; GuestGoneError if it is not on."""
        try:
            record = json.loads((directory / "guest.json").read_text())
        except FileNotFoundError as error:
            raise GuestGoneError(f"{directory.name}: never booted") from error
        guest = cls(record["name"], kernels.fetch(record["kernel"]), directory, owned=False)
        guest._process = None
        if not guest.alive():
            raise GuestGoneError(f"{guest.name}: powered off")
        return guest

    def pid(self) -> int | None:
        """QEMU's process id, or None when it has ended."""
        process = getattr(self, "_process", None)
        if process is not None:
            return None if process.poll() is not None else int(process.pid)
        record = json.loads((self.directory / "guest.json").read_text())
        pid = int(record["pid"])
        started = _started(pid)
        return pid if started is not None and started == record["started"] else None

    def alive(self) -> bool:
        """Whether QEMU runs; a stopped one does."""
        return self.pid() is not None

    def wait_ready(self, timeout: float = BOOT_SECONDS) -> None:
        """Wait until the agent answers. A guest that does not get so far is started once more,
        without KVM: under it stock guests hang here and there, and emulated ones on a busy host
        were seen to stumble in their kernel's first seconds."""
        try:
            self._greet(min(timeout, KVM_BOOT_SECONDS) if self._accel == "kvm" else timeout)
        except LabError as error:
            if not self._restart:
                raise
            if self._accel == "kvm":
                qemu.remember(self.kernel, "tcg")
            cache.say(f"{self.name} did not boot and is started once more: {error}")
            self.kill()
            words, self._restart = self._restart, []
            self._spawn(words)
            self._greet(timeout)

    def _greet(self, timeout: float) -> None:
        until = time.monotonic() + timeout
        while self._channel is None:
            try:
                self._channel = Channel(self.name, self.directory)
            except GuestGoneError:
                if not self.alive() or time.monotonic() > until:
                    raise LabError(f"{self.name}: {last_words(self.directory)}") from None
                time.sleep(0.02)
        try:
            if self._channel.greet(max(0.0, until - time.monotonic())):
                return
        except GuestGoneError:
            raise LabError(f"{self.name} ended: {last_words(self.directory)}") from None
        raise LabError(f"{self.name}: no agent after {timeout:.0f} s: {last_words(self.directory)}")

    def channel(self) -> Channel:
        """The connection to the agent, made on first use."""
        if self._channel is None:
            self._greet(ATTACH_SECONDS)
        assert self._channel is not None
        return self._channel

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = COMMAND_SECONDS,
        input: bytes = b"",  # noqa: A002 - as subprocess.run has it
        env: Mapping[str, str] | None = None,
        cwd: str = "/root",
    ) -> Done:
        """Run a command to its end, for at most `timeout` seconds, then it is killed.

        With `check`, a status other than 0 raises CommandFailedError. Processes that it
        leaves behind live on if they have left its session (`setsid`).
        """
        process = self.start_command(argv, env=env, cwd=cwd)
        if input:
            process.write(input)
        process.close_input()
        return self.finish(process, f"`{' '.join(argv)}`", check=check, timeout=timeout)

    def finish(
        self, process: Process, what: str, *, check: bool = True, timeout: float = COMMAND_SECONDS
    ) -> Done:
        """Wait for the end of a command that errors call `what`; otherwise as `run`."""
        try:
            done = process.wait(timeout)
        except CommandTimeoutError:
            process.kill()
            with contextlib.suppress(CommandTimeoutError):
                process.wait(GRACE)
            said = (process.stdout + process.stderr)[-2000:]
            raise CommandTimeoutError(
                f"{self.name}: {what} was not done after {timeout:.0f} s; it said: {said}"
            ) from None
        if check and done.returncode:
            raise CommandFailedError(
                f"{self.name}: {what} ended with {done.returncode}: "
                f"{(done.stdout + done.stderr).strip()[-4000:]}"
            )
        return done

    def start_command(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/root",
        listener: Listener | None = None,
    ) -> Process:
        """Start a command and leave it running; it ends with this guest's `close` at last."""
        return self.channel().start(argv, env, cwd, listener)

    def write_file(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the guest, with its directories."""
        script = 'mkdir -p "$(dirname "$0")" && umask 077 && cat > "$0" && chmod "$1" "$0"'
        self.run(["sh", "-c", script, path, f"{mode:o}"], input=text.encode())

    def kernel_log(self) -> str:
        """The kernel's messages: all of them from a live guest, else what the console showed."""
        if self.alive():
            with contextlib.suppress(LabError):
                return self.run(["dmesg"], timeout=30).stdout
        return (self.directory / "console.log").read_text(errors="replace")

    def stop(self) -> None:
        """Freeze the guest, clock and all, as a host that is overloaded would."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let a frozen guest go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Cut the guest's power. Doing so twice is no error."""
        with contextlib.suppress(GuestGoneError):
            self._signal(signal.SIGKILL)
        process = getattr(self, "_process", None)
        if process is not None:
            process.wait()
        while self.alive():
            time.sleep(0.01)
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _signal(self, number: int) -> None:
        pid = self.pid()
        if pid is None:
            raise GuestGoneError(f"{self.name}: powered off")
        os.kill(pid, number)

    def close(self) -> None:
        """Power off and clean up, or, for a guest with a directory of its own, hang up."""
        if self._owned:
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
        elif self._channel is not None:
            self._channel.close()
            self._channel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _environment(name: str, kernel: Kernel, disks: Sequence[Image], shares: Sequence[str]) -> str:
    """What the guest's init is told, as words of the kernel's command line."""
    agent = Path(__file__).with_name("agent.py")
    shown = [
        str(path)
        for path in (PROJECT, cache.root())
        if path.is_relative_to("/tmp") or path.is_relative_to("/run")
    ]
    covers = [
        f"vd{letter}/{number}:{path}"
        for letter, disk in zip("abcdefgh", disks, strict=False)
        for number, path in enumerate(disk.directories)
    ]
    words = {
        "name": name,
        "agent": agent,
        "modules": kernel.modules,
        "shown": " ".join(shown),
        "disks": " ".join(covers),
        "shares": " ".join(f"share{number}:{path}" for number, path in enumerate(shares)),
    }
    return " ".join(f'saru_{key}="{value}"' for key, value in words.items() if str(value))


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: tells a process id from its reuse."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


@contextlib.contextmanager
def together(guests: Sequence[Guest]) -> Iterator[Sequence[Guest]]:
    """Wait for guests that were started side by side; close them all at the end."""
    with contextlib.ExitStack() as stack:
        for guest in guests:
            stack.callback(guest.close)
        for guest in guests:
            guest.wait_ready()
        yield guests
