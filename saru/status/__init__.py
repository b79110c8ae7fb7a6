# SPDX-License-Identifier: GPL-2.0-or-later
"""What a daemon says of itself and its cluster: one typed, frozen snapshot.

`saru status --json` and `saru blocks --json` print these structs as they are. Times are in
milliseconds and relative to the moment of the snapshot, so a reader needs no clock of this host.
`problems` is what is wrong, in words; `diagnosis` finds what follows from the snapshot itself.
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
