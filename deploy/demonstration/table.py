# SPDX-License-Identifier: GPL-2.0-or-later
"""The reports as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from deploy.demonstration.record import Family, Report

PHASE = 24
"""Columns at least for what a phase is called, however many directors there are."""


def table(reports: Sequence[Report], directors: Sequence[str]) -> Table:
    """A row a phase; who comes in from nowhere has a column too."""
    names = list(directors)
    names += sorted({name for report in reports for name in report.per_director} - set(names))
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("phase", overflow="fold", min_width=PHASE)
    for title in ("probes", "one", "none", "two", *names, "IPv6\none of", "back\nafter"):
        made.add_column(title, justify="right")
    made.add_column("")
    for report in reports:
        ipv6 = report.families[Family.IPV6]
        made.add_row(
            report.name if report.settled else f"  > {report.name}",
            str(report.probes),
            *(str(report.accepted_once), str(report.accepted_never), str(report.accepted_twice)),
            *(str(report.per_director.get(name, 0)) for name in names),
            f"{ipv6.accepted_once} of {ipv6.probes}",
            "" if report.takeover_ms is None else f"{report.takeover_ms:.0f} ms",
            _verdict(report),
        )
    return made


def _verdict(report: Report) -> Text:
    if not report.passed():
        return Text("WRONG", "bold red")
    return Text("right", "green") if report.settled else Text("")


def legend(seen: str) -> str:
    """What the table shows; `seen` is the wire that was listened to."""
    return f"""\
probes: datagrams from the client to the VIP; accepted by one, none or two (or more) directors,
as seen on {seen}, and by whom. Half of them go to the VIP's IPv6 address;
IPv6 says how many of those were accepted by one. > marks the phases in which something
happens: there, probes may go unanswered for a moment, but never be accepted twice."""


def conclusion(reports: Sequence[Report]) -> str:
    """What it comes to, in a sentence or two."""
    settled = [report for report in reports if report.settled]
    probes = sum(report.probes for report in settled)
    once = sum(report.accepted_once for report in settled)
    ipv6 = sum(report.families[Family.IPV6].accepted_once for report in settled)
    twice = sum(report.accepted_twice for report in reports)
    made = sum(report.connections for report in settled)
    answered = sum(report.connections_answered for report in settled)
    unanswered = probes - once if not twice else 0
    return (
        f"{once} of {probes} probes in settled phases were accepted by exactly one director "
        f"({ipv6} of these by IPv6); "
        f"{answered} of {made} TCP connections were answered through exactly one; "
        f"{twice or 'no'} probes of all {sum(report.probes for report in reports)} "
        "were accepted twice."
        + (
            f" {unanswered} in settled phases were accepted by none: a director whose beats come "
            "late lets go for a moment. Is this machine busy?"
            if unanswered
            else ""
        )
    )
