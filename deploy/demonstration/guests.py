# SPDX-License-Identifier: GPL-2.0-or-later
"""The stage whose directors are guests: kernels of their own, the module, IPVS, real servers."""

from __future__ import annotations

import json
from dataclasses import replace

from deploy.demonstration.stage import LAST_LINES, Pace, Say, Tap, by_zookeeper
from deploy.lab import configuration, kernels, topology
from deploy.lab.cache import LabError
from deploy.lab.guest import last_words
from deploy.lab.laboratory import LOG, OUTPUT, Laboratory, Setup

LAB = "saru-demo"
DAEMON = "-m saru --debug"
ASK_STATUS = """
import socket
daemon = socket.socket(socket.AF_UNIX)
daemon.connect("/run/saru/saru.sock")
daemon.sendall(b'{"ask": "status"}\\n')
while answer := daemon.recv(65536).decode():
    print(end=answer)
"""
"""What `saru status --json` does, without the libraries: an emulated guest has better things to do
than to read them while it is probed."""

TELL_ALL = f"""
saru status 2>&1
tail -n {LAST_LINES} {LOG} {OUTPUT}
for task in /proc/$(pgrep -o -f -- "{DAEMON}")/task/*; do
    echo "its thread $(cat $task/comm) waits in $(cat $task/wchan)"
done
dmesg | tail -n {LAST_LINES}
uptime
"""


class Guests:
    """Directors in QEMU. Every director forwards to the real servers from a MAC of its own."""

    pace = Pace(
        rate=500,  # three emulated guests on two cores see every one of them three times
        deadtime=configuration.GUESTS.deadtime / 1000,
        grace=1.5,
        drain=0.5,
        look=0.25,
        patience=120.0,
        connections=15.0,
    )
    introduction = ""
    keepsake = f"deploy/lab/lab --lab {LAB} status"
    seen = "the wire to the real servers"
    tap = Tap(bridge=topology.SERVER_SEGMENT)

    def __init__(self, directors: int, kernel: str, link_mode: str, membership: str) -> None:
        self.lab = LAB
        if membership == "zookeeper":
            self.pace = by_zookeeper(self.pace)
        if link_mode == "hub":  # it never settles
            self.pace = replace(self.pace, patience=45.0)
        self.directors = topology.DIRECTORS[:directors]
        self.names = {topology.director(name).mac(1): name for name in self.directors}
        self._setup = Setup(self.directors, kernel, membership, link_mode)
        self._laboratory = Laboratory(LAB)
        self.client = self._laboratory.network.namespace(topology.CLIENT)
        self.wires = self._laboratory.name

    def prepare(self, say: Say) -> str:
        """Fetch and build what the cache lacks; the kernel's release."""
        kernel = self._setup.kernel
        say(f"kernel {kernel}: fetched if it is not in the cache yet")
        fetched = kernels.fetch(kernel)
        say(f"kernel {fetched.release}: the module and the iptables extension, built if changed")
        kernels.build_module(fetched)
        kernels.build_extension()
        return fetched.release

    def up(self, say: Say) -> str:
        """Bring the lab up."""
        if self._laboratory.directory.exists():
            say("a lab is left of an earlier demonstration: takes it down")
            self._laboratory.down()
        self._laboratory.up(self._setup, say)
        return "module"

    def power_cut(self, name: str) -> None:
        """End its QEMU."""
        self._laboratory.kill(name)

    def boot(self, name: str, say: Say) -> None:
        """Boot it."""
        self._laboratory.boot(name, say)

    def freeze(self, name: str) -> None:
        """SIGSTOP for its daemon."""
        self._signal(name, "STOP")

    def thaw(self, name: str) -> None:
        """SIGCONT for its daemon."""
        self._signal(name, "CONT")

    def isolate(self, name: str) -> None:
        """Cut it off from the others."""
        others = [other for other in self.directors if other != name]
        self._laboratory.cut([[name], [*others, *self._setup.zookeepers]])

    def heal(self) -> None:
        """Let all frames pass again."""
        self._laboratory.heal()

    def master(self, asked: str) -> str:
        """Who is master, as the daemon of `asked` says."""
        said = json.loads(self._run(asked, ["python3", "-I", "-S", "-c", ASK_STATUS]))
        if not said["answer"]["master"]:
            raise LabError(f"{asked} hears no master: {'; '.join(said['answer']['problems'])}")
        return str(said["answer"]["master"])

    def says(self, name: str) -> str:
        """What its daemon says of itself; of a guest that does not answer, what it said last."""
        try:
            return self._run(name, ["sh", "-c", TELL_ALL])
        except LabError as error:
            return f"{error}\n{last_words(self._laboratory.directory / name)}"

    def _signal(self, name: str, signal: str) -> None:
        self._run(name, ["pkill", f"-{signal}", "-f", "--", DAEMON])

    def _run(self, name: str, words: list[str]) -> str:
        guest = self._laboratory.guest(name)
        try:
            return guest.run(words).stdout
        finally:
            guest.close()
