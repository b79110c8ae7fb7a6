# SPDX-License-Identifier: GPL-2.0-or-later
"""Saru's errors. A lost race, an outage and a bug are three things; each has a class of its own."""

from __future__ import annotations


class SaruError(Exception):
    """What the user is told in one line. `exit_status` is what a command ends with (1 or 2)."""

    exit_status = 1


class UsageError(SaruError):
    """The command line, a configuration file or a keys file is wrong; nothing was done."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration is refused. `errors` holds every fault found, one line each."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class OutageError(SaruError):
    """Something this host needs (module, socket, network) is missing or does not answer."""


class StaleError(SaruError):
    """The kernel or a peer already has something newer: a race lost, not a fault."""
