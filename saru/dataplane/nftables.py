# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of a kernel that loads no foreign module, in sets of nftables.

`layout` says where everything is and what a rule asks. A table is replaced, and a deadline moved,
in one transaction of nf_tables that is bound to the generation of the rules that was looked at:
if anybody has changed anything meanwhile, the kernel refuses it, and it is made anew. So the checks
of versions here hold as they would in the kernel.

The deadline is kept twice, as `bounds` says, and the kernel stops accepting by itself at the
earlier one. What remains of the promise that no deadline is ever stretched: nothing, if the wall
clock is not set back. If it is set back by S while a deadline runs, the lease's own time ends the
table: at the deadline, or early by up to a tick. If moreover the daemon was paused for P between
computing that deadline and the kernel's taking it, both errors come together, and the table ends
late by the smaller of S and P. A leap second is such an S of one second. A wall clock that is set
forward ends a table early, until the next renewal. A CPU that keeps the kernel's ticks back (a
virtual machine that is stopped by its host) makes the lease's own time late by as much; by the wall
clock the table ends even then.

A renewal fails in the kernel, and not only by a look at the clock, if the lease that it is to move
has gone. Where the kernel takes it and the clock says afterwards that the old deadline had passed,
it is undone at once. Deleting nftables' table (`nft flush ruleset`) deletes ours, version included.

Transactions run in one thread: they wait for those of others, a firewall's reload perhaps. `set`
and `delete` wait moreover until no CPU goes by what they replaced (`grace`), if anything was let
go: whoever is in the middle of a packet when blocks are only added finds too few of them at worst.
Where that takes long, other calls go on meanwhile, and what is called at the same time waits
together.

Whoever does not hear whether the kernel has taken a change knows nothing from then on: the next
call looks at the kernel anew, and waits for what that change may have let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from saru import nft
from saru.core.term import Version
from saru.dataplane import Event, Table, TableState, elements, plan, sets, usage
from saru.dataplane.bounds import Clocks, bounds, read
from saru.dataplane.grace import Grace
from saru.dataplane.hurry import Hurry
from saru.dataplane.layout import definitions, held_set, until_set
from saru.dataplane.netfilter import Netfilter, RefusedError
from saru.dataplane.turn import Turn
from saru.dataplane.watch import watch
from saru.errors import SaruError, StaleError

TRIES = 20  # somebody else's transaction may come between as often as that
ROOM = 0.002  # seconds between listings; for the kernel, to make room in a set
INSISTS = (True,) * TRIES + (False,) * TRIES  # whether a listing has to be whole, a try each

T = TypeVar("T")
Plan = Callable[[Table | None, int], Table]
"""From the table there is, and the time, to the one that shall be; raises what is against it."""


@dataclass(slots=True)
class _Kept:
    """What the kernel has for an id. `defined`: the sets are there; `said`: the comment.

    `sure`: the blocks are as this program put them there, and not as they were listed.
    """

    defined: bool
    said: str = ""
    table: Table | None = None
    sure: bool = False


class _AgainError(Exception):
    """Somebody changed something during a listing, or it is not whole: list once more."""


class Nftables:
    """The data plane `nftables`; see `saru.dataplane.Dataplane` for the contract.

    `clocks` reads the clocks that deadlines are computed by; without the file `mark` blocks
    are let go without hurry.
    """

    name = "nftables"

    def __init__(self, clocks: Callable[[], Clocks] = read, mark: Path | None = None) -> None:
        self._clocks = clocks
        self._hurry = Hurry(mark)
        self._turn = Turn()
        self._grace = Grace()
        self._link: Netfilter | None = None
        self._generation = 0
        self._kept: dict[int, _Kept] = {}
        self._sure: set[int] = set()  # ids whose `_kept` holds for `_generation`
        self._doubts = 0  # times that blocks may have been let go without anybody's waiting
        self._settled = 0  # that many of them have been waited for since

    async def open(self) -> None:
        """Find nf_tables and libnftables. Raises OutageError if one is missing."""
        if self._link is not None:
            raise RuntimeError("open called twice")
        link = Netfilter()
        try:
            link.generation()
            nft.run("")
        except BaseException:
            link.close()
            raise
        self._link = link
        self._hurry.mend()

    async def close(self) -> None:
        """Wait for what is under way and let go; the tables stay as they are."""
        await self._turn.close()
        await self._grace.close()
        if self._link is not None:
            self._link.close()
            self._link = None

    async def set(self, table: Table) -> None:
        """Replace the table of `table.id` in one step; StaleError for an older version."""

        def replace() -> tuple[None, bool]:
            there = self._replace(
                table.id, lambda there, now: plan.succeeds(there, table, now), define=True
            )
            return None, not plan.only_adds(there, table)

        await self._change(replace)

    async def renew(self, id: int, version: Version, deadline: int) -> None:  # noqa: A002
        """Move the deadline of the table of `id`; StaleError unless `version` is the table's."""

        def moved(there: Table | None, now: int) -> Table:
            return plan.moved(id, there, version, deadline, now)

        await self._turn.take(lambda: self._replace(id, moved), waits=True)

    async def delete(self, id: int) -> bool:  # noqa: A002
        """Forget the table of `id`; False if there was none."""

        def remove() -> tuple[bool, bool]:
            there = self._delete(id)
            return there, there

        return await self._change(remove)

    async def get(self, id: int) -> TableState:  # noqa: A002
        """What the kernel knows of `id`: `rejected` only from rules that count what they ask about.

        `expired`, `no_key` and packets per block nobody counts.
        """
        (state,) = await self._listed(lambda whole: self._states([id], whole))
        return state

    async def users(self, id: int) -> int:  # noqa: A002
        """How many rules name `id`; the rules alone are listed."""
        return (await self._listed(lambda _: self._usage())).get(id, usage.NONE).users

    async def tables(self) -> list[TableState]:
        """All ids of this network namespace that have a table or users, in their order."""
        ids = await self._listed(lambda _: self._ids())
        states = await self._listed(lambda whole: self._states(ids, whole))
        return [state for state in states if state.table or state.users]

    def events(self) -> AsyncIterator[Event]:
        """What happens to the tables from this call on."""
        return watch()

    async def _listed(self, listing: Callable[[bool], T]) -> T:
        """What a listing finds when nothing changes meanwhile.

        A listing of many blocks takes a while. Each try has a turn of its own, so that a renewal
        waits for one of them at most.
        """
        for whole in INSISTS:
            with contextlib.suppress(_AgainError):
                return await self._turn.take(partial(listing, whole), waits=True)
            await asyncio.sleep(ROOM)
        raise _too_fast()

    async def _change(self, make: Callable[[], tuple[T, bool]]) -> T:
        """Make a change, and return what it returns when no CPU goes by what was there before.

        `make` says, too, whether anything was let go.
        """

        def made() -> tuple[T, int | None]:
            result, lets_go = make()
            doubts = self._doubts
            if not lets_go and self._settled == doubts:
                return result, None
            with self._doubted():
                if not self._hurry.period():
                    return result, doubts
            self._settled = max(self._settled, doubts)
            return result, None

        with self._doubted(asyncio.CancelledError):  # the thread goes on
            result, doubts = await self._turn.take(made, waits=True)
        if doubts is not None:
            with self._doubted():
                await self._grace.period()
            self._settled = max(self._settled, doubts)
        return result

    @contextlib.contextmanager
    def _doubted(self, failure: type[BaseException] = BaseException) -> Iterator[None]:
        """What fails in here may have let blocks go, and nobody has waited for it."""
        try:
            yield
        except failure:
            self._doubts += 1
            raise

    @property
    def _open(self) -> Netfilter:
        if self._link is None:
            raise RuntimeError("open comes first")
        return self._link

    # --- in the thread --------------------------------------------------------------------------

    def _replace(self, id_: int, wanted: Plan, *, define: bool = False) -> Table | None:
        """Carry out a plan on what the kernel has at that moment; what that was."""
        only = True
        for _ in range(TRIES):
            kept = self._look(id_)
            if not kept.defined and define:
                nft.run(definitions([id_]))
                self._sure.clear()
                continue
            there = kept.table
            clocks = self._clocks()
            new = wanted(there, clocks.boot)
            again = there if there is not None and there.version == new.version else None
            until = bounds(new.deadline, clocks)
            changes = sets.replacement(
                there, new, until, only=only and again is not None, sure=kept.sure
            )
            if not self._commit(changes):
                # A lease is gone a little before its deadline; then the clock has to say.
                only = False
                continue
            self._kept[id_] = _Kept(True, sets.comment(new), new, sure=True)
            if not kept.sure:
                self._doubts += 1  # blocks that were not listed have gone, a renewal's even
            if again is not None and self._clocks().boot >= again.deadline:
                self._undo(new, again)
                raise StaleError(plan.PASSED)
            return there
        raise _too_fast()

    def _undo(self, new: Table, old: Table) -> None:
        """Back to a table whose deadline has passed; unless somebody else came between."""
        until = bounds(old.deadline, self._clocks())
        if self._commit(sets.replacement(new, old, until, only=False, sure=True)):
            self._kept[old.id] = _Kept(True, sets.comment(old), old, sure=True)

    def _delete(self, id_: int) -> bool:
        for _ in range(TRIES):
            # Not by a memory alone: the core would believe that nothing is held.
            if self._look(id_).table is None and self._look_anew(id_).table is None:
                return False
            if self._commit(sets.removal(id_)):
                self._kept[id_] = _Kept(True, sure=True)
                return True
        raise _too_fast()

    def _commit(self, changes: list[elements.Request]) -> bool:
        """Make the changes. False if what they were made for is there no more: look again.

        With any other failure the kernel may have made them, or not.
        """
        try:
            self._open.commit(changes, self._generation)
        except BaseException as failure:
            self._sure.clear()
            code = failure.code if isinstance(failure, RefusedError) else None
            if code == errno.ERESTART:
                return False
            self._kept.clear()
            if code in (errno.ENOENT, errno.EEXIST):
                return False
            self._doubts += 1
            raise
        self._generation = self._generation % 0xFFFFFFFF + 1
        return True

    def _look(self, id_: int) -> _Kept:
        """What the kernel has for an id, as sure as a transaction of this generation needs it."""
        if id_ in self._sure:
            return self._kept[id_]
        return self._look_anew(id_)

    def _look_anew(self, id_: int) -> _Kept:
        for whole in INSISTS:
            with contextlib.suppress(_AgainError):
                return self._read([id_], whole)[0]
            time.sleep(ROOM)
        raise _too_fast()

    # Each of these lists things once, and raises _AgainError if that has to be done again.

    def _read(self, ids: list[int], whole: bool, *, anew: bool = False) -> list[_Kept]:
        """What the kernel has for some ids, all of one generation.

        Blocks are read again only if the comment beside them is another, or `anew`: nobody but this
        program writes either. With `whole` as many as there should be; without it those that are
        listed, for somebody may have taken some away.
        """
        generation = self._open.generation()
        if generation != self._generation:
            self._generation = generation
            self._sure.clear()
        found = [self._kept_for(id_, whole, anew) for id_ in ids]
        if self._open.generation() != generation:
            raise _AgainError
        self._kept.update(zip(ids, found, strict=True))
        self._sure.update(ids)
        return found

    def _kept_for(self, id_: int, whole: bool, anew: bool) -> _Kept:
        try:
            listed = self._ask(elements.elements_of(until_set(id_)))
        except RefusedError as refusal:
            if refusal.code != errno.ENOENT:
                raise
            return _Kept(defined=False)
        comments = [each.comment for one in listed for each in elements.elements_in(one)]
        said = "".join(comments)
        if not comments:
            return _Kept(defined=True)
        known = self._kept.get(id_)
        if known is not None and known.said == said and not anew:
            return known
        answers = self._ask(elements.elements_of(held_set(id_)))
        held = sets.held(chain.from_iterable(map(elements.numbers_in, answers)))
        if whole and sets.held_count(said) not in (None, held.bit_count()):
            raise _AgainError
        table = sets.table(id_, said, held)
        if table is None:
            raise SaruError(
                f"the set {until_set(id_)} of table inet saru holds what Saru did not put there; "
                f"empty it: nft flush set inet saru {until_set(id_)}"
            )
        return _Kept(
            True, said, table, sure=known is not None and known.sure and known.table == table
        )

    def _ask(self, request: elements.Request) -> list[elements.Message]:
        try:
            return self._open.ask(request)
        except RefusedError as refusal:
            if refusal.code != errno.EINTR:
                raise
            raise _AgainError from None

    def _ids(self) -> list[int]:
        try:
            return usage.ids(self._ask(elements.all_sets()))
        except RefusedError as refusal:
            if refusal.code != errno.ENOENT:
                raise
            return []  # nobody has made table inet saru yet

    def _usage(self) -> dict[int, usage.Usage]:
        return usage.usage(self._ask(elements.all_rules()))

    def _states(self, ids: list[int], whole: bool) -> list[TableState]:
        found = self._read(ids, whole, anew=True)
        used = self._usage()
        return [
            used.get(id_, usage.NONE).state(id_, kept.table)
            for id_, kept in zip(ids, found, strict=True)
        ]


def _too_fast() -> SaruError:
    return SaruError("nftables' rules change faster than a table can be replaced; try again")
