# SPDX-License-Identifier: GPL-2.0-or-later
"""From the core's state to the snapshot that `saru status` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from saru import __version__, status
from saru.config_tree import Config
from saru.core.beat import Grant, Role
from saru.core.coordinator import Coordinator
from saru.core.peer import Peer
from saru.core.share import Share
from saru.core.term import Version
from saru.dataplane import TableState
from saru.holders import Holders
from saru.status import State, Status

MS = 1_000_000


def held_by(core: Coordinator, number: int, now: int) -> dict[str, int]:
    """Who holds which blocks of an id, by their own reports."""
    holding = core.holdings[number]
    held = {core.node: holding.held} if holding.held else {}
    grants: dict[Version, dict[str, Grant]] = {}  # there are few versions and many directors
    for peer in core.peers.values():
        beat = peer.beat
        if beat is None or not peer.fresh(now, core.settings.lease):
            continue
        for report in beat.reports:
            if report.id != number or report.taken is None:
                continue
            if report.taken not in grants:
                allocation = core.library.get(number, report.taken)
                grants[report.taken] = {g.node: g for g in allocation.grants} if allocation else {}
            grant = grants[report.taken].get(peer.name)
            if grant is not None and grant.session == beat.session:
                held[peer.name] = grant.bitmap()
    return held


def take(
    core: Coordinator,
    config: Config,
    now: int,
    *,
    holders: Mapping[int, Holders],
    tables: Iterable[TableState],
    guard: status.Guard,
    counters: status.Counters,
    keys: tuple[status.Key, ...] = (),
    dataplane: str,
    ping: tuple[status.PingNode, ...] = (),
    roads: tuple[str, ...] = (),
) -> Status:
    """The snapshot at `now`, with the problems that follow from it."""
    settings = core.settings
    master = core.node if core.role is Role.MASTER else None
    if master is None and core.hears(now) and (peer := core.master()) is not None:
        master = peer.name
    contact = sorted([core.node, *(p.name for p in core.contacts(now))])
    start = core.start
    held = {number: held_by(core, number, now) for number in core.holdings}
    directors = [_this(core, now)]
    directors += [_other(core, peer, held, now) for peer in core.peers.values()]
    directors += [
        _unheard(core, name, tuple(keys))
        for name, keys in core.refused.items()
        if name not in core.peers
    ]
    snapshot = Status(
        cluster=config.cluster.name,
        node=core.node,
        version=__version__,
        incarnation=core.session.incarnation,
        session=str(core.session),
        uptime_ms=(now - start) // MS,
        term=str(core.term) if core.term else None,
        role=core.role.name.lower(),
        master=master,
        quorum=status.Quorum(
            rule=str(settings.quorum),
            voters=core.voters,
            needed=core.needed,
            contact=tuple(contact),
            have=len(contact) >= core.needed,
        ),
        lease_left_ms=max(0, core.lease - now) // MS,
        wait_left_ms=max(0, start + settings.start_wait - now) // MS,
        join_left_ms=max(0, start + settings.join_delay - now) // MS,
        keepalive_ms=settings.keepalive // MS,
        deadtime_ms=settings.deadtime // MS,
        membership=str(config.cluster.membership),
        dataplane=dataplane,
        configuration=str(config.path) if config.path else None,
        guard=guard,
        directors=tuple(sorted(directors, key=lambda d: d.name)),
        divisions=tuple(
            _division(core, number, holders[number], tables, now) for number in holders
        ),
        counters=counters,
        ping=ping,
        roads=roads,
        keys=keys,
    )
    return msgspec.structs.replace(snapshot, problems=status.diagnose(snapshot))


def counters(
    membership: Mapping[str, int], counts: Mapping[str, int], late_pushes: int
) -> status.Counters:
    """What was counted: by the membership, by the daemon's book, and by its hand in the kernel."""
    return status.Counters(
        beats_sent=membership.get("sent", 0),
        beats_received=membership.get("accepted", 0),
        forged=membership.get("forged", 0) + membership.get("unknown_key", 0),
        replayed=membership.get("late", 0),
        malformed=membership.get("malformed", 0),
        send_failures=sum(n for name, n in membership.items() if name.endswith(".unsent")),
        late_pushes=late_pushes,
        **counts,
    )


def _this(core: Coordinator, now: int) -> status.Director:
    roles = {Role.MASTER: State.MASTER, Role.CANDIDATE: State.CANDIDATE}
    states = [roles[core.role]] if core.role in roles else []
    witness = core.node in core.settings.witnesses
    states += _states(
        waited=core.waited(now),
        joined=core.joined(now),
        able=core.able,
        weight=core.offered,
        holds=any(h.held for h in core.holdings.values()),
        left=core.left,
        witness=witness,
    )
    return status.Director(
        name=core.node,
        states=tuple(states),
        why=_why(core.node, states, core.offered, core.share, core.yielding.yields),
        weight=0 if witness else core.share.weight,
        blocks={number: h.held.bit_count() for number, h in core.holdings.items()},
        heard_ms=0,
        session=str(core.session),
        term=str(core.term) if core.term else None,
        waited=core.waited(now),
        joined=core.joined(now),
        able=core.able,
        reached=core.yielding.reach.count if core.yielding.reach else None,
    )


def _other(
    core: Coordinator, peer: Peer, held: Mapping[int, Mapping[str, int]], now: int
) -> status.Director:
    witness = peer.name in core.settings.witnesses
    keys = tuple(core.refused.get(peer.name, ()))
    beat = peer.beat
    if beat is None:
        return _unheard(core, peer.name, keys)
    states: list[State] = []
    if keys:
        states.append(State.REFUSED)
    elif not peer.fresh(now, core.settings.lease) and not beat.left:
        states.append(State.SILENT)
    elif peer.told == "late":
        states.append(State.LATE)
    if beat.role is Role.MASTER and beat.term == core.term and not states:
        states.append(State.MASTER)
    blocks = {number: by_name.get(peer.name, 0).bit_count() for number, by_name in held.items()}
    states += _states(
        waited=beat.waited,
        joined=beat.joined,
        able=beat.able,
        weight=beat.weight,
        holds=any(blocks.values()),
        left=beat.left,
        witness=witness,
    )
    return status.Director(
        name=peer.name,
        states=tuple(states),
        why=_why(peer.name, states, beat.weight, beat.share, beat.yields),
        weight=0 if witness else (beat.share.weight if beat.share else beat.weight),
        blocks=blocks,
        heard_ms=(now - peer.received) // MS,
        session=str(beat.session),
        term=str(beat.term) if beat.term else None,
        waited=beat.waited,
        joined=beat.joined,
        able=beat.able,
        reached=beat.reach.count if beat.reach else None,
        differs=keys,
    )


def _unheard(core: Coordinator, name: str, keys: tuple[str, ...]) -> status.Director:
    """One of whom no beat was admitted: never heard, or refused for the settings `keys`."""
    return status.Director(
        name=name,
        states=(State.REFUSED if keys else State.SILENT,),
        weight=0,
        blocks=dict.fromkeys(core.holdings, 0),
        heard_ms=None,
        session=None,
        term=None,
        waited=False,
        joined=False,
        able=False,
        differs=keys,
    )


def _states(
    *,
    waited: bool,
    joined: bool,
    able: bool,
    weight: int,
    holds: bool,
    left: bool,
    witness: bool,
) -> list[State]:
    if left:
        return [State.LEFT]
    states = [State.WITNESS if witness else State.DIRECTOR]
    if not waited:
        states.append(State.WAITING)
    elif not joined and not witness:
        states.append(State.JOINING)
    if witness:
        return states
    if not able:
        states.append(State.UNABLE)
    if not weight:
        states.append(State.DRAINING if holds else State.DRAINED)
    return states


def _why(node: str, states: list[State], weight: int, share: Share | None, yields: bool) -> str:
    """Why a director shall hold no blocks, if that is so."""
    if weight or not {State.DRAINING, State.DRAINED} & set(states):
        return ""
    if share is not None and share.drained:
        return f"drained by an operator at {share.by}, until: saru undrain {node}"
    if yields:
        return "gives way: it reaches fewer ping nodes than another director"
    if share is not None and share.weight:
        return "is about to leave, and hands its blocks over"
    by = f"an operator at {share.by}" if share is not None and share.by else "its configuration"
    return f"its weight is 0 by {by}: it shall hold no blocks"


def _division(
    core: Coordinator, number: int, holders: Holders, tables: Iterable[TableState], now: int
) -> status.Division:
    division = next(d for d in core.settings.divisions if d.id == number)
    newest = core.library.newest(number, core.term)
    holding = core.holdings[number]
    table = next((t for t in tables if t.id == number), None)
    return status.Division(
        id=number,
        blocks=division.blocks,
        seed=division.seed,
        version=str(newest.version) if newest else None,
        taken=str(holding.taken) if holding.taken else None,
        held=holding.held.bit_count(),
        unheld=holders.unheld,
        runs=holders.runs(now),
        users=table.users if table else None,
        accepted=table.accepted if table else None,
        rejected=table.rejected if table else None,
        expired=table.expired if table else None,
        no_key=table.no_key if table else None,
    )
