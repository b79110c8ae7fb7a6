# SPDX-License-Identifier: GPL-2.0-or-later
"""Beats in which the voters stand by their places in `cluster.nodes` instead of their names.

Beats of 64 voters that name each other would not fit a frame. A place means something to those
alone who have the same list; the digest of the settings in the beat tells whether they have.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import structs

from saru.core.beat import Ask, Beat, Heard, Promise
from saru.core.settings import KEYS, Settings, differing
from saru.core.term import Session


class _Heard(msgspec.Struct, frozen=True, array_like=True):
    node: int | str
    session: Session
    seq: int
    vouch: bool


class _Ask(msgspec.Struct, frozen=True, array_like=True):
    node: int | str
    session: Session


class _Promise(msgspec.Struct, frozen=True, array_like=True):
    node: int | str
    session: Session
    seq: int


_Entry = TypeVar("_Entry", _Heard, _Ask, _Promise)


class Body(msgspec.Struct, frozen=True, array_like=True):
    """A beat as it is sent, under a header that has its sender's name.

    So `beat` has no name; its three lists that name nodes are empty, and stand behind it.
    """

    beat: Beat
    heard: tuple[_Heard, ...]
    asks: tuple[_Ask, ...]
    promises: tuple[_Promise, ...]


class Voters:
    """The list by which one director writes and reads places; empty: everybody goes by name.

    `settings` is the digest of the settings that the list stands in.
    """

    def __init__(self, nodes: tuple[str, ...] = (), settings: bytes = b"") -> None:
        self.settings = settings
        self._nodes = nodes
        self._places: dict[str, int | str] = {name: place for place, name in enumerate(nodes)}

    @classmethod
    def of(cls, settings: Settings) -> Voters:
        """The voters that `settings` name."""
        return cls(settings.nodes, settings.digest())

    def pack(self, beat: Beat) -> Body:
        """A beat of this director's, to be sent. Raises ValueError if its settings are not ours."""
        if self._nodes and not self._shares(beat):
            raise ValueError("a beat with another list of nodes than this director's")
        places = self._places
        return Body(
            beat=structs.replace(beat, node="", heard=(), asks=(), promises=()),
            heard=tuple(
                _Heard(places.get(h.node, h.node), h.session, h.seq, h.vouch) for h in beat.heard
            ),
            asks=tuple(_Ask(places.get(a.node, a.node), a.session) for a in beat.asks),
            promises=tuple(
                _Promise(places.get(p.node, p.node), p.session, p.seq) for p in beat.promises
            ),
        )

    def unpack(self, body: Body, node: str) -> Beat:
        """The beat of `node` that was packed. Raises ValueError for a place that nobody has.

        Of a sender with another list everything is read but what it says of places: whom it means
        is not known here, and it is to be refused with words and not for what it does not say.
        """
        beat = body.beat
        if beat.node or beat.heard or beat.asks or beat.promises:
            raise ValueError("nodes where no beat has any")
        heard, asks, promises = body.heard, body.asks, body.promises
        if not self._shares(beat):
            heard, asks, promises = _by_name(heard), _by_name(asks), _by_name(promises)
        name = self._name
        return structs.replace(
            beat,
            node=node,
            heard=tuple(Heard(name(h.node), h.session, h.seq, h.vouch) for h in heard),
            asks=tuple(Ask(name(a.node), a.session) for a in asks),
            promises=tuple(Promise(name(p.node), p.session, p.seq) for p in promises),
        )

    def _shares(self, beat: Beat) -> bool:
        """Whether the sender of `beat` has the same list."""
        ours, theirs = self.settings, beat.settings
        return ours == theirs or KEYS["nodes"] not in differing(ours, theirs)

    def _name(self, node: int | str) -> str:
        if isinstance(node, str):
            return node
        if not 0 <= node < len(self._nodes):
            raise ValueError(f"place {node} of {len(self._nodes)} nodes")
        return self._nodes[node]


def _by_name(entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    return tuple(entry for entry in entries if isinstance(entry.node, str))
