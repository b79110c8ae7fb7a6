# SPDX-License-Identifier: GPL-2.0-or-later
"""What a daemon says of itself and its cluster: one typed, frozen snapshot.

`saru status --json` and `saru blocks --json` print these structs as they are. Times are in
milliseconds and relative to the moment of the snapshot, so a reader needs no clock of this host.
`problems` is what is wrong, in words; `diagnose` finds what follows from the snapshot itself.
"""

from __future__ import annotations

import enum

import msgspec


class State(enum.StrEnum):
    """What a director (or witness) is, as this one sees it. One word each; several may hold."""

    MASTER = "master"  # makes the allocations of the current term
    CANDIDATE = "candidate"  # stands for master and has no quorum yet
    DIRECTOR = "director"  # in contact, may hold blocks
    WITNESS = "witness"  # a voter that holds no blocks
    WAITING = "waiting"  # in its start-up wait (initdead), or resting after a resignation
    JOINING = "joining"  # past the start-up wait, before its join_delay has passed
    UNABLE = "unable"  # in contact, but takes no blocks: by its rules, link, or name
    DRAINING = "draining"  # shall hold nothing, and gives its blocks to the others
    DRAINED = "drained"  # shall hold nothing, and does not
    LATE = "late"  # silent for warntime, not yet for deadtime
    SILENT = "silent"  # not heard for deadtime, or never
    FENCED = "fenced"  # promised by enough voters to hold nothing
    REFUSED = "refused"  # its cluster settings differ from ours
    UNREGISTERED = "unregistered"  # has no session with ZooKeeper
    LEFT = "left"  # stopped by its operator; holds nothing


class Quorum(msgspec.Struct, frozen=True, kw_only=True):
    """Who must be in contact for blocks to be held."""

    rule: str
    """`majority` or `none`."""
    voters: int
    """How many voters there are (with no `nodes` configured: how many are heard)."""
    needed: int
    """How many of them, this one included, must be in contact."""
    contact: tuple[str, ...]
    """The voters in two-way contact, this one included, sorted."""
    have: bool
    """True if `len(contact) >= needed`."""


class Ensemble(msgspec.Struct, frozen=True, kw_only=True):
    """How this node stands with ZooKeeper."""

    connected: bool
    """There is a connection, and the cluster's settings are this node's."""
    session: str | None
    """ZooKeeper's number of the session, in hexadecimal; None without one."""
    server: str
    """ADDRESS:PORT of the server it is connected with; empty without one."""
    sessions: int
    """How many sessions there have been since the daemon started."""
    requests: int
    """How many requests the core has made since then."""
    differs: tuple[str, ...] = ()
    """The configuration keys in which the cluster's settings differ from this node's."""
    waiting: str = ""
    """Why it is not registered, in words."""
    failsafe: bool = False
    """Without ZooKeeper it keeps its blocks while all others of the last allocation vouch."""
    failing_safe: bool = False
    """It does so now."""


class Director(msgspec.Struct, frozen=True, kw_only=True):
    """One voter as this node sees it; the node itself is among them."""

    name: str
    states: tuple[State, ...]
    """Most important first; never empty."""
    weight: int
    """0 to 65535; a witness has 0. A drained director keeps its weight for later."""
    blocks: dict[int, int]
    """How many blocks it holds per id, by the newest allocation and its own reports."""
    heard_ms: int | None
    """How long ago its newest beat came; None if never heard, 0 for this node itself."""
    session: str | None
    """`incarnation.number` of its newest session; None if never heard."""
    term: str | None
    """The term it says it is in; None without one or if never heard."""
    waited: bool
    """It is past its start-up wait (it votes)."""
    joined: bool
    """It is past `join_delay` (it may take blocks from live holders)."""
    able: bool
    """Its rules are in place (it may hold blocks)."""
    differs: tuple[str, ...] = ()
    """The configuration keys in which its settings differ from ours; then it is `refused`."""
    why: str = ""
    """Why it is `draining` or `drained`, in words."""
    reached: int | None = None
    """How many ping nodes it reaches; None: not known, or there are none."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One of this node's keys, and what is done with it; names are sorted."""

    number: int
    signing: tuple[str, ...]
    """Who signs with it, this node perhaps among them."""
    accepting: tuple[str, ...]
    """Who accepts it, this node included."""
    lacking: tuple[str, ...]
    """Who is heard and does not accept it."""
    differing: tuple[str, ...]
    """Who has another secret under its number; they are among `lacking`."""
    unheard: tuple[str, ...]
    """Of whom nothing is known now."""

    def __str__(self) -> str:
        names = ", ".join
        said = f"signs for {names(self.signing)}" if self.signing else "signs for nobody"
        if self.lacking:
            said += f"; not accepted by {names(self.lacking)}"
        else:
            said += "; accepted by all that are heard"
        return said + (f"; not heard: {names(self.unheard)}" if self.unheard else "")


class Keyfile(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the request `reload`: what stands in the authkeys file."""

    signing: int
    accepted: tuple[int, ...]


class Reload(msgspec.Struct, frozen=True):
    """The request `reload`; `force`: even if beats are lost by it."""

    force: bool = False


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Neighbouring blocks that one director has held since one moment."""

    first: int
    last: int
    """Inclusive."""
    holder: str | None
    """None: nobody holds them, as far as this node knows."""
    since_ms: int
    """For how long they have been held by `holder` (or been unheld), as this node saw it."""


class Division(msgspec.Struct, frozen=True, kw_only=True):
    """One id: how its blocks are handed out, and what this node's kernel does."""

    id: int
    blocks: int
    seed: int
    version: str | None
    """`term/serial` of the newest allocation this node knows."""
    taken: str | None
    """`term/serial` of the version in this node's kernel; None: no table."""
    held: int
    """How many blocks this node's kernel accepts."""
    unheld: int
    """How many blocks nobody holds."""
    runs: tuple[Run, ...]
    """All blocks in order, without gaps."""
    users: int | None = None
    """How many rules of this node name the id; None if the kernel was not asked."""
    accepted: int | None = None
    rejected: int | None = None
    expired: int | None = None
    no_key: int | None = None
    """Packets, from the kernel's table; None if there is no table."""


class PingNode(msgspec.Struct, frozen=True, kw_only=True):
    """A host beyond the cluster, as this node finds it."""

    address: str
    reached: bool
    answered_ms: int | None
    """How long ago it answered last; None if it never has."""


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """Since the daemon started."""

    beats_sent: int = 0
    beats_received: int = 0
    forged: int = 0
    """Datagrams whose signature is wrong or whose key is unknown."""
    replayed: int = 0
    """Authentic datagrams that came again or were too old."""
    malformed: int = 0
    """Authentic datagrams that do not parse."""
    refused: int = 0
    """Beats of nodes whose settings differ, or that are not in `nodes`."""
    send_failures: int = 0
    lapses: int = 0
    terms: int = 0
    """How many terms this node has been in."""
    fences: int = 0
    """How many fences this node, as master, has brought about."""
    moves: int = 0
    """Blocks gained or lost by this node."""
    late_pushes: int = 0
    """Tables the kernel refused as older than what it has."""


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this node's rules stand; without them it takes no blocks."""

    ok: bool
    state: str
    """In words: `rules in place`, `rules not in place: …`, `eth0: has no carrier`, …"""
    vip: str
    """In words: `up on eth0`, `not up on eth0`, `taken off eth0`, `not ours to set`."""
    lacking: tuple[str, ...] = ()
    """What keeps packets for the VIPs from this node, a line each."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A daemon's snapshot."""

    cluster: str
    node: str
    version: str
    """Of the software."""
    incarnation: int
    session: str
    """`incarnation.number`."""
    uptime_ms: int
    """Since the daemon started."""
    term: str | None
    """`counter.place.incarnation`; None before the first."""
    role: str
    """This node in its term: `follower`, `candidate`, `master` or `resigned`."""
    master: str | None
    """The master this node hears, itself if it is the one; None if it hears none."""
    quorum: Quorum
    lease_left_ms: int
    """How long this node may still accept without hearing anything more; 0: no lease."""
    wait_left_ms: int
    """What is left of the start-up wait; 0 when it is over."""
    join_left_ms: int
    """What is left of `join_delay`; 0 when it is over."""
    keepalive_ms: int
    deadtime_ms: int
    membership: str
    """`heartbeat` or `zookeeper`."""
    dataplane: str
    """Which one: `module`, `nftables`, or `none` on a witness."""
    configuration: str | None
    """The file the daemon read; None: it runs on defaults."""
    guard: Guard
    directors: tuple[Director, ...]
    """Every voter and everybody heard, sorted by name."""
    divisions: tuple[Division, ...]
    """Sorted by id."""
    counters: Counters
    keys: tuple[Key, ...] = ()
    """Sorted by number."""
    ping: tuple[PingNode, ...] = ()
    """The ping nodes, in the order of the configuration."""
    roads: tuple[str, ...] = ()
    """Which interfaces carry no beats now, and why: `eth2: is down`."""
    namesake: str = ""
    """The address from which another daemon with this one's name is heard now; empty: none is."""
    zookeeper: Ensemble | None = None
    """With membership by ZooKeeper."""
    barred: str = ""
    """Why this node shall hold no blocks for the sake of those that it refuses, in words."""
    problems: tuple[str, ...] = ()
    """What is wrong, one sentence each, most important first; empty: nothing."""


class Blocks(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a snapshot that `saru blocks --json` prints."""

    cluster: str
    node: str
    divisions: tuple[Division, ...]


def diagnose(status: Status) -> tuple[str, ...]:
    """What is wrong by the snapshot alone, most important first."""
    found: list[str] = []
    if status.wait_left_ms:
        found.append(
            f"the start-up wait (initdead) lasts another {duration(status.wait_left_ms)}: "
            f"{status.node} does not vote before"
        )
    if status.zookeeper is not None:
        found.extend(_without(status, status.zookeeper))
    elif not status.quorum.have:
        found.append(
            f"no quorum: {len(status.quorum.contact)} of {status.quorum.voters} voters in contact, "
            f"{status.quorum.needed} needed; no blocks can be held here"
        )
    if status.quorum.have and status.master is None and not status.wait_left_ms:
        found.append("no master is heard: nobody hands out blocks")
    if status.barred:
        found.append(f"{status.node} {status.barred}")
    if status.quorum.rule == "none" and len(status.directors) > 1:
        found.append(
            'quorum is "none": directors that are cut off from each other hold the same blocks; '
            "name three or more voters in cluster.nodes to be safe"
        )
    if status.namesake:
        found.append(
            f"another daemon called {status.node} is heard from {status.namesake}: {status.node} "
            "holds no blocks while it is; give each host a director.name of its own"
        )
    if not status.guard.ok:
        found.append(f"{status.guard.state}: {status.node} takes no blocks")
    elif lacking := status.guard.lacking:
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        found.append(
            f"{lacking[0]}{more}: packets of the blocks that {status.node} holds are lost; "
            "mend it: saru link up"
        )
    for node in status.ping:
        if not node.reached:
            ago = "yet" if node.answered_ms is None else f"for {duration(node.answered_ms)}"
            found.append(f"the ping node {node.address} has not answered {ago}")
    found.extend(f"{road}; beats cannot go there" for road in status.roads)
    for division in status.divisions:
        if division.unheld:
            found.append(
                f"id {division.id}: nobody holds {division.unheld} of {division.blocks} blocks"
            )
    for director in status.directors:
        if director.name != status.node:
            found.extend(_ailments(director))
            if State.SILENT in director.states and status.quorum.rule == "none":
                found.append(f"{director.name} may be serving the same blocks as {status.node} now")
    for key in status.keys:
        for name in key.differing:
            found.append(
                f"key {key.number} of {name} has another secret than ours: make them the same, "
                "or number the new one anew"
            )
    if status.counters.forged:
        found.append(
            f"{status.counters.forged} beats had a wrong signature: "
            "compare authkeys, or somebody is forging them"
        )
    return tuple(found)


def _without(status: Status, ensemble: Ensemble) -> list[str]:
    """What is wrong between this node and ZooKeeper."""
    if ensemble.differs:
        keys = ", ".join(ensemble.differs)
        return [
            f"the cluster's settings in ZooKeeper differ from ours in {keys}: {status.node} takes "
            "no part; make them the same, or stop all directors and start them anew"
        ]
    if ensemble.waiting:
        return [f"waits: {ensemble.waiting}"]
    if ensemble.connected:
        return []
    if ensemble.failing_safe:
        said = "all others vouch for it, and it keeps its blocks; nothing can change"
    elif status.lease_left_ms:
        said = f"its blocks are let go in {duration(status.lease_left_ms)}"
    else:
        said = "no blocks can be held here"
    return [f"there is no connection with ZooKeeper: {said}"]


def _ailments(director: Director) -> list[str]:
    states = director.states
    if State.REFUSED in states:
        return [f"{director.name} is refused: its {', '.join(director.differs)} differ from ours"]
    if State.UNREGISTERED in states:
        return [f"{director.name} is not registered with ZooKeeper: does its daemon run?"]
    if State.SILENT in states:
        if director.heard_ms is None:
            return [f"{director.name} has never been heard"]
        return [f"{director.name} has been silent for {duration(director.heard_ms)}"]
    if State.LATE in states and director.heard_ms is not None:
        return [f"{director.name} is late: last heard {duration(director.heard_ms)} ago"]
    if State.UNABLE in states:
        return [
            f"{director.name} takes no blocks: its rules are missing, no client reaches it, or "
            "another host has its name"
        ]
    return []


def duration(milliseconds: int) -> str:
    """A length of time as a person says it, in one or two units: `850 ms`, `3.4 s`, `2 h 5 min`."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds // 1000
    if seconds < 60:
        return f"{milliseconds // 100 / 10:.1f} s"
    for size, unit, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // smaller} {small}"
    return f"{seconds // 60} min {seconds % 60} s"
