# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab as a whole: directors in guests, everybody else in namespaces, on the same wires.

Its state lies in /run/LAB, so that another process, or one after a crash, finds it again:

    lab.json            which directors, which kernel, which cuts
    NAME/               a director's guest
    NAME.state/         what a director has under /var/lib/saru: outlives its power cuts
    real4.log, ...      what the real servers' services said
    zk/                 the files of ZooKeeper servers, if there are any
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.lab import configuration, director, topology
from deploy.lab.cache import PROJECT, LabError
from deploy.lab.configuration import Plan
from deploy.lab.guest import Guest, GuestGoneError
from deploy.lab.network import Network
from deploy.lab.zookeeper import Ensemble

DEFAULT = "saru-lab"
AT_ONCE = 3
"""Guests that boot at a time: more of them on few cores make each other's timers late."""
START_SECONDS = 300.0
"""What a director may take from the first command to its daemon on a busy host; 10 s is usual."""
LOG = "/var/log/saru.log"
OUTPUT = "/var/log/saru.out"
START_DAEMON = f"""\
setsid saru --debug --log_facility {LOG} </dev/null >{OUTPUT} 2>&1 &
# It answers once its socket listens; of a child that has ended the first `sleep` lets us know.
until grep -q ' 00010000 .* /run/saru/saru.sock$' /proc/net/unix; do
    if ! kill -0 $!; then
        echo "the daemon has ended:"
        tail -n 20 {LOG} {OUTPUT}
        exit 1
    fi 2>/dev/null
    sleep 0.1
done
"""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setup:
    """What a lab was brought up as."""

    directors: tuple[str, ...]
    kernel: str
    membership: str
    link_mode: str
    cuts: tuple[tuple[str, str], ...] = ()
    nftables: tuple[str, ...] = ()
    """Those of the directors that go by nftables, beside the others' module."""

    @property
    def zookeepers(self) -> tuple[str, ...]:
        """The ZooKeeper servers' hosts, if that is the membership."""
        return topology.ZOOKEEPERS if self.membership == "zookeeper" else ()


@dataclass(frozen=True)
class NodeStatus:
    """One line of `lab status`."""

    name: str
    role: str
    state: str
    addresses: tuple[str, ...]


class Laboratory:
    """The lab called `name`, whether it is up or not."""

    def __init__(self, name: str = DEFAULT) -> None:
        self.name = name
        self.directory = Path("/run") / name
        self.network = Network(name)

    def up(self, setup: Setup, say: Say) -> None:
        """Bring the lab up. What a failure leaves behind is taken down again."""
        if (self.directory / "lab.json").exists() and self.network.namespaces():
            raise LabError(f"{self.name} is up already: `lab down` ends it")
        self.down()
        try:
            self.directory.mkdir(parents=True)
            self._save(setup)
            say("networks: two switches, the client, two real servers")
            servers = [topology.zookeeper(name) for name in setup.zookeepers]
            self.network.make(setup.directors, [*topology.hosts(), *servers])
            self.network.cut(())
            self._start_services()
            if servers:
                say(f"{len(servers)} ZooKeeper servers start")
                Ensemble(self.network, self.directory / "zk", len(servers)).up()
            (self.directory / "authkeys").write_text(configuration.new_authkeys())
            for start in range(0, len(setup.directors), AT_ONCE):
                self._boot_all(setup, setup.directors[start : start + AT_ONCE], say)
        except BaseException:
            self.down()
            raise

    def _start_services(self) -> None:
        for host in topology.hosts():
            if host.real:
                module = PROJECT / "deploy/lab/responder.py"
                own = [a.partition("/")[0] for leg in host.legs for a in leg.addresses]
                addresses = [topology.VIP, topology.VIP6, *own]
                words = [sys.executable, str(module), host.name, str(topology.PORT), *addresses]
                self.network.start(host.name, words, self.directory / f"{host.name}.log")

    def _boot_all(self, setup: Setup, names: Iterable[str], say: Say) -> None:
        guests = [self._start(setup, name) for name in names]
        for guest in guests:
            say(f"{guest.name}: boots kernel {guest.kernel.release}")
        for guest in guests:
            guest.wait_ready()
        scripts = [
            guest.start_command(["sh", "-c", self._director_script(setup, guest)])
            for guest in guests
        ]
        for guest, script in zip(guests, scripts, strict=True):
            guest.finish(script, "its start as a director", timeout=START_SECONDS)
            say(f"{guest.name}: runs the daemon")
            guest.close()

    def _start(self, setup: Setup, name: str) -> Guest:
        state = self.directory / f"{name}.state"
        state.mkdir(exist_ok=True)
        return Guest.start(
            name,
            setup.kernel,
            nics=topology.director(name).nics(),
            namespace=self.name,
            shares={"/var/lib/saru": state},
            directory=self.directory / name,
        )

    def _director_script(self, setup: Setup, guest: Guest) -> str:
        """Everything a director is, in the order that lets no packet through unjudged."""
        plan = Plan(
            setup.directors,
            configuration.GUESTS,
            link_mode=setup.link_mode,
            zookeepers=len(setup.zookeepers),
        )
        nftables = guest.name in setup.nftables
        own = {"director": {"dataplane": "nftables"}} if nftables else None
        config = configuration.config(plan, guest.name, own=own)
        authkeys = (self.directory / "authkeys").read_text()
        return "\n".join(
            [
                director.BEGIN,
                director.script(guest.kernel),
                director.file("/etc/saru/saru.conf", config),
                director.file("/etc/saru/authkeys", authkeys, 0o600),
                *configuration.own_addresses(guest.name),
                f"ipvsadm --restore <<'END'\n{configuration.services()}END",
                "saru rules apply",
                "saru link up",
                START_DAEMON,
            ]
        )

    def setup(self) -> Setup:
        """What the lab is up as; LabError if it is not up."""
        try:
            found: Mapping[str, Any] = json.loads((self.directory / "lab.json").read_text())
        except FileNotFoundError:
            raise LabError(f"{self.name} is not up: `lab up` starts it") from None
        cuts = tuple((str(a), str(b)) for a, b in found["cuts"])
        return Setup(
            tuple(found["directors"]), found["kernel"], found["membership"],
            found["link_mode"], cuts, tuple(found["nftables"]),
        )  # fmt: skip

    def _save(self, setup: Setup) -> None:
        (self.directory / "lab.json").write_text(json.dumps(asdict(setup)))

    def guest(self, name: str) -> Guest:
        """The running guest of a director, to be closed after use."""
        setup = self.setup()
        node = topology.resolve(name, setup.directors)
        if node not in setup.directors:
            raise LabError(f"{node} is no director: it is a namespace and has no power switch")
        return Guest.attach(self.directory / node)

    def kill(self, name: str) -> None:
        """Cut a director's power."""
        try:
            guest = self.guest(name)
        except GuestGoneError:
            raise LabError(f"{name} is off already") from None
        guest.kill()

    def boot(self, name: str, say: Say) -> None:
        """Give a director that is off its power back; it starts its daemon."""
        try:
            self.guest(name).close()
        except GuestGoneError:
            self._boot_all(self.setup(), [name], say)
        else:
            raise LabError(f"{name} is on already")

    def cut(self, groups: Iterable[Iterable[str]]) -> None:
        """Let no frame pass between nodes of different groups, on any segment."""
        setup = self.setup()
        nodes = (*setup.directors, *setup.zookeepers)
        known = [[topology.resolve(name, nodes) for name in group] for group in groups]
        pairs = set(setup.cuts)
        for one in known:
            for other in known:
                if one is other:
                    continue
                if both := sorted(set(one) & set(other)):
                    raise LabError(f"{both[0]} cannot be cut off from itself")
                pairs |= {(min(a, b), max(a, b)) for a in one for b in other}
        self._apply_cuts(setup, pairs)

    def heal(self) -> None:
        """Let all frames pass again."""
        self._apply_cuts(self.setup(), ())

    def _apply_cuts(self, setup: Setup, pairs: Iterable[tuple[str, str]]) -> None:
        cuts = tuple(sorted(pairs))
        self.network.cut(cuts)
        self._save(Setup(**{**asdict(setup), "cuts": cuts}))

    def status(self) -> list[NodeStatus]:
        """Every node: who it is, and how it does."""
        setup = self.setup()
        found = []
        for name in setup.directors:
            node = topology.director(name)
            addresses = tuple(a for leg in node.legs() for a in leg.addresses)
            found.append(NodeStatus(name, "director", self._director_state(name), addresses))
        for host in topology.hosts():
            addresses = tuple(a for leg in host.legs for a in leg.addresses)
            role = "real server" if host.real else "client"
            found.append(NodeStatus(host.name, role, "up", addresses))
        return found

    def _director_state(self, name: str) -> str:
        try:
            guest = self.guest(name)
        except GuestGoneError:
            return "off"
        try:
            done = guest.run(["pgrep", "-f", "saru --debug"], check=False, timeout=60)
        except LabError as error:
            return f"does not answer: {error}"
        finally:
            guest.close()
        return "daemon runs" if done.returncode == 0 else "no daemon"

    def down(self) -> None:
        """End everything that belongs to the lab and forget it. Twice is no error."""
        self.network.remove()
        shutil.rmtree(self.directory, ignore_errors=True)
