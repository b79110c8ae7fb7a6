# SPDX-License-Identifier: GPL-2.0-or-later
"""The authkeys file: the secrets that sign beats, in Linux-HA's format.

    # comment
    auth 2
    1 sha256 the-old-secret
    2 sha256 the-new-secret

`auth` names the key that signs; a beat signed with any key of the file is accepted. So a secret is
changed without a break in three steps, each on every director in turn: add the new key; point
`auth` at it; take the old key out. `saru.daemon.keyring` reads the file again while the daemon
runs. Key numbers are 1 to 255, a secret is one word.

Whatever the method word, the secret is used with HMAC-SHA256. `sha1` and `md5` are read so that a
file from a Linux-HA cluster serves as it stands. `crc` is refused: it has no secret.

The file must be mode 600 or 400 and belong to root or to the user that reads it.
"""

from __future__ import annotations

import hmac
from pathlib import Path

import msgspec

from saru.config import guarded
from saru.core.beat import KeyMark
from saru.errors import ConfigError

NUMBER_MAX = 255  # the key's number is one byte of the datagram
UNSIGNED = 0  # the number of the key that everybody knows
_METHODS = ("sha256", "sha1", "md5")


class Keys(msgspec.Struct, frozen=True):
    """The valid secrets by number, and the number of the one that signs."""

    signing: int
    secrets: dict[int, bytes]

    def __repr__(self) -> str:
        return f"Keys(signing={self.signing}, numbers={sorted(self.secrets)})"  # no secrets in logs

    def __str__(self) -> str:
        accepted = ", ".join(map(str, sorted(self.secrets)))
        return f"signs with key {self.signing}, accepts {accepted}"


# Without a file beats carry a signature all the same, made with a secret that is none: it guards
# against damage, not against malice. No file can contain this key's number.
NO_SECRET = Keys(signing=UNSIGNED, secrets={UNSIGNED: b""})


def marks(keys: Keys) -> tuple[KeyMark, ...]:
    """By which others can tell whether they have the same keys, by number."""
    return tuple(
        KeyMark(number, hmac.digest(secret, b"saru: mark of a key", "sha256")[:4])
        for number, secret in sorted(keys.secrets.items())
    )


def load(path: Path | None) -> Keys:
    """The keys in the file at `path`; None: the key that everybody knows.

    Raises ConfigError with every fault found, each as file:line.
    """
    if path is None:
        return NO_SECRET
    return parse(guarded.read(path), str(path))


def parse(content: bytes, place: str) -> Keys:
    """The keys in a file's content; `place` names it in errors."""
    errors: list[str] = []
    signing: tuple[int, int] | None = None  # the key's number and the line that names it
    secrets: dict[int, bytes] = {}
    for line, raw in enumerate(content.splitlines(), 1):
        words = raw.split()
        if not words or words[0].startswith(b"#"):
            continue
        try:
            if words[0] != b"auth":
                number, secret = _key(words)
                if number in secrets:
                    raise ValueError(f"key {number} comes twice; number each key anew")
                secrets[number] = secret
            elif signing is not None:
                raise ValueError("auth comes twice; keep one line that names the signing key")
            else:
                signing = (_auth(words), line)
        except ValueError as fault:
            errors.append(f"{place}:{line}: {fault}")
    if signing is None:
        if not errors:
            errors.append(f'{place}: no line says which key signs; write "auth 1", for example')
    elif signing[0] not in secrets and not errors:
        errors.append(
            f"{place}:{signing[1]}: there is no key {signing[0]}; "
            f'write a line "{signing[0]} sha256 SECRET"'
        )
    if errors or signing is None:
        raise ConfigError(errors)
    return Keys(signing=signing[0], secrets=secrets)


def _number(word: bytes) -> int:
    if not word.isdigit() or len(word) > 3 or not 1 <= int(word) <= NUMBER_MAX:
        # What is too long for a number is not shown: it may be the secret.
        what = f'"{_shown(word)}"' if len(word) <= 3 else "the first word"
        raise ValueError(f"{what} is no key number; write a number from 1 to {NUMBER_MAX}")
    return int(word)


def _auth(words: list[bytes]) -> int:
    if len(words) != 2:
        raise ValueError('auth names one key, the one that signs; write "auth 1", for example')
    return _number(words[1])


def _key(words: list[bytes]) -> tuple[int, bytes]:
    number = _number(words[0])
    # An unknown word is not shown: it may be the secret, or a part of it.
    method = _shown(words[1]) if len(words) > 1 else ""
    if method == "crc":
        raise ValueError(f'method "crc" has no secret; write "{number} sha256 SECRET"')
    if method not in _METHODS:
        raise ValueError(f'key {number} has no known method; write "{number} sha256 SECRET"')
    if len(words) != 3:
        what = "has no secret" if len(words) == 2 else "has blanks in its secret"
        raise ValueError(f'key {number} {what}; write "{number} {method} SECRET", one word')
    return number, words[2]


def _shown(word: bytes) -> str:
    return word.decode("utf-8", "backslashreplace")
