# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a TOML document key by key, so that every fault in it is found in one go.

A reader takes a raw value and returns the typed one, or raises ValueError with a text of two
halves: what is wrong with the value, and the mend.
"""

from __future__ import annotations

import difflib
import enum
import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from saru.config import duration
from saru.config.quotation import line, shown

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)
Reader = Callable[[object], T]

NAME_MAX = 63  # the length of a host name's label, and of a name in a beat
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_INTERFACE_MAX = 15  # IFNAMSIZ without its closing zero


class Section:
    """One table of the document. Faults go to `errors`, each with the key's full path."""

    def __init__(self, path: str, raw: object, errors: list[str]) -> None:
        self.path = path
        self.errors = errors
        self.bad: set[str] = set()
        self.known: set[str] = set()
        self.absent = False
        """There is something else in its place; what it lacks need not be said."""
        self.given: Mapping[str, object] = {}
        if isinstance(raw, dict):
            self.given = raw
        else:
            self.absent = True
            head = f"[[{path.partition('[')[0]}]]" if "[" in path else f"[{path}]"
            errors.append(f"{path}: {shown(raw)} is no table; write a line {head} above its keys")

    def key(self, key: str) -> str:
        """The full path of a key of this section."""
        return f"{self.path}.{line(key)}"

    def take(self, key: str, reader: Reader[T], default: T) -> T:
        """The typed value of `key`; the default if it is absent or wrong (then it is `bad`)."""
        self.known.add(key)
        if key not in self.given:
            return default
        try:
            return reader(self.given[key])
        except ValueError as fault:
            self.fault(key, str(fault))
            return default

    def need(self, key: str, reader: Reader[T], default: T, mend: str) -> T:
        """As `take`, of a key that must be there."""
        if key not in self.given and not self.absent:
            self.fault(key, f"is missing; {mend}")
        return self.take(key, reader, default)

    def fault(self, key: str, what: str) -> None:
        """Note what is wrong with the value of `key`, and the mend."""
        self.bad.add(key)
        self.errors.append(f"{self.key(key)}: {what}")

    def fine(self, *keys: str) -> bool:
        """Whether none of `keys` was found wrong, so that they can be held against each other."""
        return self.bad.isdisjoint(keys)

    def close(self, elsewhere: Iterable[str] = ()) -> None:
        """Refuse the keys that nobody took; `elsewhere`: full paths of other sections' keys."""
        for key in self.given:
            if key not in self.known:
                mend = suggest(key, self.path, self.known, elsewhere)
                self.errors.append(f"{self.key(key)}: unknown key; {mend}")


class Document:
    """The raw document, handed out section by section."""

    def __init__(self, raw: dict[str, object], errors: list[str]) -> None:
        self.raw = raw
        self.errors = errors
        self.sections: list[Section] = []
        self.known: set[str] = set()

    def section(self, name: str) -> Section:
        """The table [name], empty if it is not there."""
        self.known.add(name)
        section = Section(name, self.raw.get(name, {}), self.errors)
        self.sections.append(section)
        return section

    def sections_of(self, name: str) -> list[Section]:
        """The tables [[name]], numbered from 1 in their paths."""
        self.known.add(name)
        raw = self.raw.get(name, [])
        if not isinstance(raw, list):
            self.errors.append(f"{name}: there may be several; write [[{name}]] above its keys")
            return []
        found = [
            Section(f"{name}[{place}]", each, self.errors) for place, each in enumerate(raw, 1)
        ]
        self.sections += found
        return found

    def close(self) -> None:
        """Refuse what nobody asked for."""
        everywhere = sorted(s.key(key) for s in self.sections for key in s.known)
        for section in self.sections:
            section.close(everywhere)
        for name, value in self.raw.items():
            if name in self.known:
                continue
            kind = "section" if isinstance(value, dict | list) else "key"
            mend = suggest_section(name, self.known, everywhere)
            self.errors.append(f"{line(name)}: unknown {kind}; {mend}")


def suggest(key: str, path: str, known: Iterable[str], elsewhere: Iterable[str]) -> str:
    """The mend for an unknown key: the nearest known one, here or in another section."""
    here = sorted(known)
    for near in difflib.get_close_matches(key, here, n=1):
        return f"did you mean {path}.{near}?"
    for full in elsewhere:
        if full.rpartition(".")[2] == key:
            return f"did you mean {full}?"
    return f"the keys of [{path}] are " + ", ".join(here)


def suggest_section(name: str, known: Iterable[str], keys: Iterable[str]) -> str:
    """The mend for an unknown section, or for a key above all sections."""
    for full in keys:
        if full.rpartition(".")[2] == name:
            return f"did you mean {full}?"
    for near in difflib.get_close_matches(name, sorted(known), n=1):
        return f"did you mean [{near}]?"
    return "the sections are " + ", ".join(sorted(known))


def integer(low: int, high: int) -> Reader[int]:
    """A whole number from `low` to `high`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(
                f"{shown(value)} is out of range; write a whole number from {low} to {high}"
            )
        return value

    return read


def boolean(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false; write one of them, unquoted")
    return value


def choice(words: type[E]) -> Reader[E]:
    """One of an enumeration's words."""

    def read(value: object) -> E:
        try:
            return words(value)  # type: ignore[arg-type]
        except ValueError:
            options = " or ".join(f'"{word.value}"' for word in words)
            raise ValueError(f"{shown(value)} is not known; write {options}") from None

    return read


def time(low: int, high: int) -> Reader[int]:
    """A duration from `low` to `high` ns."""

    def read(value: object) -> int:
        ns = duration.parse(value)
        if not low <= ns <= high:
            raise ValueError(
                f"{shown(value)} is out of range; "
                f"write a time from {duration.text(low)} to {duration.text(high)}"
            )
        return ns

    return read


def listed(reader: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list, each of whose values `reader` reads; none may come twice."""

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{shown(value)} is no list; write [{shown(value)}]")
        values: dict[T, None] = {}
        for each in map(reader, value):
            if each in values:
                raise ValueError(f"{shown(each)} comes twice; name it once")
            values[each] = None
        return tuple(values)

    return read


def text(value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{shown(value)} is no text; write one in quotes")
    return value


@functools.lru_cache(maxsize=4096)  # the same few names come in every beat
def is_name(value: str) -> bool:
    """Whether `value` can name a node: 1 to 63 letters, digits, dots, dashes, underscores."""
    return len(value) <= NAME_MAX and _NAME.fullmatch(value) is not None


def name(value: object) -> str:
    """A node's or cluster's name."""
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(
            f"{shown(value)} is no name; write 1 to {NAME_MAX} letters, digits, '.', '-', '_', "
            "a letter or digit first (as `uname -n` prints it)"
        )
    return value


def interface(value: object) -> str:
    """A network interface's name, as the kernel takes them; it need not exist now."""
    text_ = value if isinstance(value, str) else ""
    if (
        not text_
        or len(text_.encode()) > _INTERFACE_MAX
        or text_ in (".", "..")
        or re.search(r"[\s/:]", text_)
        or not text_.isprintable()
    ):
        raise ValueError(
            f"{shown(value)} is no interface; write a name of 1 to {_INTERFACE_MAX} bytes "
            "without blanks, '/' or ':' (as `ip link` prints it)"
        )
    return text_


def address(value: object) -> str:
    """An IPv4 or IPv6 unicast address, in its shortest form."""
    found = _address(value)
    if found.is_multicast or found.is_unspecified or found == _BROADCAST:
        raise ValueError(f"{shown(value)} is no host's address; write a unicast address")
    return str(found)


def shared_address(value: object) -> str:
    """An address that clients on other hosts can connect to, in its shortest form: a VIP."""
    found = ipaddress.ip_address(address(value))
    if found.is_loopback:
        raise ValueError(f"{shown(value)} never leaves its host; write one that clients can reach")
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            raise ValueError(f"{shown(value)} is an IPv4 address; write {found.ipv4_mapped}")
        if found.scope_id is not None:
            raise ValueError(f"{shown(value)} names an interface; write the address alone")
    return str(found)


def group(value: object) -> str:
    """An IPv4 or IPv6 multicast group."""
    found = _address(value)
    if not found.is_multicast:
        raise ValueError(
            f"{shown(value)} is no multicast group; "
            "write one from 224.0.0.0 to 239.255.255.255 (225.0.0.7 is usual), or from ff00::/8"
        )
    return str(found)


def _address(value: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text(value))
    except ValueError:
        raise ValueError(
            f"{shown(value)} is no IP address; write one such as 10.0.0.2 or fd00::2"
        ) from None


def network(value: object) -> str:
    """A network such as 192.168.6.0/24, without host bits."""
    try:
        found = ipaddress.ip_network(text(value), strict=False)
    except ValueError:
        raise ValueError(
            f"{shown(value)} is no network; write one such as 192.168.6.0/24"
        ) from None
    if str(found.network_address) != str(value).partition("/")[0]:
        raise ValueError(f"{shown(value)} has host bits set; write {found}")
    return str(found)


def interface_address(value: object) -> str:
    """An address with its prefix length, such as 172.17.60.201/16; alone: of the host only."""
    try:
        found = ipaddress.ip_interface(text(value))
    except ValueError:
        raise ValueError(
            f"{shown(value)} is no address; write one such as 172.17.60.201/16"
        ) from None
    shared_address(str(value).partition("/")[0])
    if not found.network.prefixlen:
        raise ValueError(f"{shown(value)} has the whole world as its network; write its length")
    return str(found)


def mac(value: object) -> str:
    """A MAC address in lower case; which bits it may have is for the caller to say."""
    written = value.lower().replace("-", ":") if isinstance(value, str) else ""
    if not _MAC.fullmatch(written):
        raise ValueError(f"{shown(value)} is no MAC address; write one such as 00:50:56:14:03:40")
    return written


def path(value: object) -> Path:
    """An absolute path."""
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"{shown(value)} has signs that cannot be printed; write it without them")
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"{shown(value)} is no absolute path; write one that begins with /")
    return Path(value)
