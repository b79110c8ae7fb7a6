# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts of a test network: a network namespace each, and a thread with an event loop in it."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pyroute2 import netns

T = TypeVar("T")
PATIENCE = 60  # seconds; nothing is concluded from how long it takes


def ip(*words: str, namespace: str | None = None) -> None:
    """Run `ip`, in a namespace if one is named."""
    where = ["-n", namespace] if namespace else []
    done = subprocess.run(["ip", *where, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"`ip {' '.join((*where, *words))}` says {done.stderr}"


def eventually(what: str, true: Callable[[], object]) -> None:
    """Wait until `true()` is."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"never came true: {what}"
        time.sleep(0.02)


class Host:
    """A namespace with an event loop that runs in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.namespace = f"saru-{uuid.uuid4().hex[:8]}-{name}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ready = threading.Event()

    def _run(self) -> None:
        netns.setns(self.namespace)  # of this thread alone
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        self._loop.close()

    def start(self) -> None:
        ip("netns", "add", self.namespace)
        ip("link", "set", "lo", "up", namespace=self.namespace)
        self._thread.start()
        assert self._ready.wait(PATIENCE), f"no event loop in {self.name}"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        ip("netns", "del", self.namespace)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns that runs on this host."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def call(self, work: Callable[[], T]) -> T:
        """What a function returns that runs on this host."""

        async def run() -> T:
            return work()

        return self.run(run())

    def ip(self, *words: str) -> None:
        ip(*words, namespace=self.namespace)

    def mac(self, interface: str) -> str:
        words = ["cat", f"/sys/class/net/{interface}/address"]
        shown = subprocess.run(
            ["ip", "netns", "exec", self.namespace, *words],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return shown.stdout.strip()

    def has_carrier(self, interface: str) -> bool:
        shown = subprocess.run(
            ["ip", "-n", self.namespace, "-br", "link", "show", interface],
            check=True,
            capture_output=True,
            text=True,
        )
        return shown.stdout.split()[1] == "UP"


class Network:
    """Hosts and switches. Switch n connects interface eth<n> of every host, 10.0.<n>.<place>/24."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.switch = f"saru-{uuid.uuid4().hex[:8]}-switch"
        self.hosts = {name: Host(name) for name in names}

    def plug(self, name: str, number: int) -> None:
        """Give a host its interface on a switch."""
        host = self.hosts[name]
        place = list(self.hosts).index(name) + 1
        port, interface = f"p{number}-{place}", f"eth{number}"
        ip(
            *("link", "add", port, "netns", self.switch, "type", "veth"),
            *("peer", "name", interface, "netns", host.namespace),
        )
        ip("link", "set", port, "master", f"br{number}", "up", namespace=self.switch)
        host.ip("addr", "add", f"10.0.{number}.{place}/24", "dev", interface)
        host.ip("addr", "add", f"fd00:{number}::{place}/64", "dev", interface, "nodad")
        host.ip("link", "set", interface, "up")
        eventually(f"{interface} of {name} has a carrier", lambda: host.has_carrier(interface))

    def pull(self, name: str, number: int) -> None:
        """Take a host's interface away."""
        self.hosts[name].ip("link", "del", f"eth{number}")

    def cut(self, name: str, number: int, *, off: bool) -> None:
        """Switch the port of a host off or on: no datagram passes, the interface stays."""
        place = list(self.hosts).index(name) + 1
        ip("link", "set", f"p{number}-{place}", "down" if off else "up", namespace=self.switch)


@contextmanager
def network(*names: str, switches: int = 1) -> Iterator[Network]:
    """A network of hosts, each on every switch; gone at the end."""
    made = Network(names)
    ip("netns", "add", made.switch)
    started: list[Host] = []
    try:
        for number in range(switches):
            bridge = f"br{number}"
            ip(
                *("link", "add", bridge, "type", "bridge", "mcast_snooping", "0"),
                namespace=made.switch,
            )
            ip("link", "set", bridge, "up", namespace=made.switch)
        for host in made.hosts.values():
            host.start()
            started.append(host)
            for number in range(switches):
                made.plug(host.name, number)
        yield made
    finally:
        for host in started:
            host.stop()
        ip("netns", "del", made.switch)
