# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru status` as text: legible in 80 columns and without colour."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from saru.status import Director, Division, State, Status, duration

STYLES = {
    State.MASTER: "bold green",
    State.DIRECTOR: "green",
    State.WITNESS: "cyan",
    State.SILENT: "red",
    State.FENCED: "red",
    State.REFUSED: "red",
    State.UNABLE: "red",
    State.UNREGISTERED: "red",
    State.LEFT: "dim",
}
OTHER_STYLE = "yellow"  # on the way to somewhere better


def show(status: Status, console: Console) -> None:
    """Print the snapshot: the node, the directors, the ids, what is wrong."""
    for line in _node(status):
        console.print(line, soft_wrap=True)
    console.print()
    console.print(_directors(status))
    for director in status.directors:
        if director.why:
            console.print(Text(f"  {director.name}: {director.why}", OTHER_STYLE), soft_wrap=True)
    for division in status.divisions:
        console.print()
        for line in _division(division):
            console.print(line, soft_wrap=True)
    console.print()
    if not status.problems:
        console.print("Nothing is wrong.", style="green")
    else:
        console.print("Problems:", style="bold red")
        for problem in status.problems:
            console.print(Text(f"  {problem}"), soft_wrap=True)


def _field(name: str, text: str, style: str = "") -> Text:
    return Text.assemble("  ", (name, "bold"), ": ", (text, style))


def _node(status: Status) -> list[Text]:
    counters = status.counters
    dropped = {
        "forged": counters.forged,
        "replayed": counters.replayed,
        "malformed": counters.malformed,
        "refused": counters.refused,
        "not sent": counters.send_failures,
    }
    bad = "".join(f", {count:,} {what}" for what, count in dropped.items() if count)
    beats = f"{counters.beats_sent:,} sent, {counters.beats_received:,} received{bad}"
    term = f"{status.term or 'none yet'}, this node is {status.role}"
    return [
        Text.assemble(("cluster", "bold"), ": ", (status.cluster, "bold green")),
        _field("node", f"{status.node}, session {status.session}, up {duration(status.uptime_ms)}"),
        _field("term", f"{term}; master: {status.master or 'none is heard'}"),
        *_standing(status),
        _field("lease", _lease(status)),
        _field("data plane", status.dataplane),
        _field("guard", f"{status.guard.state}; VIP {status.guard.vip}"),
        *_ping(status),
        *(
            [_field("beats", beats)]
            if status.zookeeper is None or status.zookeeper.failsafe
            else []
        ),
        *(_field(f"key {key.number}", str(key)) for key in status.keys),
        _field("configuration", status.configuration or "none, the defaults"),
    ]


def _standing(status: Status) -> list[Text]:
    """What this node's say rests on: a quorum, or ZooKeeper."""
    quorum, ensemble = status.quorum, status.zookeeper
    if ensemble is None:
        said = f"{quorum.rule}; {len(quorum.contact)} of {quorum.voters} in contact"
        said += f", {quorum.needed} needed"
        return [_field("quorum", said, "" if quorum.have else "red")]
    if ensemble.connected:
        said = f"session {ensemble.session} at {ensemble.server}"
    else:
        said = "no connection"
    mode = "off" if not ensemble.failsafe else "in force" if ensemble.failing_safe else "ready"
    return [
        _field("ZooKeeper", said, "" if ensemble.connected else "red"),
        _field("fail-safe", mode, "yellow" if ensemble.failing_safe else ""),
    ]


def _ping(status: Status) -> list[Text]:
    if not status.ping:
        return []
    reached = sum(node.reached for node in status.ping)
    others = [
        f"{director.name} {director.reached}"
        for director in status.directors
        if director.reached is not None and director.name != status.node
    ]
    text = f"{reached} of {len(status.ping)} reached" + "".join(f", {other}" for other in others)
    return [_field("ping nodes", text, "" if reached == len(status.ping) else "red")]


def _lease(status: Status) -> str:
    whole = duration(status.deadtime_ms)
    if not status.lease_left_ms:
        said = f"none (deadtime {whole})"
    else:
        said = f"{duration(status.lease_left_ms)} left of {whole}"
    if status.wait_left_ms:
        said += f"; start-up wait: {duration(status.wait_left_ms)} left"
    elif status.join_left_ms:
        said += f"; join_delay: {duration(status.join_left_ms)} left"
    return said


def _directors(status: Status) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("director", overflow="fold")
    table.add_column("state", overflow="fold")
    table.add_column("weight", justify="right")
    for division in status.divisions:
        one = len(status.divisions) == 1
        table.add_column("blocks" if one else f"id {division.id}", justify="right")
    table.add_column("heard", justify="right")
    table.add_column("session", justify="right")
    for director in status.directors:
        table.add_row(
            director.name,
            _states(director),
            str(director.weight),
            *(str(director.blocks.get(division.id, 0)) for division in status.divisions),
            _heard(director, status.node),
            director.session or "-",
        )
    return table


def _states(director: Director) -> Text:
    style = STYLES.get(director.states[0], OTHER_STYLE)
    return Text(", ".join(director.states), style)


def _heard(director: Director, node: str) -> str:
    if director.name == node:
        return "this node"
    return "never" if director.heard_ms is None else f"{duration(director.heard_ms)} ago"


def _division(division: Division) -> list[Text]:
    unheld = (f"{division.unheld} held by nobody", "red" if division.unheld else "")
    lines = [
        Text.assemble((f"id {division.id}", "bold"), f": {division.blocks} blocks, ", unheld),
        _field("version", f"{division.version or 'none'}; here: {division.taken or 'none'}"),
        _field("held here", str(division.held)),
    ]
    if division.users is not None:
        lines.append(_field("rules that name it", str(division.users)))
    if division.accepted is not None:
        lines.append(
            _field(
                "packets",
                f"{division.accepted:,} accepted, {division.rejected or 0:,} rejected, "
                f"{division.expired or 0:,} expired, {division.no_key or 0:,} without a key",
            )
        )
    return lines
