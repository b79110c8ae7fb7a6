# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands do: versions, deadlines, counters, events, namespaces."""

import contextlib
import errno
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

from tests.vm.inside import family as saru
from tests.vm.inside.cases import PORT, iptables, refused, run, send

RULE = "-A OUTPUT -p udp -m saru --id 1 --sense src-port"
LIMIT = 30.0


def comes_back_as_set(family: saru.Family) -> None:
    for blocks in (2, 4, 8, 64, 1024, 4096, 8192, 65536):
        length = max(1, blocks // 8)
        bitmap = (0x6996_0FF0_5AA5_1234_5678_9ABC << 3).to_bytes(16, "little")
        bitmap = (bitmap * (length // 16 + 1))[:length]
        if blocks < 8:
            bitmap = bytes([bitmap[0] & (1 << blocks) - 1])
        deadline = saru.now() + 5 * saru.SECOND
        sent = {"blocks": blocks, "seed": 0xFFFF0001, "term": 2**64 - 1, "serial": blocks,
                "deadline": deadline, "lease_max": 2**64 - 1, "bitmap": bitmap}  # fmt: skip
        family.set(7, **sent)
        got = family.get(7)
        assert got.raw(saru.A_BITMAP) == bitmap
        assert got.number(saru.A_HELD) == int.from_bytes(bitmap, "little").bit_count()
        kinds = {"blocks": saru.A_BLOCKS, "seed": saru.A_SEED, "term": saru.A_TERM,
                 "serial": saru.A_SERIAL, "deadline": saru.A_DEADLINE,
                 "lease_max": saru.A_LEASE_MAX}  # fmt: skip
        for name, kind in kinds.items():
            assert got.number(kind) == sent[name], name
        assert got.number(saru.A_ID) == 7
        assert got.number(saru.A_USERS) == 0
        assert got.packets() == ([0] * blocks if blocks <= 4096 else [])


def older_versions_are_refused(family: saru.Family) -> None:
    family.set(term=5, serial=5)
    family.set(term=5, serial=6)
    family.set(term=6, serial=0)
    for term, serial in ((5, 7), (0, 2**64 - 1)):
        refused(errno.ESTALE, "older", partial(family.set, term=term, serial=serial))
    assert family.get().number(saru.A_TERM) == 6


def same_version_may_hold_less(family: saru.Family) -> None:
    family.set(bitmap=b"\x0f")
    family.set(bitmap=b"\x0f")
    family.set(bitmap=b"\x03")
    refused(errno.EEXIST, "came before", lambda: family.set(bitmap=b"\x07"))
    refused(errno.EEXIST, "came before", lambda: family.set(bitmap=b"\x03", seed=1))
    refused(errno.EEXIST, "came before", lambda: family.set(bitmap=b"\x03", blocks=4))
    family.set(bitmap=b"\x00")
    family.set(serial=2, bitmap=b"\xff")


def expired_tables_stay_so(family: saru.Family) -> None:
    family.set(deadline=saru.now())
    later = saru.now() + 20 * saru.SECOND
    refused(errno.ESTALE, "passed", lambda: family.renew(1, 1, 1, later))
    refused(errno.ESTALE, "passed", lambda: family.set(deadline=later))
    refused(errno.ESTALE, "passed", lambda: family.set(deadline=later, bitmap=b"\0"))
    family.set(serial=2)
    family.renew(1, 1, 2, later)
    family.renew(1, 1, 2, saru.now())
    refused(errno.ESTALE, "passed", lambda: family.renew(1, 1, 2, later))
    family.delete()
    family.set()


def deadlines_have_a_limit(family: saru.Family) -> None:
    def far() -> int:
        return saru.now() + 120 * saru.SECOND

    refused(errno.ERANGE, "longest lease", lambda: family.set(lease_max=1, deadline=far()))
    refused(errno.ENOENT, "neither", lambda: family.get())
    family.set(lease_max=60 * saru.SECOND, deadline=saru.now() + 30 * saru.SECOND)
    refused(errno.ERANGE, "longest lease", lambda: family.renew(1, 1, 1, far()))
    refused(errno.ERANGE, "longest lease", lambda: family.renew(1, 1, 1, 2**64 - 1))
    family.set(serial=2, lease_max=2**64 - 1, deadline=2**64 - 1)


def renewals_name_the_version(family: saru.Family) -> None:
    family.set(term=3, serial=4)
    later = saru.now() + 20 * saru.SECOND
    for term, serial in ((3, 3), (3, 5), (2, 4), (4, 4)):
        refused(
            errno.ESTALE,
            "another version",
            partial(family.renew, 1, term, serial, later),
        )
    family.renew(1, 3, 4, later)
    assert family.get().number(saru.A_DEADLINE) == later


def unknown_ids(family: saru.Family) -> None:
    refused(errno.ENOENT, "neither a table nor a rule", lambda: family.get(9))
    refused(errno.ENOENT, "no table", lambda: family.renew(9, 1, 1, saru.now()))
    refused(errno.ENOENT, "no table", lambda: family.delete(9))
    iptables("-A OUTPUT -m saru --id 9 --sense dst-addr")
    refused(errno.ENOENT, "no table", lambda: family.renew(9, 1, 1, saru.now()))
    refused(errno.ENOENT, "no table", lambda: family.delete(9))


def rules_are_counted(family: saru.Family) -> None:
    iptables(RULE)
    got = family.get()
    assert got.number(saru.A_USERS) == 1
    assert saru.A_BLOCKS not in got
    iptables(RULE.replace("OUTPUT", "INPUT"))
    family.set()
    assert family.get().number(saru.A_USERS) == 2
    iptables("-F INPUT")
    iptables("-F OUTPUT")
    assert family.get().number(saru.A_USERS) == 0
    iptables(RULE)
    family.delete()
    assert family.get().number(saru.A_USERS) == 1


def counters_outlive_tables(family: saru.Family) -> None:
    iptables(RULE)
    send(3)
    family.set(blocks=4096, bitmap=b"\xff" * 512)
    send(5)
    block = PORT >> 4
    assert family.get().packets()[block] == 5
    assert sum(family.get().packets()) == 5
    family.set(blocks=4096, bitmap=bytes(512), serial=2)
    send(7)
    family.delete()
    family.set(blocks=4096, deadline=saru.now())
    send(11)
    got = family.get()
    assert (got.number(saru.A_ACCEPTED), got.number(saru.A_REJECTED)) == (5, 10)
    assert (got.number(saru.A_EXPIRED), got.number(saru.A_NO_KEY)) == (11, 0)
    assert got.packets()[block] == 5 + 11
    family.set(blocks=8192, serial=2)
    send(13)
    got = family.get()
    assert got.packets() == []
    assert (got.number(saru.A_ACCEPTED), got.number(saru.A_EXPIRED)) == (18, 11)
    family.set(blocks=4096, serial=3)
    assert family.get().packets() == [0] * 4096
    assert family.get().number(saru.A_ACCEPTED) == 18
    iptables("-F OUTPUT")
    assert family.get().number(saru.A_ACCEPTED) == 18


def dumps_are_whole(family: saru.Family) -> None:
    sizes = {100: 4096, 200: 65536, 300: 2, **dict.fromkeys(range(1000, 1040), 1024), 65535: 4096}
    for number, blocks in sizes.items():
        family.set(number, blocks=blocks, seed=number)
    iptables("-A OUTPUT -m saru --id 50 --sense src-addr")
    with saru.Family() as fresh:
        got = {message.number(saru.A_ID): message for message in fresh.dump()}
    assert list(got) == [50, *sizes]
    assert saru.A_SEED not in got.pop(50)
    for number, message in got.items():
        assert message.number(saru.A_SEED) == number
        assert len(message.raw(saru.A_BITMAP)) == max(1, sizes[number] // 8)
        assert len(message.packets()) == (sizes[number] if sizes[number] <= 4096 else 0)


def events_are_told(family: saru.Family) -> None:
    with saru.Family() as listener:
        listener.join()

        def expect(event: int, number: int, users: int) -> saru.Message:
            message = listener.event(LIMIT)
            assert message.number(saru.A_EVENT) == event
            assert message.number(saru.A_ID) == number
            assert message.number(saru.A_USERS) == users
            return message

        family.set(3, term=8, serial=9, bitmap=b"\x03")
        told = expect(saru.EVENT_SET, 3, 0)
        assert (told.number(saru.A_TERM), told.number(saru.A_SERIAL)) == (8, 9)
        assert told.number(saru.A_HELD) == 2
        iptables("-A OUTPUT -m saru --id 3 --sense src-addr")
        family.delete(3)
        assert saru.A_TERM not in expect(saru.EVENT_DELETED, 3, 1)
        iptables("-F OUTPUT")
        expect(saru.EVENT_UNUSED, 3, 0)
        soon = saru.now() + saru.SECOND // 5
        family.set(4, deadline=soon)
        expect(saru.EVENT_SET, 4, 0)
        with contextlib.suppress(saru.RefusedError):
            family.renew(4, 1, 1, soon + saru.SECOND // 5)
        told = expect(saru.EVENT_EXPIRED, 4, 0)
        assert told.number(saru.A_DEADLINE) <= saru.now()
        family.set(4, serial=2, deadline=saru.now())
        expect(saru.EVENT_SET, 4, 0)
        expect(saru.EVENT_EXPIRED, 4, 0)
        family.set(4, serial=3)
        expect(saru.EVENT_SET, 4, 0)


def replacing_rules_is_no_event(_: saru.Family) -> None:
    """iptables-legacy replaces whole tables: the new rules are there before the old go."""
    iptables(RULE)
    with saru.Family() as listener:
        listener.join()
        iptables("-A OUTPUT -p tcp")
        iptables("-F OUTPUT")
        assert listener.event(LIMIT).number(saru.A_EVENT) == saru.EVENT_UNUSED


def namespaces_are_apart(family: saru.Family) -> None:
    family.set(1, serial=77)
    code = (
        "from tests.vm.inside import family as s\nf = s.Family()\nassert f.dump() == []\nf.set(2)"
    )
    subprocess.run(["unshare", "--net", sys.executable, "-c", code], check=True)
    assert [message.number(saru.A_ID) for message in family.dump()] == [1]


def namespaces_end_with_rules_in_them(_family: saru.Family) -> None:
    """Rules that nobody removed, in legacy and nft tables, with and without a table set."""
    before = references()
    code = "from tests.vm.inside import family as s\ns.Family().set(1, deadline=s.now() + 10**8)"
    commands = " && ".join(
        [
            "iptables-legacy -A INPUT -p tcp -m saru --id 1 -j ACCEPT",
            "ip6tables-legacy -A INPUT -p tcp -m saru --id 2 -j ACCEPT",
            "iptables-nft -t mangle -A INPUT -m saru --id 1 --sense src-addr -j ACCEPT",
            "ip6tables-nft -A FORWARD -m saru --id 3 -j ACCEPT",
            f"{sys.executable} -c '{code}'",
        ]
    )
    for _ in range(3):
        subprocess.run(["unshare", "--net", "sh", "-c", commands], check=True)
    for _ in attempts():
        if references() <= before:  # an earlier one's namespace may have been about to end
            return
    raise AssertionError(f"{references()} references are left, not {before}")


def attempts() -> Iterator[None]:
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        yield
        time.sleep(0.05)


def references() -> int:
    return int(saru.module_parameter("refcnt"))


if __name__ == "__main__":
    run(
        (
            *(comes_back_as_set, older_versions_are_refused, same_version_may_hold_less),
            *(expired_tables_stay_so, deadlines_have_a_limit, renewals_name_the_version),
            *(unknown_ids, rules_are_counted, counters_outlive_tables, dumps_are_whole),
            *(events_are_told, replacing_rules_is_no_event, namespaces_are_apart),
            namespaces_end_with_rules_in_them,
        )
    )
