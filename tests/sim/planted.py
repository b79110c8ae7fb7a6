# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules taken out of the core, one at a time, to prove that the simulation would notice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

from saru.core.coordinator import Coordinator
from saru.core.fence import Fences, Promises
from saru.core.granting import Director, Lookup, Standing, _Ledger
from saru.core.peer import Peer
from saru.core.settings import Settings
from saru.core.term import Term
from tests.sim.world import Kernel


@contextlib.contextmanager
def no_lapse() -> Iterator[None]:
    """Without R3: a director whose lease has passed goes on as if nothing had happened."""

    def begin(_self: Coordinator, _now: int) -> None:
        return

    with mock.patch.object(Coordinator, "_begin", begin):
        yield


@contextlib.contextmanager
def forget_unacknowledged() -> Iterator[None]:
    """Without R5's clause on versions not yet acknowledged."""
    whole = _Ledger.may_hold

    def may_hold(self: _Ledger, director: Director, lookup: Lookup) -> int:
        with mock.patch.object(self, "issued", []):
            return whole(self, director, lookup)

    with mock.patch.object(_Ledger, "may_hold", may_hold):
        yield


@contextlib.contextmanager
def one_step() -> Iterator[None]:
    """Without R5's two steps: a block goes into new hands while the old ones still hold it."""

    def may_hold(self: _Ledger, director: Director, _lookup: Lookup) -> int:
        return self.everything if director.standing is Standing.UNKNOWN else 0

    with mock.patch.object(_Ledger, "may_hold", may_hold):
        yield


@contextlib.contextmanager
def no_silence() -> Iterator[None]:
    """Without R6's silence: voters promise as soon as they are asked."""

    def silent_at(_self: Promises, _peer: Peer) -> int:
        return 0

    with mock.patch.object(Promises, "silent_at", silent_at):
        yield


@contextlib.contextmanager
def one_promise_less() -> Iterator[None]:
    """With one promise fewer than R6 asks for."""
    whole = Fences.__init__

    def init(self: Fences, settings: Settings, term: Term, voters: int, needed: int) -> None:
        whole(self, settings, term, voters - 1, needed)

    with mock.patch.object(Fences, "__init__", init):
        yield


@contextlib.contextmanager
def no_deadline() -> Iterator[None]:
    """With a kernel that goes on accepting when its deadline has passed."""

    def accepts(self: Kernel) -> int:
        return self.held if self.version else 0

    with mock.patch.object(Kernel, "accepts", accepts):
        yield


Plant = Callable[[], contextlib.AbstractContextManager[None]]

PLANTED: dict[str, Plant] = {
    "R3 lapse": no_lapse,
    "R5 unacknowledged versions": forget_unacknowledged,
    "R5 two steps": one_step,
    "R6 silence": no_silence,
    "R6 one of the promises": one_promise_less,
    "the kernel's deadline": no_deadline,
}
