# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages fetched from Debian without touching the machine's own apt.

The mirror is the one that this machine's apt uses: its entries for the release are copied,
with the same address and keys, into a private list that names the backports suite as well.
State, lists and downloads live in the cache.
"""

import email.parser
import functools
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import cache
from deploy.lab.cache import LabError

CONFIGURATION = Path("/etc/apt")


@dataclass(frozen=True)
class Package:
    """One version of a package that the lists offer."""

    name: str
    version: str
    depends: str


@dataclass(frozen=True)
class Source:
    """An entry of the machine's apt configuration."""

    addresses: str
    suites: tuple[str, ...]
    options: tuple[tuple[str, str], ...]


def codename() -> str:
    """This machine's Debian release, such as `bookworm`."""
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise LabError("/etc/os-release has no VERSION_CODENAME: the lab needs a Debian machine")


def _stanza_sources(text: str) -> Iterator[Source]:
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in lines.split("\n\n"):
        fields = email.parser.HeaderParser().parsestr(stanza.strip() + "\n")
        if (
            fields.get("Enabled", "yes").lower() == "no"
            or "deb" not in fields.get("Types", "").split()
        ):
            continue
        kept = ("Signed-By", "Trusted")
        yield Source(
            fields.get("URIs", "").strip(),
            tuple(fields.get("Suites", "").split()),
            tuple((key, str(fields[key])) for key in kept if key in fields),
        )


def _line_sources(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] != "deb":
            continue
        options: list[tuple[str, str]] = []
        rest = words[1:]
        if rest and rest[0].startswith("["):
            end = next(i for i, word in enumerate(rest) if word.endswith("]"))
            names = {"signed-by": "Signed-By", "trusted": "Trusted"}
            for word in " ".join(rest[: end + 1]).strip("[] ").split():
                key, _, value = word.partition("=")
                if key in names:
                    options.append((names[key], value))
            rest = rest[end + 1 :]
        if len(rest) >= 2:
            yield Source(rest[0], (rest[1],), tuple(options))


def machine_sources() -> list[Source]:
    """Every enabled entry for binary packages in the machine's apt configuration."""
    found: list[Source] = []
    main = CONFIGURATION / "sources.list"
    if main.is_file():
        found += _line_sources(main.read_text())
    for path in sorted((CONFIGURATION / "sources.list.d").glob("*")):
        if path.suffix == ".list":
            found += _line_sources(path.read_text())
        elif path.suffix == ".sources":
            found += _stanza_sources(path.read_text())
    return found


def private_sources() -> str:
    """The private list: the release, its security updates and its backports, as deb822 text."""
    release = codename()
    stanzas = []
    for source in machine_sources():
        suites = [s for s in source.suites if s in (release, f"{release}-security")]
        if release in suites:
            suites.append(f"{release}-backports")
        if suites:
            lines = ["Types: deb", f"URIs: {source.addresses}", f"Suites: {' '.join(suites)}"]
            lines += ["Components: main"] + [f"{key}: {value}" for key, value in source.options]
            stanzas.append("\n".join(lines) + "\n")
    if not any(f" {release}-backports" in stanza for stanza in stanzas):
        raise LabError(
            f"no entry for the suite {release} in {CONFIGURATION}: "
            "add Debian's own mirror to the machine's apt configuration"
        )
    return "\n".join(stanzas)


@functools.cache
def _options() -> tuple[str, ...]:
    """Options that keep apt inside the cache; the first call reads the lists anew."""
    base = cache.root() / "apt"
    for part in ("lists/partial", "archives/partial"):
        (base / part).mkdir(parents=True, exist_ok=True)
    listed = base / "private.sources"
    listed.write_text(private_sources())
    options = (
        f"-oDir::Etc::sourcelist={listed}",
        "-oDir::Etc::sourceparts=/dev/null",
        f"-oDir::State::lists={base / 'lists'}",
        f"-oDir::Cache={base}",
        "-oAPT::Sandbox::User=root",
        "-oAcquire::Languages=none",
        "-oAcquire::Retries=3",
        "-oAPT::Update::Error-Mode=any",
    )
    _from_mirror(["apt-get", *options, "-qq", "update"], base)
    return options


def _from_mirror(command: list[str], cwd: Path) -> None:
    """Run a command that needs the mirror; when it fails, twice more: mirrors stumble."""
    for pause in (10, 30):
        try:
            _run(command, cwd)
            return
        except LabError as error:
            cache.say(f"{error}; once more in {pause} s")
            time.sleep(pause)
    _run(command, cwd)


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{' '.join(command[:1])} failed: {done.stderr.strip()}")
    return done.stdout


def offered(name: str) -> list[Package]:
    """Every version of the package `name` that the lists offer, newest first."""
    found = []
    for stanza in _run(["apt-cache", *_options(), "show", "-a", name]).split("\n\n"):
        fields = email.parser.HeaderParser().parsestr(stanza.strip() + "\n")
        if fields.get("Package") == name:
            found.append(Package(name, str(fields["Version"]), str(fields.get("Depends", ""))))
    return sorted(found, key=functools.cmp_to_key(_older_last))


def _older_last(a: Package, b: Package) -> int:
    def compares(relation: str) -> bool:
        command = ["dpkg", "--compare-versions", a.version, relation, b.version]
        return subprocess.run(command).returncode == 0

    return -1 if compares("gt") else 1 if compares("lt") else 0


def unpack(package: Package, into: Path) -> None:
    """Download one package and unpack its files under `into`; nothing is installed."""
    archives = into / ".archives"
    archives.mkdir(exist_ok=True)
    _from_mirror(
        ["apt-get", *_options(), "-q", "download", f"{package.name}={package.version}"],
        cwd=archives,
    )
    for archive in archives.glob("*.deb"):
        _run(["dpkg-deb", "--extract", str(archive), str(into)])
        archive.unlink()
    archives.rmdir()


def upstream(name: str, version: str, into: Path) -> None:
    """Download the source of a package and unpack what came from upstream under `into`."""
    base = cache.root() / "apt"
    (base / "source-lists/partial").mkdir(parents=True, exist_ok=True)
    listed = base / "source.sources"
    listed.write_text(private_sources().replace("Types: deb\n", "Types: deb-src\n"))
    options = (
        *_options(),
        f"-oDir::Etc::sourcelist={listed}",
        f"-oDir::State::lists={base / 'source-lists'}",
    )
    _from_mirror(["apt-get", *options, "-qq", "update"], base)
    _from_mirror(
        ["apt-get", *options, "-qq", "--download-only", "source", f"{name}={version}"], into
    )
    for archive in into.glob("*.orig.tar.*"):
        if archive.suffix != ".asc":
            _run(["tar", "--extract", "--strip-components=1", f"--file={archive}"], cwd=into)
