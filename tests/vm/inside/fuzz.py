# SPDX-License-Identifier: GPL-2.0-or-later
"""Sends random messages to the family: `fuzz COUNT SEED`. Prints how many were answered how."""

import contextlib
import json
import os
import random
import struct
import subprocess
import sys
from collections import Counter

from tests.vm.inside import family as saru

BATCH = 100
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 128, 8192, 8193)


def garbled_attribute(random_: random.Random) -> bytes:
    """An attribute whose kind, length or value may be nonsense."""
    data = random_.randbytes(random_.choice(LENGTHS))
    length = 4 + len(data)
    if random_.random() < 0.05:
        length = random_.randrange(65536)
    kind = random_.randrange(20) | random_.choice((0, 0, 0, 0x4000, 0x8000))
    return struct.pack("=HH", length, kind) + data + bytes(-len(data) % 4)


def attributes(random_: random.Random) -> bytes:
    """A SET's attributes with something changed, left out, doubled or added; or mere bytes."""
    choice = random_.random()
    if choice < 0.2:
        return random_.randbytes(random_.randrange(64))
    if choice < 0.5:
        return b"".join(garbled_attribute(random_) for _ in range(random_.randrange(6)))
    blocks = 1 << random_.randint(0, 17)
    changed = {
        "blocks": blocks,
        "term": random_.randrange(3),
        "serial": random_.randrange(50),
        "deadline": saru.now() + random_.randrange(-saru.SECOND, 2 * saru.SECOND),
        "lease_max": random_.choice((1, saru.SECOND, 2**64 - 1)),
        "bitmap": random_.randbytes(max(1, blocks // 8)) if blocks > 4 else b"\1",
    }
    data = bytearray(saru.set_attributes(random_.randint(1, 5), **changed))  # type: ignore[arg-type]
    if choice < 0.75:
        for _ in range(random_.randint(1, 4)):
            data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data)


def message(random_: random.Random, family: saru.Family, sequence: int) -> bytes:
    if random_.random() < 0.3:
        body_attributes = saru.attribute(saru.A_ID, random_.randint(1, 5))
    else:
        body_attributes = attributes(random_)
    body = struct.pack("=BBH", random_.randrange(7), random_.randrange(3), 0) + body_attributes
    flags = saru.NLM_F_REQUEST | random_.choice((0, saru.NLM_F_ACK, saru.NLM_F_DUMP))
    head = struct.pack("=IHHII", 16 + len(body), family.number, flags, sequence, 0)
    return head + body + bytes(-len(body) % 4)


def drain(family: saru.Family, answers: Counter[str]) -> None:
    while True:
        try:
            data = family.socket.recv(saru.RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            answers["overrun"] += 1
            continue
        while len(data) >= 20:
            length, kind = struct.unpack_from("=IH", data)
            number = -struct.unpack_from("=i", data, 16)[0] if kind == saru.NLMSG_ERROR else 0
            answers[os.strerror(number) if kind == saru.NLMSG_ERROR else "data"] += 1
            data = data[length + 3 & ~3 :]


def main() -> None:
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    random_ = random.Random(seed)
    answers: Counter[str] = Counter()
    for number in (1, 2):
        rule = ["iptables-legacy", "-A", "OUTPUT", "-m", "saru", "--id", str(number)]
        subprocess.run(rule, check=True)
    sent = 0
    while sent < count:
        with saru.Family() as family:
            family.socket.setblocking(False)
            for _ in range(BATCH):
                family.socket.send(message(random_, family, sent))
                sent += 1
            drain(family, answers)
    with saru.Family() as family:
        with contextlib.suppress(saru.RefusedError):
            family.delete(9)  # a random message may have made it, of a version that is newer
        family.set(9)
        family.get(9)
        family.dump()
    json.dump({"sent": sent, **answers}, sys.stdout)


main()
