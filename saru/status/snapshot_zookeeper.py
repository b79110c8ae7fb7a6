# SPDX-License-Identifier: GPL-2.0-or-later
"""The snapshot of a daemon whose directors agree by ZooKeeper."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from saru import __version__, status
from saru.config.tree import Config
from saru.core.ensemble.coordinator import EnsembleCoordinator
from saru.core.ensemble.record import Account
from saru.status import State, Status, snapshot
from saru.status.diagnosis import diagnose
from saru.status.snapshot import MS, Look


def reported(core: EnsembleCoordinator, now: int) -> object:
    """What `held_by` depends on."""
    return (
        [(number, document.version) for number, document in core.documents.items()],
        [holding.held for holding in core.holdings.values()],
        _knows(core, now),
    )


def held_by(core: EnsembleCoordinator, number: int, now: int) -> dict[str, int]:
    """Who holds which blocks of an id: this node's kernel, and others by the newest allocation."""
    holding = core.holdings[number]
    held = {core.node: holding.held} if holding.held else {}
    document = core.documents.get(number)
    if document is not None and _knows(core, now):
        for grant in document.allocation.grants:
            if grant.node != core.node and (bitmap := grant.bitmap()):
                held[grant.node] = bitmap
    return held


def _knows(core: EnsembleCoordinator, now: int) -> bool:
    """Whether an allocation that it has read can be the newest, as far as it knows."""
    return core.connected_since is not None or core.leased(now)


def take(
    core: EnsembleCoordinator,
    config: Config,
    now: int,
    look: Look,
    *,
    accounts: Mapping[str, Account],
    read: int,
    ensemble: status.Ensemble,
    beats: Mapping[str, int],
    roads: tuple[str, ...],
) -> Status:
    """The snapshot at `now`; `accounts` were read at `read`."""
    settings = core.settings
    master = core.node if core.mastership is not None else None
    if master is None and core.reigning is not None and core.reigning.term == core.term:
        master = core.reigning.node
    age = max(0, now - read) // MS if read else None
    names = {core.node, *accounts, *settings.nodes} - set(settings.witnesses)
    directors = [
        _director(core, name, accounts.get(name), master, age, now) for name in sorted(names)
    ]
    registered = tuple(sorted(accounts)) if ensemble.connected else ()
    found = Status(
        cluster=config.cluster.name,
        node=core.node,
        version=__version__,
        incarnation=core.session.incarnation,
        session=str(core.session),
        uptime_ms=(now - core.start) // MS,
        term=str(core.term) if core.term else None,
        role="master" if core.mastership is not None else "follower",
        master=master,
        quorum=status.Quorum(
            rule="zookeeper",
            voters=len(names),
            needed=0,
            contact=registered,
            have=ensemble.connected,
        ),
        lease_left_ms=max(0, core.lease - now) // MS,
        wait_left_ms=0,
        join_left_ms=max(0, core.start + settings.join_delay - now) // MS,
        keepalive_ms=settings.keepalive // MS,
        deadtime_ms=settings.deadtime // MS,
        membership=str(config.cluster.membership),
        dataplane=look.dataplane,
        configuration=str(config.path) if config.path else None,
        guard=look.guard,
        directors=tuple(directors),
        divisions=tuple(
            snapshot.division(
                next(d for d in settings.divisions if d.id == number),
                core.holdings[number],
                newest=core.documents[number].version if number in core.documents else None,
                holders=holders,
                tables=look.tables,
                now=now,
            )
            for number, holders in look.holders.items()
        ),
        counters=snapshot.counters(beats, look.counts, look.late_pushes),
        ping=look.ping,
        roads=roads,
        zookeeper=msgspec.structs.replace(
            ensemble, failsafe=settings.failsafe, failing_safe=core.failing_safe(now)
        ),
    )
    return msgspec.structs.replace(found, problems=diagnose(found))


def _director(
    core: EnsembleCoordinator,
    name: str,
    account: Account | None,
    master: str | None,
    age: int | None,
    now: int,
) -> status.Director:
    own = name == core.node
    if account is None and not own:
        return snapshot.unknown(name, State.UNREGISTERED, core.holdings)
    held = {n: held_by(core, n, now).get(name, 0).bit_count() for n in core.holdings}
    if own or account is None:
        session, term, share, weight = core.session, core.term, core.share, core.offered
        joined, able, left, reach = core.joined(now), core.able, core.left, core.yielding.reach
    else:
        session, term, share, weight = account.session, account.term, account.share, account.weight
        joined, able, left, reach = account.joined, account.able, account.left, account.reach
    states = [State.MASTER] if name == master else []
    if own and core.registered_as is None:
        states.append(State.UNREGISTERED)
    states += snapshot.states(
        waited=True,
        joined=joined,
        able=able,
        weight=weight,
        holds=any(held.values()),
        left=left,
        witness=False,
    )
    yields = core.yielding.yields if own else weight == 0 and bool(share.effective)
    return status.Director(
        name=name,
        states=tuple(states),
        why=snapshot.why(name, states, weight, share, yields),
        weight=share.weight,
        blocks=held,
        heard_ms=0 if own else age,
        session=str(session),
        term=str(term) if term else None,
        waited=True,
        joined=joined,
        able=able,
        reached=reach.count if reach else None,
    )
