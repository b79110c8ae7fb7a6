# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables as text and as JSON. Pure: `now` is CLOCK_BOOTTIME in ns."""

from __future__ import annotations

import msgspec

from saru import ranges
from saru.config.duration import MS, SECOND
from saru.core.term import Version
from saru.dataplane import Event, Table, TableState

COLUMNS = (
    *("ID", "BLOCKS", "HELD", "VERSION", "LEFT", "RULES"),
    *("ACCEPTED", "REJECTED", "EXPIRED", "NO-KEY"),
)


class TableText(msgspec.Struct, frozen=True, kw_only=True):
    """A table as `--json` prints it."""

    blocks: int
    seed: int
    term: str
    """`counter.place.incarnation`"""
    serial: int
    held: list[tuple[int, int]]
    """Runs of blocks, first and last."""
    held_count: int
    deadline_ns: int
    """Absolute, on this host's CLOCK_BOOTTIME."""
    left_ms: int
    """Until the deadline; 0 if it has passed."""
    lease_max_ms: int


class StateText(msgspec.Struct, frozen=True, kw_only=True):
    """An id as `--json` prints it."""

    id: int
    table: TableText | None
    """None: rules name the id, and match nothing."""
    users: int
    """How many rules name the id."""
    accepted: int
    rejected: int
    expired: int
    no_key: int
    packets: tuple[int, ...] | None
    """Per block; None if the kernel does not count them."""


class EventText(msgspec.Struct, frozen=True, kw_only=True):
    """An event as `--json` prints it, a line each."""

    event: str
    id: int
    users: int
    term: str | None = None
    serial: int | None = None


def to_json(state: TableState, now: int) -> StateText:
    """A state for `--json`."""
    return StateText(
        id=state.id,
        table=None if state.table is None else _table_to_json(state.table, now),
        users=state.users,
        accepted=state.accepted,
        rejected=state.rejected,
        expired=state.expired,
        no_key=state.no_key,
        packets=state.packets,
    )


def _table_to_json(table: Table, now: int) -> TableText:
    return TableText(
        blocks=table.blocks,
        seed=table.seed,
        term=str(table.version.term),
        serial=table.version.serial,
        held=ranges.runs(table.held),
        held_count=table.held.bit_count(),
        deadline_ns=table.deadline,
        left_ms=max(0, table.deadline - now) // MS,
        lease_max_ms=table.lease_max // MS,
    )


def event_to_json(event: Event) -> EventText:
    """An event for `--json`."""
    named = EventText(event=event.kind.value, id=event.id, users=event.users)
    if event.version is None:
        return named
    return msgspec.structs.replace(named, term=str(event.version.term), serial=event.version.serial)


def describe(state: TableState, now: int) -> str:
    """A table in full, a line per property."""
    lines = [f"table {state.id}"]
    if state.table is None:
        lines.append("  none: the rules that name it match nothing")
    else:
        lines.extend(_describe_table(state.table, now))
    lines.append(f"  rules: {state.users}")
    lines.append(
        f"  packets: {state.accepted} accepted, {state.rejected} rejected, "
        f"{state.expired} expired, {state.no_key} without a key"
    )
    return "\n".join(lines)


def _describe_table(table: Table, now: int) -> list[str]:
    left = table.deadline - now
    when = f"in {left / SECOND:.3f} s" if left > 0 else f"passed {-left / SECOND:.3f} s ago"
    return [
        f"  version: {table.version}",
        f"  blocks: {table.blocks}, seed {table.seed}",
        f"  held: {table.held.bit_count()} ({ranges.text(table.held)})",
        f"  deadline: {when}, longest lease {table.lease_max / SECOND:g} s",
    ]


def describe_packets(state: TableState) -> str:
    """The blocks that saw packets, a line each."""
    if state.packets is None:
        return "  the kernel does not count packets per block here (more than 4096 blocks)"
    lines = [f"  block {block}: {count}" for block, count in enumerate(state.packets) if count]
    return "\n".join(lines) or "  no block has seen a packet"


def listing(states: list[TableState], now: int) -> str:
    """Tables, a line each, in columns."""
    rows = [COLUMNS, *(_row(state, now) for state in states)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _row(state: TableState, now: int) -> tuple[str, ...]:
    table = state.table
    if table is None:
        shown = ("-", "-", "-", "-")
    else:
        left = max(0, table.deadline - now) / SECOND
        shown = (
            str(table.blocks),
            str(table.held.bit_count()),
            str(table.version),
            f"{left:.1f}s" if left else "expired",
        )
    counters = (state.users, state.accepted, state.rejected, state.expired, state.no_key)
    return (str(state.id), *shown, *map(str, counters))


def describe_event(event: Event, when: str) -> str:
    """An event in one line; `when` is its time as it shall stand there."""
    if not event.id:
        return f"{when} lost: events came too fast; `saru table list` shows what is"
    version: Version | None = event.version
    said = f" version {version}" if version else ""
    return f"{when} {event.kind} id {event.id}{said} rules {event.users}"
