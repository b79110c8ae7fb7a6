# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: what stands in /etc/saru/saru.conf, typed and checked once.

The file is TOML; deploy/saru.conf is a sample with every key. `load` finds every fault of a file
at once and names each by its key: `times.deadtime`, or `service[2].ports` for the second
[[service]]. What it makes is in `tree`.
"""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path

from saru.config import sections
from saru.config import zookeeper as ensemble
from saru.config.reading import Document
from saru.config.tree import (
    Cluster,
    Config,
    Daemon,
    DataplaneKind,
    Director,
    Heartbeat,
    HeartbeatMode,
    Link,
    LinkMode,
    Log,
    Ping,
    Protocol,
    Rules,
    RulesMode,
    Service,
    Times,
    Tls,
    Zookeeper,
)
from saru.errors import ConfigError

__all__ = [
    "DEFAULT_PATH",
    "Cluster",
    "Config",
    "Daemon",
    "DataplaneKind",
    "Director",
    "Heartbeat",
    "HeartbeatMode",
    "Link",
    "LinkMode",
    "Log",
    "Ping",
    "Protocol",
    "Rules",
    "RulesMode",
    "Service",
    "Times",
    "Tls",
    "Zookeeper",
    "load",
]

DEFAULT_PATH = Path("/etc/saru/saru.conf")


def load(
    path: Path | None = None,
    *,
    host: str | None = None,
    given: Mapping[str, Mapping[str, object]] | None = None,
) -> Config:
    """The configuration in the file at `path`, or /etc/saru/saru.conf, or the defaults.

    A file that is named must exist; without /etc/saru/saru.conf the defaults hold. `host` (default:
    this host's name) names the director if the file does not. `given` holds what the command line
    sets, by section and key, over the file's values. Raises ConfigError with every fault found.
    """
    document, found = _document(path)
    for section, keys in (given or {}).items():
        under = document.get(section, {})
        document[section] = {**under, **keys} if isinstance(under, dict) else under
    errors: list[str] = []
    config = _read(document, found, host or socket.gethostname(), errors)
    if errors:
        place = f"{found}: " if found else ""
        raise ConfigError([place + error for error in errors])
    return config


def _document(path: Path | None) -> tuple[dict[str, object], Path | None]:
    file = path or DEFAULT_PATH
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig")), file
    except FileNotFoundError:
        if path is None:
            return {}, None
        raise ConfigError([f"{file}: there is no such file; write one, or name another"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{file}: is not UTF-8 text; write it anew as TOML"]) from None
    except PermissionError as fault:
        raise ConfigError([f"{file}: cannot be read: {fault.strerror}; run it as root"]) from None
    except OSError as fault:
        raise ConfigError([f"{file}: cannot be read: {fault.strerror}; mend that"]) from None
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError([f"{file}: is not TOML: {fault}; mend that place"]) from None
    except (RecursionError, ValueError):  # of tomllib, and of int()
        raise ConfigError(
            [f"{file}: is nested too deep, or has a number of too many digits; take that out"]
        ) from None


def _read(raw: dict[str, object], path: Path | None, host: str, errors: list[str]) -> Config:
    document = Document(raw, errors)
    warnings: list[str] = []
    director = sections.director(document.section("director"), host)
    cluster = sections.cluster(document.section("cluster"), director, warnings)
    times = sections.times(document.section("times"))
    ids = sections.ids(document.sections_of("id"))
    heartbeat = sections.heartbeat(document.section("heartbeat"))
    ping = sections.ping(document.section("ping"), times)
    services = sections.services(document.sections_of("service"), ids)
    rules = sections.rules(document.section("rules"))
    link = sections.link(document.section("link"), services, warnings, given="link" in raw)
    log = sections.log(document.section("log"))
    daemon = sections.daemon(document.section("daemon"))
    section = document.section("zookeeper")
    zookeeper = ensemble.zookeeper(section, times)
    ensemble.fits(section, zookeeper, cluster, times, director.name)
    warnings += ensemble.caveats(zookeeper, cluster, times)
    document.close()
    return Config(
        path=path,
        cluster=cluster,
        times=times,
        ids=ids,
        director=director,
        heartbeat=heartbeat,
        ping=ping,
        services=services,
        rules=rules,
        link=link,
        log=log,
        daemon=daemon,
        zookeeper=zookeeper,
        warnings=tuple(warnings),
    )
