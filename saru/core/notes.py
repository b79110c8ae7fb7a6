# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines that tell the operator what changed: who, what, why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from saru.core.action import Change, Note
from saru.core.beat import Beat
from saru.core.peer import Peer
from saru.core.reach import Yielding
from saru.core.rivals import Barred
from saru.core.settings import Settings
from saru.core.term import Version


def blocks_note(node: str, number: int, version: Version, gained: int, lost: int) -> Iterator[Note]:
    """What a version that the kernel has taken gave and took."""
    parts = []
    if gained:
        parts.append(f"gained {gained.bit_count()}")
    if lost:
        parts.append(f"lost {lost.bit_count()}")
    if parts:
        text = f"{' and '.join(parts)} blocks of id {number}"
        yield Note(Change.BLOCKS, node, text, f"version {version}")


def yield_note(node: str, yielding: Yielding, takers: Iterable[Beat]) -> Note:
    """That this node gives way, or does so no more, and what everybody reaches."""
    reached = {node: yielding.reach} | {beat.node: beat.reach for beat in takers}
    counts = [f"{name} {reach.count if reach else '?'}" for name, reach in reached.items()]
    what = "gives way" if yielding.yields else "takes part again"
    return Note(Change.YIELD, node, what, f"ping nodes reached: {', '.join(counts)}")


def bar_note(node: str, barred: Barred | None) -> Note:
    """That this node shall hold no blocks for the sake of one that it refuses, or may again."""
    if barred is None:
        why = "nobody whose settings differ is in its way"
        return Note(Change.YIELD, node, "takes part again", why)
    return Note(Change.YIELD, node, barred.what, barred.why)


def watch(peers: Iterable[Peer], now: int, settings: Settings) -> Iterator[Note]:
    """Members that are heard again, late, or silent."""
    for peer in peers:
        if peer.beat is None:
            continue
        age = now - peer.received
        if peer.beat.left:
            state, change, what = "left", Change.LEFT, "left"
        elif age >= settings.lease:
            state, change, what = "silent", Change.SILENT, "silent"
        elif settings.warntime and age >= settings.warntime:
            state, change, what = "late", Change.LATE, "late"
        else:
            state, change, what = "seen", Change.SEEN, "seen"
        if state == peer.told:
            continue
        back = peer.told == "late" and state == "seen"
        peer.told = state
        why = f"session {peer.beat.session}"
        if state in ("silent", "late"):
            why = f"no beat for {age / 1e9:.3g} s"
        elif back:
            why = "its beats come in time again"
        yield Note(change, peer.name, what, why)
