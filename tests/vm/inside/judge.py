# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows packets to a rule and reports what became of each.

Reads one JSON object: `tool` ("legacy" or "nft") and `rows`. A row has `packets` (hex), the
`rule` that they meet, the `table` (blocks, seed, bitmap in hex; null for none), `expired`
(whether the table's deadline has passed), `linear` (how many bytes of a packet lie in the
skb's linear part, or null for all), `untracked` (whether defragmentation is kept off) and
`multicast` (whether the frames go to a multicast MAC). Prints one JSON list: per row how many
packets `matched` and were `unmatched`, how many of them were `host` (marked as addressed to
this host), and how the id's counters grew.

Running iptables for every row would take most of the time. So packets are counted by further
ids, which have no table and reject them all; before a rule makes place for the next one, the
sums must be those of iptables' own counters.
"""

import contextlib
import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from tests.vm.inside import family as saru

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x2, 0x1000, 0x4000
INTERFACE = "probe0"
MAC, MULTICAST_MAC = bytes.fromhex("005056140340"), bytes.fromhex("01005e000001")
PEER_MAC = bytes.fromhex("0200000000ee")
LIMIT = 20.0
MATCHED, UNMATCHED, HOST = 2, 3, 4
"""The ids that count."""
COUNTERS = {
    "accepted": saru.A_ACCEPTED,
    "rejected": saru.A_REJECTED,
    "expired": saru.A_EXPIRED,
    "no_key": saru.A_NO_KEY,
}
Row = dict[str, Any]


class Tap:
    """An interface of this guest, and the wire that it hangs on."""

    def __init__(self) -> None:
        subprocess.run(["modprobe", "tun"], check=True)
        self.file = os.open("/dev/net/tun", os.O_RDWR)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(self.file, TUNSETIFF, struct.pack("16sH22x", INTERFACE.encode(), flags))
        subprocess.run(["ip", "link", "set", INTERFACE, "address", MAC.hex(":"), "up"], check=True)

    def send(self, packet: bytes, linear: int | None, multicast: bool) -> None:
        """Let a frame come in; `linear` bytes of its packet in the skb's linear part."""
        kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
        frame = (MULTICAST_MAC if multicast else MAC) + PEER_MAC + struct.pack("!H", kind) + packet
        header = 14 + (len(packet) if linear is None else linear)
        os.write(self.file, struct.pack("=BBHHHH", 0, 0, header, 0, 0, 0) + frame)


def program(row: Row, tool: str) -> str:
    family = "ip6tables" if row["packets"][0].startswith("6") else "iptables"
    return f"{family}-{tool}"


def install(row: Row, tool: str) -> None:
    """The row's rule, and counts of what it takes and of what it leaves."""
    count = "-m saru --sense src-addr --id"
    text = "\n".join(
        (
            "*raw",
            ":PREROUTING ACCEPT [0:0]",
            ":TAKEN - [0:0]",
            f"-A PREROUTING ! -i {INTERFACE} -j ACCEPT",
            f"-A PREROUTING {row['rule']} -j TAKEN",
            f"-A PREROUTING -m pkttype --pkt-type host {count} {HOST} -j DROP",
            f"-A PREROUTING {count} {UNMATCHED} -j DROP",
            "-A PREROUTING -j DROP",
            f"-A TAKEN -m pkttype --pkt-type host {count} {HOST} -j DROP",
            f"-A TAKEN {count} {MATCHED} -j DROP",
            "-A TAKEN -j DROP",
            "COMMIT\n",
        )
    )
    subprocess.run([program(row, tool) + "-restore"], input=text, text=True, check=True)


def check_sums(row: Row, tool: str, sums: Counter[str]) -> None:
    """What iptables itself counted for the rule that is installed."""
    text = subprocess.run(
        [program(row, tool) + "-save", "-c", "-t", "raw"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.findall(r"^\[(\d+):\d+\] -A (PREROUTING|TAKEN) (.*)$", text, re.MULTILINE)
    taken = next(int(count) for count, _, rule in found if rule.endswith("-j TAKEN"))
    rest = {chain: int(count) for count, chain, rule in found if rule == "-j DROP"}
    wanted = {"TAKEN": sums["matched"], "PREROUTING": sums["unmatched"]}
    assert rest == wanted, f"{row['rule']}: {rest}, not {wanted}"
    assert taken == sums["matched"], f"{row['rule']}: {taken}, not {sums['matched']}"


def keep_untracked(on: bool) -> None:
    """Whether packets pass by defragmentation."""
    subprocess.run(["nft", "delete", "table", "inet", "early"], capture_output=True, check=False)
    if on:
        chain = "chain c { type filter hook prerouting priority -450; notrack; };"
        subprocess.run(["nft", f"table inet early {{ {chain} }}"], check=True)


def prepare(table: Row | None, expired: bool, family: saru.Family) -> None:
    with contextlib.suppress(saru.RefusedError):
        family.delete()
    if table:
        family.set(
            blocks=table["blocks"],
            seed=table["seed"],
            bitmap=bytes.fromhex(table["bitmap"]),
            deadline=saru.now() + (0 if expired else saru.SECOND * 30),
        )


def counters(family: saru.Family) -> dict[str, int]:
    found = {message.number(saru.A_ID): message for message in family.dump()}
    counts = {name: found[1].number(kind) for name, kind in COUNTERS.items()}
    for name, number in (("matched", MATCHED), ("unmatched", UNMATCHED), ("host", HOST)):
        counts[name] = found[number].number(saru.A_REJECTED)
    return counts


def judge(row: Row, tap: Tap, family: saru.Family) -> dict[str, int]:
    """Show the row's packets, and wait until the match has seen one to the end."""
    prepare(row["table"], row["expired"], family)
    before = counters(family)
    for packet in row["packets"]:
        tap.send(bytes.fromhex(packet), row["linear"], row["multicast"])
    until = time.monotonic() + LIMIT
    while True:
        after = counters(family)
        grown = {name: after[name] - before[name] for name in after}
        if any(grown.values()) or time.monotonic() > until:
            return grown


def main() -> None:
    job = json.load(sys.stdin)
    tool = job["tool"]
    # On the CPU that sends a packet all is counted before this program goes on.
    os.sched_setaffinity(0, {0})
    tap = Tap()
    results = []
    installed: Row = {}
    untracked = False
    sums: Counter[str] = Counter()
    with saru.Family() as family:
        for row in job["rows"]:
            rule = {"program": program(row, tool), "rule": row["rule"]}
            if rule != {key: installed.get(key) for key in rule}:
                if installed:
                    check_sums(installed, tool, sums)
                install(row, tool)
                installed, sums = {**row, **rule}, Counter()
            if row["untracked"] != untracked:
                untracked = row["untracked"]
                keep_untracked(untracked)
            results.append(judge(row, tap, family))
            sums.update(results[-1])
        check_sums(installed, tool, sums)
    json.dump(results, sys.stdout)


main()
