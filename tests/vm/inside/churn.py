# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules come and go while tables are replaced and packets flow: `churn SECONDS`.

Prints how often each was done.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from tests.vm.inside import family as saru

SIZES = (2, 64, 1024, 4096, 8192, 65536)
SENSES = ("src-port", "src-addr", "src-addr,src-port", "dst-port --map hash")


def rules(tool: str) -> Callable[[], None]:
    def turn() -> None:
        sense = random.choice(SENSES)
        rule = f"OUTPUT -p udp -m saru --id 1 --sense {sense} -j ACCEPT".split()
        subprocess.run([f"iptables-{tool}", "-I", *rule], check=True)
        subprocess.run([f"iptables-{tool}", "-D", *rule], check=True)

    return turn


def tables() -> Callable[[], None]:
    family = saru.Family()
    serial = 0

    def turn() -> None:
        nonlocal serial
        serial += 1
        with contextlib.suppress(saru.RefusedError):
            if serial % 50 == 0:
                family.delete()
            blocks = random.choice(SIZES)
            bitmap = bytearray(random.randbytes(max(1, blocks // 8)))
            if blocks < 8:
                bitmap[0] &= (1 << blocks) - 1
            lease = random.choice((-1, 1_000_000, saru.SECOND))
            family.set(blocks=blocks, serial=serial, bitmap=bytes(bitmap), seed=serial,
                       deadline=saru.now() + lease)  # fmt: skip
            family.renew(1, 1, serial, saru.now() + saru.SECOND)

    return turn


def readers() -> Callable[[], None]:
    listener = saru.Family()
    listener.join()
    listener.socket.setblocking(False)

    def turn() -> None:
        with saru.Family() as family, contextlib.suppress(saru.RefusedError):
            family.dump()
            family.get()
        with contextlib.suppress(OSError):
            while True:
                listener.socket.recv(saru.RECEIVE)

    return turn


def packets() -> Callable[[], None]:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("127.0.0.1", 0))

    def turn() -> None:
        with contextlib.suppress(OSError):
            sender.sendto(b"", ("127.0.0.1", 9))

    return turn


def start(make: Callable[[], Callable[[], None]], until: float) -> tuple[int, int]:
    """A child that takes turns until then; its process id, and where it writes their number."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    signal.alarm(int(until - time.monotonic()) + 120)
    turns = 0
    turn = make()
    while time.monotonic() < until:
        turn()
        turns += 1
    os.write(writing, str(turns).encode())
    os._exit(0)


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    until = time.monotonic() + float(sys.argv[1])
    makers = {
        "legacy": lambda: rules("legacy"),
        "nft": lambda: rules("nft"),
        "tables": tables,
        "readers": readers,
        "packets": packets,
    }
    started = {name: start(make, until) for name, make in makers.items()}
    done = {}
    for name, (child, reading) in started.items():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, name
        done[name] = int(os.read(reading, 100))
    json.dump(done, sys.stdout)


main()
