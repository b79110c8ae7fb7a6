# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions that one rule adds to a packet's way, in a guest whose clock counts them.

The figures repeat, whatever else the machine does. A rule is measured against a bare rule in
its place; what it switches on beside itself (connection tracking, defragmentation) is on for
both, and is told on its own. What a part of the match costs is the difference to a build of
the module without that part.
"""

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.lab import cache, director, kernels
from deploy.lab.cache import PROJECT
from deploy.lab.guest import Guest
from tests import packets as p

CLIENT, VIP = "192.168.20.9", "172.17.60.201"
MAC, PEER = bytes.fromhex("005056140340"), bytes.fromhex("0200000000ee")
RUNS, FRAMES = 60, 50
BARE = "-p tcp -j ACCEPT"
CLUSTER = "-m cluster --cluster-total-nodes 2 --cluster-local-node {} --cluster-hash-seed 1"
SETUP = """
from tests.vm.inside import family as s
with s.Family() as family:
    until = dict(deadline=s.now() + 3000 * s.SECOND, lease_max=3600 * s.SECOND)
    family.set(1, blocks=1024, **until)
    family.set(2, blocks=1024, bitmap=bytes(128), **until)
    family.set(3, blocks=8192, **until)
"""
DEVICE = f"""
set -e
modprobe tun
ip tuntap add bench0 mode tap
ip link set bench0 address {MAC.hex(":")} up
nft 'table ip sink {{ chain c {{ type filter hook prerouting priority -100; drop; }}; }}'
"""


@dataclass(frozen=True)
class Case:
    """A rule to measure. `beside` stays in place, at an interface that no packet comes from."""

    name: str
    rule: str
    beside: str = ""


SARU = "-m saru --id 1"
CASES = (
    Case("bare, does not match", "-p udp -j ACCEPT"),
    Case("-m comment", "-p tcp -m comment --comment x -j ACCEPT"),
    Case("-m mark, matches", "-p tcp -m mark --mark 0 -j ACCEPT"),
    Case("-m mark, does not match", "-p tcp -m mark --mark 1 -j ACCEPT"),
    Case("--sport", "-p tcp --sport 40000 -j ACCEPT"),
    Case("-m cluster, matches", f"-p tcp {CLUSTER.format(1)} -j ACCEPT", CLUSTER.format(1)),
    Case("-m cluster, does not match", f"-p tcp {CLUSTER.format(2)} -j ACCEPT", CLUSTER.format(1)),
    Case("-m saru, matches", f"-p tcp {SARU} -j ACCEPT", SARU),
    Case("-m saru, does not match", "-p tcp -m saru --id 2 -j ACCEPT", SARU),
    Case("-m saru, has no table", "-p tcp -m saru --id 9 -j ACCEPT", SARU),
    Case("-m saru, 8192 blocks", "-p tcp -m saru --id 3 -j ACCEPT", SARU),
    Case("-m saru without -p", f"{SARU} -j ACCEPT", SARU),
    Case("-m saru --map hash", f"-p tcp {SARU} --map hash -j ACCEPT", SARU),
    Case("-m saru, src-addr", f"-p tcp {SARU} --sense src-addr -j ACCEPT", SARU),
    Case(
        "-m saru, all four fields",
        f"-p tcp {SARU} --sense src-addr,dst-addr,src-port,dst-port -j ACCEPT",
        SARU,
    ),
)

# The match without one of its parts: file, text there (once or more), text instead.
WITHOUT = {
    "clock": ("table.h", "u64 now = ktime_get_boot_fast_ns();", "u64 now = 1;"),
    "counters": ("match.c", "this_cpu_inc(table->packets[block]);", ";"),
    "key": (
        "match.c",
        "block = saru_key_block_short(&table->division, skb, par->thoff);",
        "block = 0;",
    ),
    "hash": (
        "hash.h",
        "return saru_hash_fields(fields, sense, division->seed) >> division->shift;",
        "return 0;",
    ),
}


def tcp_syn() -> bytes:
    """A frame that connection tracking takes for a new connection."""
    head = struct.pack("!HHIIBBHHH", 40000, 80, 1, 0, 0x50, 2, 1000, 0, 0)
    ends = ip_address(CLIENT).packed + ip_address(VIP).packed
    pseudo = ends + struct.pack("!BBH", 0, p.TCP, len(head))
    head = head[:16] + struct.pack("!H", p.checksum(pseudo + head)) + head[18:]
    return MAC + PEER + b"\x08\x00" + p.ip(CLIENT, VIP, p.TCP, head)


def build_pump() -> Path:
    """The program that lets frames come in, linked so that it needs nothing in the guest."""
    source = Path(__file__).with_name("pump.c")
    built = cache.root() / "builds" / f"pump-{cache.content_key([source.parent])}"
    with cache.locked(built.name):
        if not built.is_dir():
            with cache.made_aside(built) as scratch:
                command = ["cc", "-O2", "-static", "-o", str(scratch / "pump"), str(source)]
                subprocess.run(command, check=True)
    return built / "pump"


def build_without(kernel: kernels.Kernel, part: str) -> Path:
    """The module without a part of the match."""
    name, text, instead = WITHOUT[part]
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "kmod"
        shutil.copytree(PROJECT / "kmod", copy)
        source = (copy / name).read_text()
        if text not in source:
            raise SystemExit(f"match: kmod/{name} has no line to leave out the {part}")
        (copy / name).write_text(source.replace(text, instead))
        return kernels.build_module(kernel, source=copy)


class Bench:
    """The guest, its device, and the rules there."""

    def __init__(self, guest: Guest, frame: bytes) -> None:
        self.guest = guest
        self.frame = frame
        self.pump = str(build_pump())
        guest.run(["sh", "-c", DEVICE])

    def load(self, module: Path) -> None:
        """Replace the module by another build."""
        self.install()
        self.guest.run(["rmmod", "xt_saru"])
        self.guest.run(["insmod", str(module)])
        self.set_tables()

    def set_tables(self) -> None:
        self.guest.run(["python3", "-c", SETUP], env={"PYTHONPATH": str(PROJECT)})

    def install(self, *rules: str) -> None:
        lines = "\n".join(f"-A PREROUTING {rule}" for rule in rules)
        text = f"*mangle\n:PREROUTING ACCEPT [0:0]\n{lines}\nCOMMIT\n"
        self.guest.run(["iptables-legacy-restore"], input=text.encode())

    def cost(self, *rules: str) -> float:
        """Instructions a packet with these rules in place, all else included."""
        self.install(*rules)
        words = [self.pump, "bench0", str(RUNS), str(FRAMES)]
        return float(self.guest.run(words, input=self.frame, timeout=600).stdout)

    def added(self, case: Case) -> float:
        """What the case's rule costs more than a bare rule in its place."""
        beside = (f"-i none0 -p tcp {case.beside}",) if case.beside else ()
        return self.cost(*beside, case.rule, BARE) - self.cost(*beside, BARE)

    def once(self, beside: str) -> float:
        """What a rule's kind costs each packet, wherever the rule is."""
        idle = "-i none0 -p tcp"
        return self.cost(f"{idle} {beside}", BARE) - self.cost(idle, BARE)


def measure(version: str) -> dict[str, dict[str, float]]:
    """All figures, in instructions a packet."""
    kernel = kernels.fetch(version)
    usual = Case("", f"-p tcp {SARU} -j ACCEPT", SARU)
    hashed = Case("", f"-p tcp {SARU} --map hash -j ACCEPT", SARU)
    with Guest.boot("bench", kernel=kernel, icount=True) as guest:
        director.prepare(guest)
        bench = Bench(guest, tcp_syn())
        bench.set_tables()
        rules = {case.name: bench.added(case) for case in CASES}
        once = {
            "connection tracking, for -m cluster": bench.once(CLUSTER.format(1)),
            "defragmentation, for -m saru by port": bench.once(SARU),
        }
        call = rules["-m comment"]
        whole = {"hash": rules["-m saru --map hash"]}
        parts = {"call": call}
        for part in WITHOUT:
            bench.load(build_without(kernel, part))
            case = hashed if part == "hash" else usual
            parts[part] = whole.get(part, rules["-m saru, matches"]) - bench.added(case)
    parts["the rest"] = rules["-m saru, matches"] - sum(
        parts[part] for part in ("call", "clock", "counters", "key")
    )
    return {"rules": rules, "once": once, "parts": parts}


def show(figures: Mapping[str, Mapping[str, float]], release: str) -> None:
    """The tables, for people."""
    console = Console()
    titles = {
        "rules": "added by one rule, over a bare rule in its place",
        "once": "beside that, once a packet, however many rules there are",
        "parts": "of which, for -m saru that matches (hash: with --map hash)",
    }
    for key, title in titles.items():
        table = Table(title=f"{title} ({release})", title_justify="left", box=None)
        table.add_column("")
        table.add_column("instructions", justify="right")
        for name, value in figures[key].items():
            table.add_row(name, f"{value:.0f}")
        console.print(table)
    clock, call = figures["parts"]["clock"], figures["parts"]["call"]
    console.print(
        f"The floor is {clock + call:.0f}: the call of any match, and a clock that the time "
        "cannot outrun. A rule that does not match pays no clock."
    )


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="match", description=__doc__)
    parser.add_argument("--kernel", choices=kernels.VERSIONS, default="6.1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args(words)
    figures = measure(chosen.kernel)
    release = kernels.fetch(chosen.kernel).release
    show(figures, release)
    if chosen.json:
        text = json.dumps({"kernel": release, "unit": "instructions a packet", **figures}, indent=2)
        chosen.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
