# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru table`: the kernel's tables by hand."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from saru.commands import time_option
from saru.config.tree import DataplaneKind
from saru.core.term import COUNTER_MAX, INCARNATION_MAX, PLACE_MAX, SERIAL_MAX, Term, Version
from saru.dataplane import BLOCKS_MAX, ID_MAX, ID_MIN, Dataplane, Table
from saru.errors import SaruError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

LEASE_MAX = 60 * 10**9  # ns; unless a longer lease is asked for
TERM_MAX = (COUNTER_MAX, PLACE_MAX, INCARNATION_MAX)
FIRST = Version(Term(1, 0, 0), 0)  # what comes before the first version made by hand


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Lease(NamedTuple):
    """How long to accept, in ns, and what that came to the moment it was read."""

    length: int
    deadline: int
    """Absolute, on CLOCK_BOOTTIME."""


def _lease_of(ctx: click.Context, param: click.Parameter, value: str) -> Lease:
    now = _now()
    length = time_option(ctx, param, value) or 0
    return Lease(length, now + length)


def _term(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Term | None:
    """A term as status shows it, counter.place.incarnation, each part within its width."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,10}\.\d{1,3}\.\d{1,8}", value, re.ASCII):
        parts = [int(part) for part in value.split(".")]
        if all(part <= most for part, most in zip(parts, TERM_MAX, strict=True)):
            return Term(*parts)
    most = ".".join(map(str, TERM_MAX))
    raise click.BadParameter(
        f"{value!r} is no term; write counter.place.incarnation, at most {most}"
    )


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_id = click.argument("id_", metavar="ID", type=click.IntRange(ID_MIN, ID_MAX))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_version = _options(
    click.option("--term", callback=_term, metavar="C.P.I", help="The version's term."),
    click.option("--serial", type=click.IntRange(0, SERIAL_MAX), help="The version's serial."),
)
_lease = click.option(
    "--lease",
    callback=_lease_of,
    required=True,
    metavar="TIME",
    help="Accept for this long from now on, such as 5s or 400ms.",
)
_force = click.option("--force", is_flag=True, help="Even while a daemon runs on this host.")


@click.group()
@click.option(
    "--dataplane",
    type=click.Choice([kind.value for kind in DataplaneKind]),
    help="What keeps the tables (default: as the configuration says, or auto).",
)
@click.pass_context
def table(ctx: click.Context, dataplane: str | None) -> None:
    """The kernel's tables, by hand, without a daemon."""
    ctx.obj = dataplane and DataplaneKind(dataplane)


@table.command("set")
@_id
@click.option("--blocks", type=click.IntRange(2, BLOCKS_MAX), default=1024, show_default=True)
@click.option(
    "--held",
    required=True,
    metavar="BLOCKS",
    help="The blocks to accept: 0-511,600, or all, or none.",
)
@_lease
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@_version
@click.option(
    "--lease-max",
    callback=time_option,
    metavar="TIME",
    help="Refuse deadlines further away (default: the lease, at least 60s).",
)
@_force
def set_(
    id_: int,
    blocks: int,
    held: str,
    lease: Lease,
    seed: int,
    term: Term | None,
    serial: int | None,
    lease_max: int | None,
    force: bool,
) -> None:
    """Replace a table in one step.

    Without --term and --serial the version follows on that of the table there is.
    """
    from saru import ranges

    if blocks & (blocks - 1):
        raise click.BadParameter(f"{blocks} is no power of two", param_hint="'--blocks'")
    try:
        bitmap = ranges.parse(held, blocks)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--held'") from None
    _refuse_beside_daemon(force)

    async def work(plane: Dataplane) -> None:
        version = await _version_after(plane, id_, term, serial)
        await plane.set(
            Table(
                id=id_,
                blocks=blocks,
                seed=seed,
                version=version,
                deadline=lease.deadline,
                lease_max=lease_max or max(LEASE_MAX, lease.length),
                held=bitmap,
            )
        )

    _with_dataplane(work)


async def _version_after(
    plane: Dataplane, id_: int, term: Term | None, serial: int | None
) -> Version:
    """The version that is asked for; what is left open follows on the table's own."""
    if term is not None and serial is not None:
        return Version(term, serial)
    there = (await plane.get(id_)).table
    base = FIRST if there is None else there.version
    if term is None or term == base.term:
        return Version(base.term, base.serial + 1 if serial is None else serial)
    return Version(term, serial or 1)


@table.command()
@_id
@_lease
@_version
@_force
def renew(
    id_: int,
    lease: Lease,
    term: Term | None,
    serial: int | None,
    force: bool,
) -> None:
    """Move a table's deadline; once it has passed, only `set` helps."""
    _refuse_beside_daemon(force)

    async def work(plane: Dataplane) -> None:
        there = (await plane.get(id_)).table
        if there is None:
            raise SaruError(f"there is no table of id {id_}")
        own = there.version
        version = Version(term or own.term, own.serial if serial is None else serial)
        await plane.renew(id_, version, lease.deadline)

    _with_dataplane(work)


@table.command()
@_id
@_json
@click.option("--packets", is_flag=True, help="Print the packets of each block, too.")
def get(id_: int, as_json: bool, packets: bool) -> None:
    """Print a table with its counters."""
    from saru.dataplane import listing
    from saru.json_text import json_text

    state = _with_dataplane(lambda plane: plane.get(id_))
    if state.table is None and not state.users:
        raise SaruError(f"there is no table of id {id_}")
    if as_json:
        click.echo(json_text(listing.to_json(state, _now())))
        return
    click.echo(listing.describe(state, _now()))
    if packets:
        click.echo(listing.describe_packets(state))


@table.command("list")
@_json
def list_(as_json: bool) -> None:
    """Print all tables, and the ids that only rules name."""
    from saru.dataplane import listing
    from saru.json_text import json_text

    states = _with_dataplane(lambda plane: plane.tables())
    now = _now()
    if as_json:
        click.echo(json_text([listing.to_json(state, now) for state in states]))
    else:
        click.echo(listing.listing(states, now))


@table.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(ID_MIN, ID_MAX))
@click.option("--all", "everything", is_flag=True, help="All tables.")
@_force
def delete(ids: tuple[int, ...], everything: bool, force: bool) -> None:
    """Forget tables; rules that name them stay and match nothing."""
    if bool(ids) == everything:
        raise click.UsageError("name the ids to delete, or write --all")
    _refuse_beside_daemon(force)

    async def work(plane: Dataplane) -> None:
        doomed = [s.id for s in await plane.tables() if s.table] if everything else ids
        missing = [str(id_) for id_ in doomed if not await plane.delete(id_)]
        if missing and not everything:
            raise SaruError(f"there is no table of id {', '.join(missing)}")

    _with_dataplane(work)


@table.command()
@_json
def watch(as_json: bool) -> None:
    """Print what happens to the tables, a line each, until Ctrl-C."""
    import msgspec

    from saru.dataplane import listing

    async def work(plane: Dataplane) -> None:
        async for event in plane.events():
            if as_json:
                line = msgspec.json.encode(listing.event_to_json(event)).decode()
            else:
                when = datetime.now().astimezone().isoformat(timespec="milliseconds")
                line = listing.describe_event(event, when)
            click.echo(line)
            sys.stdout.flush()

    with contextlib.suppress(KeyboardInterrupt):  # the way it ends
        _with_dataplane(work)


def _with_dataplane(work: Callable[[Dataplane], Coroutine[Any, Any, T]]) -> T:
    from saru.dataplane.choice import made

    kind = click.get_current_context().find_object(DataplaneKind) or _configured()

    async def run() -> T:
        plane = made(kind)
        try:
            await plane.open()
            return await work(plane)
        finally:
            await plane.close()

    return asyncio.run(run())


def _configured() -> DataplaneKind:
    from saru import config

    path: Path | None = click.get_current_context().find_root().params.get("config")
    return config.load(path).director.dataplane


def _refuse_beside_daemon(force: bool) -> None:
    """Two that push the same tables could accept a block that another director holds.

    And a table that is deleted under a daemon leaves its blocks unanswered until that has noticed.
    """
    if force:
        return
    from saru.daemon import lock

    if keepers := lock.keepers():
        raise SaruError(
            f"a daemon keeps the tables of this host ({keepers[0]}); "
            "stop it first, or write --force"
        )
