# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of the kernel under /proc/sys: held to a value, and given back as they were found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from saru.errors import OutageError
from saru.state import durable

ROOT = Path("/proc/sys")


@dataclass(frozen=True, slots=True)
class Setting:
    """`path` below /proc/sys must read `value`; `why`: "or …", what happens otherwise.

    `module` is what must be loaded for the setting to exist, if it is not always there; `also` are
    other values that will do.
    """

    path: str
    value: str
    why: str
    module: str = ""
    also: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As sysctl(8) writes it: a dot inside an interface's name becomes a slash."""
        return self.path.translate(str.maketrans("/.", "./"))

    def read(self) -> str | None:
        """What it reads now; None if there is no such setting."""
        try:
            return (ROOT / self.path).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None

    def difference(self) -> str | None:
        """What is wrong with it, in words, and the mend; None if nothing is."""
        now = self.read()
        if now in (self.value, *self.also):
            return None
        if now is None:
            mend = f"`modprobe {self.module}`" if self.module else "a kernel that has it"
            return f"sysctl {self.name} does not exist; it needs {mend}"
        return f"sysctl {self.name} is {now}, not {self.value}, {self.why}"

    def write(self, value: str) -> None:
        """Set it. Raises OutageError if the kernel does not let us."""
        try:
            (ROOT / self.path).write_text(value, encoding="ascii")
        except OSError as fault:
            raise OutageError(
                f"cannot set sysctl {self.name} to {value}: {fault.strerror}; "
                "are you root, and is /proc/sys writable?"
            ) from fault


class Kept:
    """The values found before the first `hold`, in a file, so that a later process can restore."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def hold(self, settings: Iterable[Setting]) -> list[str]:
        """Set what differs, remembering what stood there. Returns what was done, a line each.

        A setting that does not exist is passed over; `Setting.difference` tells of it.
        """
        found = self._load()
        done = []
        for setting in settings:
            now = setting.read()
            if now is None or now in (setting.value, *setting.also):
                continue
            found.setdefault(setting.path, now)
            self._store(found)
            setting.write(setting.value)
            done.append(f"sysctl {setting.name} = {setting.value}")
        return done

    def restore(self) -> list[str]:
        """Give everything back as it was found. Returns what was done, a line each."""
        done = []
        for path, value in self._load().items():
            setting = Setting(path, value, "")
            if setting.difference() is not None and setting.read() is not None:
                setting.write(value)
                done.append(f"sysctl {setting.name} = {value}")
        durable.discard(self._file)
        return done

    def _load(self) -> dict[str, str]:
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(stored, dict):
            return {}
        return {path: value for path, value in stored.items() if isinstance(value, str)}

    def _store(self, found: dict[str, str]) -> None:
        durable.keep(self._file, json.dumps(found).encode())
