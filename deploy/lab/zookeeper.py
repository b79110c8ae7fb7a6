# SPDX-License-Identifier: GPL-2.0-or-later
"""Real ZooKeeper servers, as Debian packages them, each in a network namespace of its own.

    with Cluster("try-it", plan(3, zookeepers=3)) as cluster:
        cluster.ensemble.leader().kill()

Their ticks are short (100 ms, so sessions of 400 ms are granted), their JVMs small. What they
write is in a directory each, which outlives kills: a server that starts again goes on from there.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError
from pyroute2 import netns

from deploy.lab import topology
from deploy.lab.cache import LabError
from deploy.lab.network import Network
from deploy.lab.node import PATIENCE, wait_until

PORT = 2181
TICK = 100
"""Milliseconds; a session takes at least two of them."""
SESSION_MAX = 60_000
"""Milliseconds."""
JARS = Path("/usr/share/java")
CLASSES = (
    *("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "snappy-java"),
    *("metrics-core", "commons-cli", "commons-io", "jackson-core", "jackson-databind"),
    *("jackson-annotations",),
)
"""What a server needs of what `libzookeeper-java` brings along, beside netty's."""
JVM = (
    *("-Xms16m", "-Xmx64m", "-Xss512k", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    *("-XX:-UsePerfData", "-XX:ReservedCodeCacheSize=16m", "-Xshare:auto"),
    "-Dzookeeper.preAllocSize=64",
    "-Dzookeeper.forceSync=no",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)
"""A server is there in a second or two, and small. It does not wait for the disk, which others use,
too: what a server that is killed has written is the kernel's, and nobody cuts the host's power."""
SECRET = 0xB3415C00
"""ZooKeeper makes a session's password from its number and this: a way in for administrators."""


class Server:
    """One server of an ensemble, in the namespace of the host `name`."""

    def __init__(self, network: Network, name: str, directory: Path, lines: Sequence[str]) -> None:
        self.name = name
        self.address = topology.zookeeper_address(name)
        self._network = network
        self._directory = directory
        self._lines = lines
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        if self.running:
            raise LabError(f"{self.name} runs already")
        data = self._directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        number = topology.ZOOKEEPERS.index(self.name) + 1
        (data / "myid").write_text(f"{number}\n")
        config = self._directory / "zoo.cfg"
        config.write_text("".join(f"{line}\n" for line in (*self._lines, f"dataDir={data}")))
        jars = [*(JARS / f"{name}.jar" for name in CLASSES), *sorted(JARS.glob("netty-*.jar"))]
        path = ":".join(map(str, jars))
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        words = ["java", *JVM, "-cp", path, main, str(config)]
        self._process = self._network.start(self.name, words, self._directory / "log")

    @property
    def running(self) -> bool:
        """Whether it runs; a frozen one does."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill it (SIGKILL), frozen or not."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        """End it as an administrator does (SIGTERM)."""
        self._signal(signal.SIGTERM)
        assert self._process is not None
        self._process.wait(PATIENCE)

    def freeze(self) -> None:
        """Let it do nothing more, without knowing of it (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def bury(self) -> None:
        """Take leave of a process that was killed."""
        if self._process is not None:
            self._process.wait()
        self._process = None

    def check(self) -> None:
        """LabError with its last words if it ended by itself, or was killed."""
        if self._process is not None and not self.running:
            raise LabError(f"{self.name} has ended: {self.log()[-1000:]}")

    def mode(self) -> str:
        """`leader`, `follower`, `standalone`; empty while it serves nobody."""
        return self.facts("srvr").get("Mode", "")

    def leads(self) -> bool:
        """Whether it leads, or is alone."""
        return self.running and self.mode() in ("leader", "standalone")

    def facts(self, word: str) -> dict[str, str]:
        """What it says to one of its four-letter words, by key; empty if it says nothing."""
        pairs = (line.replace("\t", ": ", 1).partition(": ") for line in self.ask(word))
        return {key: value for key, _, value in pairs if value}

    def ask(self, word: str) -> list[str]:
        """The lines of its answer to a four-letter word; none if it does not answer."""
        answer = b""
        try:
            with inside(self._network.namespace(self.name)):
                asking = socket.create_connection((self.address, PORT), timeout=1.0)
            with asking:
                asking.sendall(word.encode())
                while part := asking.recv(65536):
                    answer += part
        except OSError:
            return []
        return answer.decode().splitlines()

    def log(self) -> str:
        """What it has said, in all its lives."""
        path = self._directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            raise LabError(f"{self.name} does not run: {self.log()[-500:]}")
        self._process.send_signal(number)


class Ensemble:
    """`count` servers (1 or 3) on the hosts zk1, …; their files are in `directory`."""

    def __init__(
        self,
        network: Network,
        directory: Path,
        count: int,
        more: Mapping[str, object] | None = None,
    ) -> None:
        self._network = network
        names = topology.ZOOKEEPERS[:count]
        hosts = [topology.zookeeper_address(name) for name in names]
        values = {
            "tickTime": TICK,
            "initLimit": 50,
            "syncLimit": 5,
            "maxSessionTimeout": SESSION_MAX,
            "maxClientCnxns": 0,
            "clientPort": PORT,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            **(more or {}),
        }
        lines = [f"{key}={value}" for key, value in values.items()]
        if count > 1:
            lines += [f"server.{i}={host}:2888:3888" for i, host in enumerate(hosts, 1)]
        self.servers = [Server(network, name, directory / name, lines) for name in names]
        self._directory = directory

    @property
    def hosts(self) -> list[str]:
        """As `zookeeper.hosts` takes them."""
        return [f"{server.address}:{PORT}" for server in self.servers]

    def up(self) -> None:
        """Start all servers, with nothing in their store, and wait until they serve."""
        shutil.rmtree(self._directory, ignore_errors=True)
        for server in self.servers:
            server.start()
        self.wait_serving()

    def wait_serving(self) -> None:
        """Wait until every server serves."""

        def serving() -> bool:
            for server in self.servers:
                server.check()
            return all(server.mode() for server in self.servers)

        wait_until("the ensemble serves", serving)

    def down(self) -> None:
        """Forget everything, processes that were killed with their network too."""
        for server in self.servers:
            server.bury()
        shutil.rmtree(self._directory, ignore_errors=True)

    def wait_led(self) -> None:
        """Wait until some server leads."""
        wait_until("a server leads", lambda: any(s.leads() for s in self.servers))

    def leader(self) -> Server:
        """Who leads (or is alone), once somebody does."""
        self.wait_led()
        return next(server for server in self.servers if server.leads())

    def server(self, name: str) -> Server:
        """The server `name`."""
        return next(server for server in self.servers if server.name == name)

    @contextmanager
    def client(self, server: Server | None = None, **options: object) -> Iterator[KazooClient]:
        """A client of one server, or of any, on the host of the first one; connected."""
        hosts = [f"{server.address}:{PORT}"] if server else self.hosts
        made = KazooClient(",".join(hosts), timeout=PATIENCE, **options)
        with self.inside():
            made.start(timeout=PATIENCE)  # its threads stay in the namespace
        try:
            yield made
        finally:
            made.stop()
            made.close()

    def inside(self) -> AbstractContextManager[None]:
        """Be on the first server's host: see the function `inside`."""
        return inside(self._network.namespace(topology.ZOOKEEPERS[0]))

    def expire(self, session: int) -> None:
        """End a session (an ephemeral node's owner) from outside: who has it learns of it later."""

        def ended() -> bool:
            try:
                with self.client(client_id=(session, password(session))):
                    return True
            except KazooTimeoutError:  # who has it came back just then, and has it again
                return False

        wait_until(f"session {session:#x} is ended", ended)


def password(session: int) -> bytes:
    """The password that servers gave to a session: the first 16 bytes of a java.util.Random."""
    mask = (1 << 48) - 1
    state = (session ^ SECRET ^ 0x5DEECE66D) & mask
    made = b""
    while len(made) < 16:
        state = (state * 0x5DEECE66D + 0xB) & mask
        made += (state >> 16 & 0xFFFFFFFF).to_bytes(4, "little")
    return made


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Be in a network namespace: this thread, and threads and programs that it starts."""
    netns.pushns(namespace)
    try:
        yield
    finally:
        netns.popns()
