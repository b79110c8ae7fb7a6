# SPDX-License-Identifier: GPL-2.0-or-later
"""What the operator has said of a director's share, and how that is said from elsewhere.

An order names what it changes: a revision of the share, in one life of the director. So it is
carried out once, however often, late or out of order its copies come, and of two orders that cross
each other one is carried out and the other's giver sees that it was not.
"""

from __future__ import annotations

import msgspec


class Share(msgspec.Struct, frozen=True, array_like=True):
    """One director's share: its `weight` (0 to 65535), unless it is drained.

    `by` is the node at which the last change was asked for, empty if it comes from the
    configuration. `revision` counts the changes of one incarnation.
    """

    weight: int
    drained: bool = False
    by: str = ""
    revision: int = 0

    @property
    def effective(self) -> int:
        """The weight that counts."""
        return 0 if self.drained else self.weight

    def changed(self, by: str, *, weight: int | None = None, drained: bool | None = None) -> Share:
        """The next revision; None leaves a thing as it is."""
        return Share(
            weight=self.weight if weight is None else weight,
            drained=self.drained if drained is None else drained,
            by=by,
            revision=self.revision + 1,
        )

    def grants(self, *, weight: int | None = None, drained: bool | None = None) -> bool:
        """Whether these are its values already."""
        return weight in (None, self.weight) and drained in (None, self.drained)


class Order(msgspec.Struct, frozen=True, array_like=True):
    """`by` asks `node` to change its share, as it is in `revision` of its life `incarnation`."""

    node: str
    incarnation: int
    revision: int
    by: str
    weight: int | None = None
    drained: bool | None = None

    def obeyed(self, share: Share, node: str, incarnation: int) -> Share | None:
        """What becomes of the share of `node`; None if the order is not, or no more, for it."""
        if (self.node, self.incarnation, self.revision) != (node, incarnation, share.revision):
            return None
        return share.changed(self.by, weight=self.weight, drained=self.drained)
