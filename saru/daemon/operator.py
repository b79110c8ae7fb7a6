# SPDX-License-Identifier: GPL-2.0-or-later
"""Planned change: what the operator asks of a director, of this one or by this one of another.

A drained director stays drained until it is undrained, through restarts and reboots: whoever drains
a host to work on it does not want it back in the middle of that. A weight that was set by hand
lasts until the daemon ends; then the configuration's counts again.

Another director is asked by an order, sent anew with every keepalive until its beats show that it
has obeyed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from saru.config.reading import is_name
from saru.control import Arguments, arguments_as
from saru.core.participant import Participant
from saru.core.share import Order, Share
from saru.daemon.others import Others
from saru.errors import SaruError, UsageError
from saru.state import durable
from saru.status.holders import Holders
from saru.wire.soundness import WEIGHT_MAX

SECOND = 1_000_000_000
LIMIT = 30.0  # seconds
Limit = Annotated[float, msgspec.Meta(ge=0, le=86_400)]

logger = logging.getLogger("saru")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The request `share`: `node` empty is this one; None leaves a thing as it is.

    `wait`: answer only when a drained director's blocks have gone. `force`: drain it even if nobody
    could take them. `limit` is in seconds.
    """

    node: str = ""
    weight: int | None = None
    drained: bool | None = None
    wait: bool = False
    force: bool = False
    limit: Limit = LIMIT


class Leave(msgspec.Struct, frozen=True):
    """The request `leave`: end when the blocks have gone, `limit` seconds at most.

    Without `wait`: end as if the daemon were killed with SIGTERM.
    """

    wait: bool = True
    limit: Limit = LIMIT


class Move(msgspec.Struct, frozen=True):
    """What became of the blocks of one id that a director held."""

    id: int
    blocks: int
    to: dict[str, int]
    """How many of them whom."""
    unheld: int
    """How many of them nobody holds."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to both requests: what is so now."""

    node: str
    changed: bool
    """False: it was so before."""
    weight: int
    drained: bool
    moves: tuple[Move, ...] = ()
    """One for each id of which the director held blocks, if they were waited for."""


@dataclass(frozen=True)
class Shell:
    """What the daemon lends."""

    now: Callable[[], int]
    """The core's clock, in ns."""
    core: Callable[[], Participant[Any]]
    holders: Callable[[], Mapping[int, Holders]]
    """Who holds what, by id."""
    do: Callable[[list[Any]], None]
    """Carries out what an event brought about."""
    others: Others
    stop: Callable[[], None]
    """Ends the daemon."""
    until: Callable[[Callable[[], bool]], Awaitable[None]]
    """Waits until something is so; it can become so with any event."""


class Drained:
    """The file that keeps a director drained: there if it is, with the name of who asked for it."""

    def __init__(self, state: Path, cluster: str) -> None:
        self._path = state / f"{cluster}.drained"

    def read(self) -> str | None:
        """Who asked for it, empty if that does not stand there; None: this director is not drained.

        Raises SaruError.
        """
        try:
            by = self._path.read_bytes()[:64].decode("ascii", "replace").strip()
            return by if is_name(by) else ""
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SaruError(f"cannot read {self._path}: {error.strerror}") from None

    def write(self, share: Share) -> None:
        """Keep what `share` says, on disk when this returns. Raises SaruError."""
        try:
            if share.drained:
                durable.replace(self._path, share.by.encode() + b"\n")
            else:
                durable.remove(self._path)
        except OSError as error:
            raise SaruError(f"cannot keep {self._path}: {error.strerror}") from None


class Operator:
    """Carries out what the operator asks."""

    def __init__(self, shell: Shell, drained: Drained) -> None:
        self._shell = shell
        self._drained = drained
        self._changing = asyncio.Lock()  # the file and the share change together
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def _core(self) -> Participant[Any]:
        return self._shell.core()

    # --- requests -------------------------------------------------------------------------------

    async def share(self, arguments: Arguments) -> Outcome:
        """Change the share of this director or of another one."""
        change = arguments_as(arguments, Change)
        if change.weight is not None and not 0 <= change.weight <= WEIGHT_MAX:
            raise UsageError(f"weight {change.weight} is not from 0 to {WEIGHT_MAX}")
        node = change.node or self._core.node
        if node in self._core.settings.witnesses:
            raise UsageError(f"{node} is a witness, which holds no blocks")
        moves: tuple[Move, ...] = ()
        late = _UNKNOWN
        try:
            async with asyncio.timeout(change.limit):
                await self._shell.others.refresh()
                before = self._share_of(node)
                held = self._held(node)
                takers = self._takers(node)
                if change.drained and not before.drained and held and not (takers or change.force):
                    raise SaruError(f"{_nobody(node)} (drain --force does it all the same)")
                changed = not before.grants(weight=change.weight, drained=change.drained)
                late = f"{node} has not answered"
                if node == self._core.node:
                    # Who asked may give up while the disk is slow: file and share stay one.
                    changing = self._begin(self._change(node, change.weight, change.drained))
                    await asyncio.shield(changing)
                else:
                    await self._ask(node, change)
                if change.wait:
                    late = f"{node} is drained, but {_STUCK}; undo it with: saru undrain {node}"
                    moves = await self._gone(node, held, takers)
        except TimeoutError:
            raise SaruError(f"after {change.limit:g} s: {late}") from None
        share = self._share_of(node)
        return Outcome(
            node=node, changed=changed, weight=share.weight, drained=share.drained, moves=moves
        )

    async def leave(self, arguments: Arguments) -> Outcome:
        """Hand the blocks over and end; nothing has changed if nobody takes them in time."""
        request = arguments_as(arguments, Leave)
        core = self._core
        moves: tuple[Move, ...] = ()
        late = _UNKNOWN
        try:
            # All of it: whoever asks waits no longer, and must not see it leave after all.
            async with asyncio.timeout(request.limit):
                await self._shell.others.refresh()
                held, takers = self._held(core.node), self._takers(core.node)
                if not request.wait:
                    held = {}
                elif held and not takers:
                    raise SaruError(f"{_nobody(core.node)} ({_ALL_THE_SAME})")
                async with self._changing:
                    late = _STUCK
                    moves = await self._handed_over(core, held, takers)
        except TimeoutError:
            raise SaruError(
                f"after {request.limit:g} s: {late}; {core.node} goes on as before "
                f"({_ALL_THE_SAME})"
            ) from None
        asyncio.get_running_loop().call_soon(self._shell.stop)
        share = core.share
        return Outcome(
            node=core.node, changed=True, weight=share.weight, drained=share.drained, moves=moves
        )

    async def _handed_over(
        self, core: Participant[Any], held: dict[int, int], takers: set[str]
    ) -> tuple[Move, ...]:
        """Give the blocks to `takers`; as before if that comes to no end."""
        self._shell.do(core.weigh(0, self._shell.now()))
        try:
            return await self._gone(core.node, held, takers)
        except BaseException:
            self._shell.do(core.apportion(core.share, self._shell.now()))
            raise

    # --- this director's share ------------------------------------------------------------------

    def first(self, weight: int) -> Share:
        """The share to begin with: the configuration's weight, and drained if it was before."""
        by = self._drained.read()
        return Share(weight, drained=by is not None, by=by or "")

    def obey(self, order: Order) -> None:
        """Another director has sent an order; most likely it is for somebody else, or a copy."""
        core = self._core
        fits = order.obeyed(core.share, core.node, core.session.incarnation) is not None
        if fits and not self._changing.locked():
            self._begin(self._obey(order))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have a change made to its end, whoever waits for it."""

        def ended(task: asyncio.Task[None]) -> None:
            self._under_way.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, SaruError):  # those have been logged
                found = {"message": "a change broke off", "exception": error, "task": task}
                task.get_loop().call_exception_handler(found)

        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(ended)
        return task

    async def _obey(self, order: Order) -> None:
        async with self._changing:
            share = order.obeyed(self._core.share, self._core.node, order.incarnation)
            if share is not None:
                # Whoever asked learns from our beats whether it was done, and gives up in time.
                with contextlib.suppress(SaruError):
                    await self._keep(share)

    async def _change(self, by: str, weight: int | None, drained: bool | None) -> None:
        async with self._changing:
            share = self._core.share
            if not share.grants(weight=weight, drained=drained):
                await self._keep(share.changed(by, weight=weight, drained=drained))

    async def _keep(self, share: Share) -> None:
        """Make it so: on disk first, and not on the event loop, which has beats to send."""
        core = self._core
        try:
            if share.drained != core.share.drained:
                await asyncio.to_thread(self._drained.write, share)
        except SaruError as error:
            logger.error("%s: %s", core.node, error)
            raise
        logger.info("%s: %s", core.node, _told(core.share, share))
        self._shell.do(core.apportion(share, self._shell.now()))

    # --- others' --------------------------------------------------------------------------------

    def _share_of(self, node: str) -> Share:
        """The share that a director has now. Raises what is wrong if there is none to change."""
        return self._core.share if node == self._core.node else self._shell.others.get(node).share

    async def _ask(self, node: str, change: Change) -> None:
        """Send the order anew until the director says that it has obeyed."""
        core, others = self._core, self._shell.others
        while True:
            other = others.get(node)
            share = other.share
            if share.grants(weight=change.weight, drained=change.drained):
                return
            await others.order(
                Order(
                    node=node,
                    incarnation=other.incarnation,
                    revision=share.revision,
                    by=core.node,
                    weight=change.weight,
                    drained=change.drained,
                )
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(core.settings.keepalive / SECOND):
                    await self._shell.until(lambda: self._share_of(node) != share)  # noqa: B023
            await others.refresh()

    # --- blocks ---------------------------------------------------------------------------------

    def _held(self, node: str) -> dict[int, int]:
        """The blocks that a director holds, per id; only ids with any."""
        held = {number: h.held.get(node, 0) for number, h in self._shell.holders().items()}
        return {number: bitmap for number, bitmap in held.items() if bitmap}

    def _takers(self, node: str) -> set[str]:
        """Who could take blocks from a director."""
        core, able = self._core, self._shell.others.takers()
        if core.able and core.weight:
            able.add(core.node)
        return able - {node} - set(core.settings.witnesses)

    async def _gone(self, node: str, before: dict[int, int], takers: set[str]) -> tuple[Move, ...]:
        """Wait until a director holds nothing, and what it held is in other hands."""

        def gone() -> bool:
            unheld = takers and any(move.unheld for move in self._moves(node, before))
            return not self._held(node) and not unheld

        await self._shell.until(gone)
        return self._moves(node, before)

    def _moves(self, node: str, before: dict[int, int]) -> tuple[Move, ...]:
        """What has become of the blocks that a director held."""
        moves = []
        for number, bitmap in before.items():
            left, to = bitmap, {}
            for name, held in sorted(self._shell.holders()[number].held.items()):
                if name != node and held & left:
                    to[name] = (held & left).bit_count()
                left &= ~held
            moves.append(Move(id=number, blocks=bitmap.bit_count(), to=to, unheld=left.bit_count()))
        return tuple(moves)


_UNKNOWN = "it is not known what the other directors hold (see: saru status)"
_ALL_THE_SAME = "systemctl stop saru ends it all the same"
_STUCK = "not all of its blocks are in other hands (see: saru status)"


def _nobody(node: str) -> str:
    return f"no other director could take the blocks of {node} now: nobody would answer for them"


def _told(before: Share, after: Share) -> str:
    """A change of a share, for the log."""
    if after.drained != before.drained:
        what = "drained" if after.drained else "no longer drained"
    else:
        what = f"weight {after.weight} instead of {before.weight}"
    return f"{what} (asked for at {after.by})"
