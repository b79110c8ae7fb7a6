# SPDX-License-Identifier: GPL-2.0-or-later
"""Malformed and unauthorised messages, each refused with an errno and a text."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from tests.vm.inside import family as saru
from tests.vm.inside.cases import refused, run

Wrong = tuple[int, bytes, int, str]
"""A command, its attributes, and the errno and the words that it shall get."""

NOBODY = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"]
IDS = saru.attribute(saru.A_ID, 1)


def without(*names: str) -> bytes:
    return saru.set_attributes(**dict.fromkeys(names))


def missing() -> Iterator[Wrong]:
    told = {
        "id": "the id is missing",
        "blocks": "the number of blocks is missing",
        "seed": "the seed is missing",
        "term": "the version's term is missing",
        "serial": "the version's serial is missing",
        "deadline": "the deadline is missing",
        "lease_max": "the longest lease is missing",
        "bitmap": "the bitmap is missing",
    }
    for name, text in told.items():
        yield saru.SET, without(name), errno.EINVAL, text
    for command in (saru.SET, saru.RENEW, saru.GET, saru.DEL):
        yield command, b"", errno.EINVAL, "the id is missing"
    yield saru.RENEW, IDS, errno.EINVAL, "the version's term is missing"


def out_of_range() -> Iterator[Wrong]:
    for command in (saru.GET, saru.DEL, saru.SET, saru.RENEW):
        yield command, saru.attribute(saru.A_ID, 0), errno.ERANGE, "from 1 to 65535"
    for blocks in (0, 1, 3, 1000, 65535, 131072, 2**31):
        wrong = saru.set_attributes(blocks=blocks, bitmap=b"\1")
        yield saru.SET, wrong, errno.ERANGE, "power of two from 2 to 65536"
    yield saru.SET, saru.set_attributes(lease_max=0), errno.ERANGE, "longest lease"


def bitmaps() -> Iterator[Wrong]:
    for blocks, length in ((8, 2), (16, 1), (1024, 127), (1024, 129), (65536, 8191), (2, 2)):
        wrong = saru.set_attributes(blocks=blocks, bitmap=b"\1" + bytes(length - 1))
        yield saru.SET, wrong, errno.EINVAL, "one bit a block"
    for blocks, bits in ((2, 4), (4, 0x10), (4, 0xFF)):
        wrong = saru.set_attributes(blocks=blocks, bitmap=bytes([bits]))
        yield saru.SET, wrong, errno.EINVAL, "beyond the last block"
    for length in (0, 8193, 60000):
        yield saru.SET, saru.set_attributes(bitmap=bytes(length)), errno.ERANGE, "out of range"


def malformed() -> Iterator[Wrong]:
    for kind in (saru.A_HELD, saru.A_ACCEPTED, saru.A_USERS, saru.A_PACKETS, saru.A_EVENT, 99):
        extra = saru.set_attributes() + saru.attribute(kind, bytes(8))
        yield saru.SET, extra, errno.EINVAL, ""
    yield saru.GET, IDS + saru.attribute(saru.A_BLOCKS, 8), errno.EINVAL, ""
    for kind, length in ((saru.A_ID, 1), (saru.A_ID, 4), (saru.A_TERM, 4), (saru.A_SEED, 8)):
        wrong = saru.set_attributes() + saru.attribute(kind, bytes(length))
        yield saru.SET, wrong, errno.EINVAL, "invalid attribute length"
    yield saru.GET, IDS + b"\1\2\3\4\5", errno.EINVAL, ""
    yield saru.GET, b"\xff\x00\x02\x00\x01\x00\x00\x00", errno.EINVAL, ""


def all_are_refused(family: saru.Family) -> None:
    kinds = (missing, out_of_range, bitmaps, malformed)
    wrong = []
    for command, attributes, number, words in (case for kind in kinds for case in kind()):
        try:
            family.ask(command, attributes)
            wrong.append(f"{command} {attributes.hex()[:80]}: not refused")
        except saru.RefusedError as error:
            if error.number != number or not error.text or words not in error.text:
                wrong.append(f"{command} {attributes.hex()[:80]}: {error!r} {error.number}")
    assert not wrong, "\n".join(wrong)
    assert family.dump() == []


def dumps_take_no_id(family: saru.Family) -> None:
    refused(
        errno.EINVAL,
        "all ids",
        lambda: family.ask(saru.GET, IDS, saru.NLM_F_DUMP),
    )


def unknown_commands(family: saru.Family) -> None:
    for command in (0, saru.EVENT, 99, 255):
        refused(errno.EOPNOTSUPP, "", partial(family.ask, command, IDS))


def without_the_capability(family: saru.Family) -> None:
    family.set()
    subprocess.run(
        [*NOBODY, sys.executable, "-m", "tests.vm.inside.refusals", "nobody"], check=True
    )
    family.get()


def nobody() -> None:
    """Run without CAP_NET_ADMIN."""
    with saru.Family() as family:
        for command, attributes in (
            (saru.SET, saru.set_attributes(serial=2)),
            (saru.GET, IDS),
            (saru.DEL, IDS),
            (saru.RENEW, IDS),
        ):
            refused(errno.EPERM, "CAP_NET_ADMIN", partial(family.ask, command, attributes))
        refused(errno.EPERM, "CAP_NET_ADMIN", family.dump)
        try:
            family.join()
        except PermissionError:
            return
        raise AssertionError("joined the events")


if __name__ == "__main__":
    if sys.argv[1:] == ["nobody"]:
        nobody()
    else:
        run((all_are_refused, dumps_take_no_id, unknown_commands, without_the_capability))
