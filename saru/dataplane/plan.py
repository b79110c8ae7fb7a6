# SPDX-License-Identifier: GPL-2.0-or-later
"""Which table may come after the one there is; what the module checks in the kernel. Pure."""

from __future__ import annotations

import msgspec

from saru.core.term import Version
from saru.dataplane import Table
from saru.errors import SaruError, StaleError

PASSED = "the table's deadline has passed"


def succeeds(there: Table | None, new: Table, now: int) -> Table:
    """The new table, if it may come after the one there is."""
    if new.deadline - now > new.lease_max:
        raise _too_far()
    if there is None or new.version > there.version:
        return new
    if new.version < there.version:
        raise StaleError("the version is older than the table's")
    if now >= there.deadline:
        raise StaleError(f"{PASSED}; only a newer version can replace it")
    same = (new.blocks, new.seed) == (there.blocks, there.seed)
    if not same or new.held & ~there.held:
        raise SaruError(
            "the kernel refuses: this version came before, and not with all of these blocks"
        )
    return new


def moved(id_: int, there: Table | None, version: Version, deadline: int, now: int) -> Table:
    """The table with another deadline, if it is of the version and its own has not passed."""
    if there is None:
        raise StaleError(f"there is no table of id {id_} to renew")
    if there.version != version:
        raise StaleError("the table has another version")
    if now >= there.deadline:
        raise StaleError(PASSED)
    if deadline - now > there.lease_max:
        raise _too_far()
    return msgspec.structs.replace(there, deadline=deadline)


def only_adds(there: Table | None, new: Table) -> bool:
    """Whether the new table accepts all that the old one did, and for no shorter time."""
    return (
        there is not None
        and (there.blocks, there.seed) == (new.blocks, new.seed)
        and not there.held & ~new.held
        and there.deadline <= new.deadline
    )


def _too_far() -> SaruError:
    # The words are the module's, so that both read alike.
    return SaruError("the kernel refuses: the deadline is further away than the longest lease")
