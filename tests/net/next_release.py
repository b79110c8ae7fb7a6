# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru` of a next release, as far as the one of today can tell: its beats have one field more.

    python -m tests.net.next_release STEP WORD...

is `saru WORD...` of it. STEP is 0 if it goes on from what a pause of today's release leaves, and 1
if what a state means has changed.
"""

from __future__ import annotations

import sys

import saru
from saru.core import beat

VERSION = "next"


class Beat(beat.Beat, frozen=True, array_like=True):
    """What a director tells the others, and something that those of today know nothing of."""

    added: tuple[str, int] = ("since the next release", 7)


def upgrade(step: int) -> None:
    """Have all that is loaded from now on speak of these beats."""
    assert "saru.wire.codec" not in sys.modules
    vars(saru).update(__version__=VERSION)
    vars(beat).update(Beat=Beat, Message=Beat | beat.Allocation)
    from saru.state import pause
    from saru.wire import voters

    assert vars(voters)["Beat"] is Beat
    vars(pause).update(FORMAT=pause.FORMAT + step)


if __name__ == "__main__":
    upgrade(int(sys.argv[1]))
    from saru import cli

    sys.exit(cli.run(sys.argv[2:]))
