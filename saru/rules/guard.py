# SPDX-License-Identifier: GPL-2.0-or-later
"""The guard: no rules, no blocks, and no VIP; no carrier, no blocks either.

Without its rules a director accepts everything. The guard learns when they go: at once from
nftables' notices and when the last rule that names an id goes; and by looking every few seconds
where neither tells (a rule of legacy tables that went alone). Then it takes the VIPs off the
interface, puts the rules back, looks again, and puts the VIPs back. The mask it puts back first: a
frame with the shared MAC as its source ends the switch's flooding.

And it follows the VIPs' interface. While that is down, or has no carrier, no client reaches this
director: others shall have its blocks. When it is back the VIPs are put in order first, for the
kernel forgets IPv6 addresses of an interface that goes down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from saru import status
from saru.config import Config, RulesMode
from saru.dataplane import Dataplane, EventKind
from saru.dataplane.netfilter import Netfilter
from saru.dataplane.notices import receive
from saru.errors import OutageError, SaruError
from saru.link import shared
from saru.link.carrier import Carrier
from saru.rules import install
from saru.rules.model import Family
from saru.rules.notice import Notice, Notices

INTERVAL = 60.0  # seconds between looks, where nftables tells of every change
LEGACY_INTERVAL = 5.0  # where only the going of the last rule is told
PAUSE = 0.5  # at least this long between looks that others' changes bring about
RETRY, RETRY_MAX = 1.0, 15.0  # after rules could not be put back; doubles each time

OnChange = Callable[[bool, str], None]
logger = logging.getLogger("saru")


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look found wrong, a line each."""

    rules: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()

    def why(self) -> str:
        """In one line; empty if nothing is wrong."""
        found = (*self.rules, *self.mask)
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return f"{found[0]}{more}" if found else ""


class Guard:
    """Watches over one director's rules, mask and VIPs."""

    def __init__(self, config: Config, dataplane: Dataplane) -> None:
        self._config = config
        self._dataplane = dataplane
        self._name = config.director.name
        services = {service.id for service in config.services}
        self._ids = sorted(services or {division.id for division in config.ids})
        self._ok: bool | None = None
        self._why = "not looked at yet"
        self._wake = asyncio.Event()
        self._notice = Notice.NOTHING  # the gravest since the last look
        self._said: set[str] = set()
        self._carrier = Carrier(config.link.interface) if config.link is not None else None
        self._carrier_news = asyncio.Event()
        self._able: bool | None = None  # as told: rules and carrier
        self._retired = False
        # Whoever changes the interface's addresses has it, in a thread that goes on when its task
        # is cancelled.
        self._addresses = threading.Lock()
        # Made before the first VIP is taken off, gone when all are back on; left behind by a guard
        # that could not put them back before it ended, or should not.
        self._off = config.daemon.run / "guard.vip-off"

    async def status(self) -> status.Guard:
        """For `saru status`; looks at the interface of the VIPs, which is not ours to put up."""
        lacking: list[str] = []
        if self._config.link is None:
            vip = "not ours to set"
        elif self._off.exists():
            vip = f"taken off {self._config.link.interface}"
        else:
            lacking = await asyncio.to_thread(shared.lacking, self._config)
            vip = f"{'not up' if lacking else 'up'} on {self._config.link.interface}"
        state = "rules in place" if self._ok else f"rules not in place: {self._why}"
        if self._ok and self._cut_off:
            state = self._cut_off
        return status.Guard(ok=bool(self._able), state=state, vip=vip, lacking=tuple(lacking))

    async def run(self, on_change: OnChange) -> None:
        """Watch until cancelled; tells whether blocks may be held, first and at every change.

        Raises OutageError if the kernel's notices cannot be had.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_nftables())
                tasks.create_task(self._follow_tables())
                tasks.create_task(self._watch(on_change))
                if self._carrier is not None:
                    tasks.create_task(self._carrier.follow(self._carrier_news.set))
                    tasks.create_task(self._follow_carrier(self._carrier, on_change))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def retire(self) -> None:
        """Nobody watches from now on: take the VIPs off, until the next guard puts them back.

        With connection tracking they stay: connections that this director has go on.
        """
        self._retired = True
        if self._config.rules.mode is not RulesMode.CONNTRACK:
            await self._vips_off("nobody watches the rules from now on")

    # --- what wakes it --------------------------------------------------------------------------

    async def _follow_nftables(self) -> None:
        notices = Notices()
        async for received in _nftables():
            if not received:  # some were lost
                self._look_again(Notice.LOOK)
            for notice in notices.feed(received):
                self._look_again(notice)

    async def _follow_tables(self) -> None:
        async for event in self._dataplane.events():
            if event.kind is EventKind.LOST:
                self._look_again(Notice.LOOK)
            elif event.kind is EventKind.UNUSED and event.id in self._ids:
                self._look_again(Notice.GONE)

    async def _follow_carrier(self, carrier: Carrier, on_change: OnChange) -> None:
        was_down = False
        while True:
            await self._carrier_news.wait()
            self._carrier_news.clear()
            if carrier.why:
                logger.warning("%s: %s: no client reaches it", self._name, carrier.why)
            elif was_down:
                logger.info("%s: %s carries again", self._name, carrier.interface)
                await self._link_back()
            was_down = bool(carrier.why)
            self._decide(on_change)

    async def _link_back(self) -> None:
        """What the kernel has forgotten with the interface, unless the VIPs are off on purpose."""
        try:
            for line in await asyncio.to_thread(self._put_up):
                logger.info("%s: %s: the interface is back", self._name, line)
        except (SaruError, OSError) as fault:
            self._say(f"cannot put the link in order: {fault}")

    def _put_up(self) -> list[str]:
        with self._addresses:
            if self._retired or self._off.exists() or not shared.is_up(self._config):
                return []
            if not self._ok:  # not before the rules are back, and then they shall be put on
                self._off.parent.mkdir(parents=True, exist_ok=True)
                self._off.touch()
                return []
            return shared.up(self._config)

    @property
    def _cut_off(self) -> str:
        """Why no client reaches this director; empty if nothing is known to be wrong."""
        if self._carrier is None:
            return ""
        known = self._carrier.known
        return self._carrier.why if known else f"{self._carrier.interface}: not looked at yet"

    def _look_again(self, notice: Notice) -> None:
        self._notice = max(self._notice, notice)
        self._wake.set()

    # --- the watch ------------------------------------------------------------------------------

    async def _watch(self, on_change: OnChange) -> None:
        interval = await asyncio.to_thread(_interval, self._config)
        retry = RETRY
        while True:
            self._wake.clear()
            notice, self._notice = self._notice, Notice.NOTHING
            fine = await self._round(notice, on_change)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), interval if fine else retry)
            retry = RETRY if fine else min(2 * retry, RETRY_MAX)
            if self._notice <= Notice.LOOK:
                await self._rest()

    async def _rest(self) -> None:
        """Let others' changes gather, unless something of ours goes meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE):
                while self._notice <= Notice.LOOK:
                    self._wake.clear()
                    await self._wake.wait()

    async def _round(self, notice: Notice, on_change: OnChange) -> bool:
        """Look, and mend what is wrong; whether all is well now."""
        # Before the long look: packets do not wait for it. The mask is first, for taking an address
        # off sends frames of its own.
        if notice >= Notice.MASK_GONE:
            await self._mask_back("something of it went")
        if notice is Notice.GONE and self._ok:
            await self._vips_off("something of the rules went")
        findings = await self._look()
        if findings.mask and await self._mask_back(findings.mask[0]):
            findings = Findings(findings.rules)
        if why := findings.why():
            self._tell(on_change, False, why)
            await self._vips_off(why)
            findings = await self._mend(findings)
        if findings.why():
            return False
        if await self._vips_on():
            self._tell(on_change, True, "rules in place")
            return True
        return False

    def _tell(self, on_change: OnChange, ok: bool, why: str) -> None:
        self._ok, self._why = ok, why
        if ok:
            self._said.clear()
        else:
            self._say(f"rules are not in place: {why}")
        self._decide(on_change)

    def _decide(self, on_change: OnChange) -> None:
        """Tell whether blocks may be held, if that has changed, and all is known."""
        if self._ok is None or (self._carrier is not None and not self._carrier.known):
            return
        able = self._ok and not self._cut_off
        if able is not self._able:
            self._able = able
            on_change(able, self._cut_off if self._ok and self._cut_off else self._why)

    async def _look(self, *, compare: bool = True) -> Findings:
        """What is wrong; without `compare` only what the kernel's own count tells."""
        rules: list[str] = []
        try:
            for number in self._ids:
                if await self._dataplane.users(number) == 0:
                    rules.append(f"no rule names id {number}")
            if compare:
                return await asyncio.to_thread(self._compare, rules)
        except (SaruError, OSError) as fault:
            rules.append(str(fault))
        return Findings(tuple(rules))

    def _compare(self, rules: list[str]) -> Findings:
        if self._config.services:
            rules = [*install.check(self._config), *rules]
        mask = shared.check_mask(self._config) if self._config.link is not None else []
        return Findings(tuple(rules), tuple(mask))

    async def _mask_back(self, why: str) -> bool:
        """Put the mask back, if it is not as it should be; whether that can be said of it now."""
        if self._config.link is None:
            return True
        try:
            lines = await asyncio.to_thread(shared.put_mask, self._config)
        except (SaruError, OSError) as fault:
            self._say(f"cannot put the mask back: {fault}")
            return False
        for line in lines:
            logger.warning(
                "%s: %s: %s; a switch that learned the shared MAC meanwhile sends all packets to "
                "one director until it forgets",
                self._name,
                line,
                why,
            )
        return True

    async def _mend(self, findings: Findings) -> Findings:
        """Put the rules back, if they are ours to put; what is wrong afterwards."""
        if not self._config.services:
            return findings
        try:
            for line in await asyncio.to_thread(install.apply, self._config):
                logger.info("%s: rules put back: %s", self._name, line)
        except (SaruError, OSError) as fault:
            self._say(f"cannot put the rules back: {fault}")
            return findings
        left = await self._look(compare=False)  # `apply` has compared
        return Findings(left.rules, findings.mask)

    async def _vips_off(self, why: str) -> None:
        if self._config.link is None:
            return
        try:
            lines, unmarked = await asyncio.to_thread(self._take_off)
        except (SaruError, OSError) as fault:
            self._say(f"cannot take the VIP off: {fault}")
            return
        for line in lines:
            logger.warning("%s: %s: %s", self._name, line, why)
        if unmarked:
            self._say(f"nobody will put the VIP back (do it by `saru link up`): {unmarked}")

    def _take_off(self) -> tuple[list[str], str]:
        """Take the VIPs off. Returns what was done, and why it could not be marked, if so.

        The mark comes first, so that it is there whatever happens in the middle: of one too many
        nothing comes but addresses that are put where they are.
        """
        unmarked = ""

        def mark() -> None:
            nonlocal unmarked
            try:
                self._off.parent.mkdir(parents=True, exist_ok=True)
                self._off.touch()
            except OSError as fault:
                unmarked = str(fault)

        with self._addresses:
            marked = self._off.exists()
            lines = shared.remove_addresses(self._config, mark)
            if not lines and not marked:
                self._off.unlink(missing_ok=True)
            return lines, unmarked if lines else ""

    async def _vips_on(self) -> bool:
        """Put back what was taken off; whether the VIPs are where they should be."""
        if self._config.link is None:
            return True
        try:
            for line in await asyncio.to_thread(self._put_back):
                logger.info("%s: %s: rules in place", self._name, line)
        except (SaruError, OSError) as fault:
            self._say(f"cannot put the VIP back: {fault}")
            return False
        return True

    def _put_back(self) -> list[str]:
        with self._addresses:
            if self._retired or not self._off.exists():
                return []
            lines = shared.add_addresses(self._config)
            self._off.unlink(missing_ok=True)
            return lines

    def _say(self, what: str) -> None:
        """Say what is wrong, once until all is well again."""
        if what not in self._said:
            self._said.add(what)
            logger.warning("%s: %s", self._name, what)


def _interval(config: Config) -> float:
    families = () if install.by_nftables(config) else (Family.IPV4, Family.IPV6)
    with contextlib.suppress(SaruError, OSError):
        if all(install.variant(each) is install.Variant.NFTABLES for each in families):
            return INTERVAL
    return LEGACY_INTERVAL


async def _nftables() -> AsyncIterator[bytes]:
    """The datagrams of nftables' notices; an empty one where some were lost."""
    told = Netfilter()
    try:
        try:
            told.subscribe()
        except OSError as fault:
            raise OutageError(
                f"the kernel tells nothing of nftables' changes: {fault.strerror}; "
                "are you root, and is the module nf_tables there?"
            ) from fault
        while True:
            yield await receive(told.socket) or b""
    finally:
        told.close()
