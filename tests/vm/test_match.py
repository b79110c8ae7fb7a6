# SPDX-License-Identifier: GPL-2.0-or-later
"""The match judges every packet of the table as expected, and counts it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from deploy.lab.guest import Guest
from saru.core.blocks import Map, Sense
from tests.vm.conftest import EITHER_KIND, EITHER_VERSION, run_inside
from tests.vm.packet_table import CLIENT, Expected, Row, rows

SEED = 0x5EED
Job = dict[str, Any]
Case = tuple[str, Job, dict[str, int]]
"""What it is, what the guest's program is told, and what it shall answer."""


def block_of(row: Row, blocks: int) -> int:
    assert row.expected.fields is not None
    map_ = Map[row.map.upper()] if row.map else Map.AUTO
    return row.expected.fields.block(blocks, SEED, Sense.parse(row.sense), map_)


def told(row: Row, blocks: int, bitmap: int, **changed: Any) -> Job:
    length = max(1, blocks // 8)
    table = {"blocks": blocks, "seed": SEED, "bitmap": bitmap.to_bytes(length, "little").hex()}
    return {
        "packets": [packet.hex() for packet in row.packets],
        "rule": row.rule(),
        "table": table,
        "expired": False,
        "linear": None,
        "untracked": row.untracked,
        "multicast": row.multicast,
        **changed,
    }


def answered(row: Row, counter: str, *, drop: bool = False) -> dict[str, int]:
    accepted = counter == "accepted"
    host = accepted or not row.multicast
    answer = dict.fromkeys(
        ("matched", "unmatched", "host", "accepted", "rejected", "expired", "no_key"), 0
    )
    answer[counter] = 1
    if not drop:
        answer["matched" if accepted != row.invert else "unmatched"] = 1
        answer["host"] = int(host)
    return answer


def cases(row: Row, blocks: int, **changed: Any) -> Iterator[Case]:
    """The row with its block held and with all others held, or with all held if it has none."""
    every = (1 << blocks) - 1
    if row.expected.fields is None:
        answer = answered(row, "no_key", drop=row.expected.drop)
        yield row.description, told(row, blocks, every, **changed), answer
        return
    mine = 1 << block_of(row, blocks)
    yield f"{row.description}: held", told(row, blocks, mine, **changed), answered(row, "accepted")
    others = told(row, blocks, every ^ mine, **changed)
    yield f"{row.description}: not held", others, answered(row, "rejected")


def check(guest: Guest, tool: str, wanted: list[Case]) -> None:
    """Show all of it to the guest; packets that meet the same rule one after the other."""
    order = sorted(wanted, key=lambda case: (case[1]["packets"][0][0], case[1]["rule"]))
    job = {"tool": tool, "rows": [row for _, row, _ in order]}
    done = run_inside(guest, "judge", input_text=json.dumps(job))
    answers = json.loads(done.stdout)
    assert len(answers) == len(order)
    wrong = [
        f"{description} ({row['rule']}): {answer}, not {expected}"
        for (description, row, expected), answer in zip(order, answers, strict=True)
        if answer != expected
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("version", [4, 6])
@EITHER_KIND
def test_packets(module_guest: Guest, kind: str, version: int) -> None:
    """Each row of the table, in 1024 blocks."""
    check(module_guest, kind, [case for row in rows(version) for case in cases(row, 1024)])


@EITHER_VERSION
def test_packets_in_pieces(module_guest: Guest, version: int) -> None:
    """The same with nothing but the IP header in the skb's linear part, in 65536 blocks."""
    header = 20 if version == 4 else 40
    wanted = [
        case
        for row in rows(version)
        if all(len(packet) > header for packet in row.packets)
        for case in cases(row, 65536, linear=header)
    ]
    check(module_guest, "legacy", wanted)


@EITHER_VERSION
def test_table_states(module_guest: Guest, version: int) -> None:
    """Without a table and after the deadline nothing is accepted, by any rule."""
    few = [row for row in rows(version) if row.expected.fields and not row.untracked]
    wanted: list[Case] = []
    for row in few:
        if "TCP" not in row.description and "rule" not in row.description:
            continue
        every = (1 << 1024) - 1
        none = told(row, 1024, every, table=None)
        late = told(row, 1024, every, expired=True)
        wanted.append((f"{row.description}: no table", none, answered(row, "rejected")))
        wanted.append((f"{row.description}: expired", late, answered(row, "expired")))
    check(module_guest, "legacy", wanted)


@pytest.mark.parametrize("blocks", [2, 4, 4096, 8192, 65536])
def test_block_numbers(module_guest: Guest, blocks: int) -> None:
    """Few blocks and many, at the ends of the port range, the short way and the long way."""
    wanted: list[Case] = []
    for row in rows(4):
        if row.description in ("rule for tcp", "TCP by src-port", "port 0", "protocol 17"):
            wanted += cases(row, blocks)
    assert len(wanted) >= 8
    check(module_guest, "legacy", wanted)


def test_rows_differ() -> None:
    """The table expects what it says: the client's fields, of both families."""
    for version in (4, 6):
        for row in rows(version):
            fields = row.expected.fields
            assert fields is None or str(fields.src_addr) == CLIENT[version]
    assert replace(Expected(None), drop=True).drop
