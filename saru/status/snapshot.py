# SPDX-License-Identifier: GPL-2.0-or-later
"""From the core's state to the snapshot that `saru status` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from saru import __version__, status
from saru.config.tree import Config
from saru.core.beat import Claim, Grant, Role
from saru.core.coordinator import Coordinator
from saru.core.holding import Holding
from saru.core.peer import Peer
from saru.core.settings import Division
from saru.core.share import Share
from saru.core.term import Version
from saru.dataplane import TableState
from saru.status import State, Status
from saru.status.diagnosis import diagnose
from saru.status.holders import Holders

MS = 1_000_000


def reported(core: Coordinator) -> object:
    """What `held_by` depends on: it says the same as long as this is the same."""
    peers = core.peers.values()
    return (
        core.library.known,
        [(p.beat.session, p.beat.reports) for p in peers if p.beat],
        [p.told for p in peers],
        [h.held for h in core.holdings.values()],
    )


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


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon knows beside its core."""

    holders: Mapping[int, Holders]
    tables: Sequence[TableState]
    guard: status.Guard
    counts: Mapping[str, int]
    """What the book has counted."""
    late_pushes: int
    dataplane: str
    ping: tuple[status.PingNode, ...] = ()


def take(
    core: Coordinator,
    config: Config,
    now: int,
    look: Look,
    *,
    membership: Mapping[str, int],
    keys: tuple[status.Key, ...] = (),
    roads: tuple[str, ...] = (),
    namesake: str = "",
) -> Status:
    """The snapshot at `now`, with the problems that follow from it."""
    settings = core.settings
    master = core.node if core.role is Role.MASTER else None
    if master is None and core.hears(now) and (peer := core.master()) is not None:
        master = peer.name
    contact = sorted([core.node, *(p.name for p in core.contacts(now))])
    start = core.start
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
        dataplane=look.dataplane,
        configuration=str(config.path) if config.path else None,
        guard=look.guard,
        barred=str(core.rivals.barred or ""),
        directors=_directors(core, now),
        divisions=tuple(
            division(
                each,
                core.holdings[each.id],
                newest=_newest(core, each.id),
                holders=look.holders[each.id],
                tables=look.tables,
                now=now,
            )
            for each in settings.divisions
        ),
        counters=counters(membership, look.counts, look.late_pushes),
        ping=look.ping,
        roads=roads,
        namesake=namesake,
        keys=keys,
    )
    return msgspec.structs.replace(snapshot, problems=diagnose(snapshot))


def _directors(core: Coordinator, now: int) -> tuple[status.Director, ...]:
    """Every voter, everybody heard, and who is refused; sorted by name."""
    held = {number: held_by(core, number, now) for number in core.holdings}
    found = [_this(core, now)]
    found += [_other(core, peer, held, now) for peer in core.peers.values()]
    found += [
        _unheard(core, name, tuple(keys))
        for name, keys in core.refused.items()
        if name not in core.peers
    ]
    return tuple(sorted(found, key=lambda director: director.name))


def _newest(core: Coordinator, number: int) -> Version | None:
    allocation = core.library.newest(number, core.term)
    return allocation.version if allocation else None


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
    found = [roles[core.role]] if core.role in roles else []
    witness = core.node in core.settings.witnesses
    found += states(
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
        states=tuple(found),
        why=why(
            core.node,
            found,
            core.offered,
            core.share,
            core.yielding.yields,
            core.claim(now),
        ),
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
    found: list[State] = []
    if keys:
        found.append(State.REFUSED)
    elif not peer.fresh(now, core.settings.lease) and not beat.left:
        found.append(State.SILENT)
    elif peer.told == "late":
        found.append(State.LATE)
    if beat.role is Role.MASTER and beat.term == core.term and not found:
        found.append(State.MASTER)
    blocks = {number: by_name.get(peer.name, 0).bit_count() for number, by_name in held.items()}
    found += states(
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
        states=tuple(found),
        why=why(peer.name, found, beat.weight, beat.share, beat.yields, beat.claim),
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
    return unknown(name, State.REFUSED if keys else State.SILENT, core.holdings, keys)


def unknown(
    name: str, state: State, ids: Iterable[int], differs: tuple[str, ...] = ()
) -> status.Director:
    """One of whom nothing is known but its `state`, and the settings in which it `differs`."""
    return status.Director(
        name=name,
        states=(state,),
        weight=0,
        blocks=dict.fromkeys(ids, 0),
        heard_ms=None,
        session=None,
        term=None,
        waited=False,
        joined=False,
        able=False,
        differs=differs,
    )


def states(
    *,
    waited: bool,
    joined: bool,
    able: bool,
    weight: int,
    holds: bool,
    left: bool,
    witness: bool,
) -> list[State]:
    """What a director is, beside its role."""
    if left:
        return [State.LEFT]
    found = [State.WITNESS if witness else State.DIRECTOR]
    if not waited:
        found.append(State.WAITING)
    elif not joined and not witness:
        found.append(State.JOINING)
    if witness:
        return found
    if not able:
        found.append(State.UNABLE)
    if not weight:
        found.append(State.DRAINING if holds else State.DRAINED)
    return found


def why(
    node: str,
    found: list[State],
    weight: int,
    share: Share | None,
    yields: bool,
    claim: Claim = Claim.NOTHING,
) -> str:
    """Why a director shall hold no blocks, if that is so."""
    if weight or not {State.DRAINING, State.DRAINED} & set(found):
        return ""
    if share is not None and share.drained:
        return f"drained by an operator at {share.by}, until: saru undrain {node}"
    if yields:
        return "gives way: it reaches fewer ping nodes than another director"
    if claim is Claim.GIVES_WAY:
        return "gives way to a director whose settings differ"
    if claim is Claim.WAITS:
        return "takes no blocks yet: a director whose settings differ may hold some"
    if share is not None and share.weight:
        return "is about to leave, and hands its blocks over"
    by = f"an operator at {share.by}" if share is not None and share.by else "its configuration"
    return f"its weight is 0 by {by}: it shall hold no blocks"


def division(
    division: Division,
    holding: Holding,
    *,
    newest: Version | None,
    holders: Holders,
    tables: Iterable[TableState],
    now: int,
) -> status.Division:
    """One id; `newest` is the version of the newest allocation that this node knows."""
    table = next((t for t in tables if t.id == division.id), None)
    return status.Division(
        id=division.id,
        blocks=division.blocks,
        seed=division.seed,
        version=str(newest) if newest else None,
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
