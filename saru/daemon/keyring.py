# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's keys: read anew while it runs, and which of them the others sign with and accept.

Each director's beats say which keys it accepts, by number and mark. So each knows whether a change
of its own keys would cost a beat: to sign with a key that somebody heard does not accept, or to
drop one that somebody heard signs with. It refuses to, unless it must.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from saru import status
from saru.config import authkeys
from saru.config.authkeys import Keys
from saru.control import Arguments, arguments_as
from saru.core.beat import Beat, KeyMark
from saru.core.coordinator import Coordinator
from saru.errors import SaruError
from saru.status import Keyfile
from saru.wire.codec import Codec

logger = logging.getLogger("saru")


class Keyring:
    """The keys that a codec uses, and what others do with them. `now` is the core's clock."""

    def __init__(
        self,
        path: Path | None,
        codec: Codec,
        core: Callable[[], Coordinator],
        now: Callable[[], int],
    ) -> None:
        self._path = path
        self._codec = codec
        self._core = core
        self._now = now
        self.marks = authkeys.marks(codec.keys)

    async def reload(self, arguments: Arguments) -> Keyfile:
        """The request `reload`: read the file again."""
        return self.load(force=arguments_as(arguments, status.Reload).force)

    def load(self, *, force: bool = False) -> Keyfile:
        """Read the file again, and use what stands there from now on.

        Raises ConfigError if it is faulty, SaruError if a beat of somebody's would be lost (unless
        `force`); then the keys stay as they were.
        """
        if self._path is None:
            raise SaruError(
                "this daemon began without an authkeys file; name one in heartbeat.authkeys and "
                "restart it, or write /etc/saru/authkeys and restart it"
            )
        keys = authkeys.load(self._path)
        hindrances = [] if force else list(self._hindrances(keys))
        if hindrances:
            raise SaruError(f"the keys stay as they were: {'; '.join(hindrances)}")
        if keys != self._codec.keys:
            self._codec.keys = keys
            self.marks = authkeys.marks(keys)
            logger.info("%s: %s", self._codec.node, keys)
        return Keyfile(signing=keys.signing, accepted=tuple(sorted(keys.secrets)))

    def load_or_tell(self) -> None:
        """The same, for a signal: whoever sent it reads the log."""
        try:
            self.load()
        except SaruError as error:
            for line in str(error).splitlines():
                logger.error("%s", line)

    def status(self) -> tuple[status.Key, ...]:
        """Who does what with each of this node's keys."""
        core, keys, now = self._core(), self._codec.keys, self._now()
        beats = dict(self._heard(now))
        unheard = tuple(sorted(core.peers.keys() - beats.keys()))
        signs = self._codec.signs()
        found = []
        for mark in self.marks:
            accepting = [name for name, beat in beats.items() if mark in beat.keys]
            other = [
                name
                for name, beat in beats.items()
                if any(k.number == mark.number and k.mark != mark.mark for k in beat.keys)
            ]
            signing = [name for name in beats if signs.get(name) == mark.number]
            ours = [core.node] if mark.number == keys.signing else []
            found.append(
                status.Key(
                    number=mark.number,
                    signing=tuple(sorted([*signing, *ours])),
                    accepting=tuple(sorted([*accepting, core.node])),
                    lacking=tuple(sorted(beats.keys() - set(accepting))),
                    differing=tuple(sorted(other)),
                    unheard=unheard,
                )
            )
        return tuple(found)

    def _heard(self, now: int) -> Iterator[tuple[str, Beat]]:
        core = self._core()
        for peer in core.peers.values():
            beat = peer.beat
            if beat is not None and not beat.left and peer.fresh(now, core.settings.lease):
                yield peer.name, beat

    def _hindrances(self, keys: Keys) -> Iterator[str]:
        """What beats would be lost, and the mend."""
        new = {mark.number: mark for mark in authkeys.marks(keys)}
        signing = new[keys.signing] if new[keys.signing] != self._signing() else None
        signs = self._codec.signs()
        for name, beat in sorted(self._heard(self._now())):
            if signing is not None and signing not in beat.keys:
                yield (
                    f"{name} does not accept key {keys.signing} yet; add it there first, "
                    "and sign with it then"
                )
            key = signs.get(name)
            if key is not None and key != keys.signing and self._lost(key, new):
                yield f"{name} still signs with key {key}; sign with another one there first"

    def _signing(self) -> KeyMark:
        return next(mark for mark in self.marks if mark.number == self._codec.keys.signing)

    def _lost(self, number: int, new: dict[int, KeyMark]) -> bool:
        """Whether a key that is accepted now is not among the new ones."""
        old = next((mark for mark in self.marks if mark.number == number), None)
        return old is not None and new.get(number) != old
