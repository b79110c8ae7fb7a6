# SPDX-License-Identifier: GPL-2.0-or-later
"""Small test cases that run one after the other inside a guest and report by name."""

import errno
import json
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable

from tests.vm.inside import family as saru

Case = Callable[[saru.Family], None]
PORT = 40000


def run(cases: Iterable[Case]) -> None:
    """Run each with a socket of its own and print a JSON object: what went wrong, by name."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    found = {}
    for case in cases:
        with saru.Family() as family:
            try:
                case(family)
                found[case.__name__] = ""
            except Exception:  # noqa: BLE001 - whatever it is, it is reported by name
                found[case.__name__] = traceback.format_exc()
            forget(family)
    json.dump(found, sys.stdout)


def forget(family: saru.Family) -> None:
    """No rules and no tables, for the next case."""
    iptables("-F OUTPUT")
    for message in family.dump():
        if saru.A_BLOCKS in message:
            family.delete(message.number(saru.A_ID))


def iptables(words: str) -> None:
    subprocess.run(["iptables-legacy", *words.split()], check=True)


def refused(number: int, text: str, command: Callable[[], object]) -> None:
    """The command must be refused with this errno and a text that holds these words."""
    try:
        command()
    except saru.RefusedError as refusal:
        if (refusal.number, text in refusal.text) != (number, True):
            raise
        return
    raise AssertionError(f"not refused: {errno.errorcode[number]} {text}")


def send(packets: int = 1, port: int = PORT) -> None:
    """UDP packets from a port, through this host's OUTPUT."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", port))
        for _ in range(packets):
            sender.sendto(b"", ("127.0.0.1", 9))
