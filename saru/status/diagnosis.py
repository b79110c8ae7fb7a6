# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a cluster, in words, as far as a snapshot tells."""

from __future__ import annotations

from saru.status import Director, Ensemble, State, Status, duration


def diagnose(status: Status) -> tuple[str, ...]:
    """What is wrong by the snapshot alone, most important first."""
    found: list[str] = []
    if status.wait_left_ms:
        found.append(
            f"the start-up wait (initdead) lasts another {duration(status.wait_left_ms)}: "
            f"{status.node} does not vote before"
        )
    if status.zookeeper is not None:
        found.extend(_without(status, status.zookeeper))
    elif not status.quorum.have:
        found.append(
            f"no quorum: {len(status.quorum.contact)} of {status.quorum.voters} voters in contact, "
            f"{status.quorum.needed} needed; no blocks can be held here"
        )
    if status.quorum.have and status.master is None and not status.wait_left_ms:
        found.append("no master is heard: nobody hands out blocks")
    if status.barred:
        found.append(f"{status.node} {status.barred}")
    if status.quorum.rule == "none" and len(status.directors) > 1:
        found.append(
            'quorum is "none": directors that are cut off from each other hold the same blocks; '
            "name three or more voters in cluster.nodes to be safe"
        )
    if status.namesake:
        found.append(
            f"another daemon called {status.node} is heard from {status.namesake}: {status.node} "
            "holds no blocks while it is; give each host a director.name of its own"
        )
    if not status.guard.ok:
        found.append(f"{status.guard.state}: {status.node} takes no blocks")
    elif lacking := status.guard.lacking:
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        found.append(
            f"{lacking[0]}{more}: packets of the blocks that {status.node} holds are lost; "
            "mend it: saru link up"
        )
    for node in status.ping:
        if not node.reached:
            ago = "yet" if node.answered_ms is None else f"for {duration(node.answered_ms)}"
            found.append(f"the ping node {node.address} has not answered {ago}")
    found.extend(f"{road}; beats cannot go there" for road in status.roads)
    for division in status.divisions:
        if division.unheld:
            found.append(
                f"id {division.id}: nobody holds {division.unheld} of {division.blocks} blocks"
            )
    for director in status.directors:
        if director.name != status.node:
            found.extend(_ailments(director))
            if State.SILENT in director.states and status.quorum.rule == "none":
                found.append(f"{director.name} may be serving the same blocks as {status.node} now")
    for key in status.keys:
        for name in key.differing:
            found.append(
                f"key {key.number} of {name} has another secret than ours: make them the same, "
                "or number the new one anew"
            )
    if status.counters.forged:
        found.append(
            f"{status.counters.forged} beats had a wrong signature: "
            "compare authkeys, or somebody is forging them"
        )
    return tuple(found)


def _without(status: Status, ensemble: Ensemble) -> list[str]:
    """What is wrong between this node and ZooKeeper."""
    if ensemble.differs:
        keys = ", ".join(ensemble.differs)
        return [
            f"the cluster's settings in ZooKeeper differ from ours in {keys}: {status.node} takes "
            "no part; make them the same, or stop all directors and start them anew"
        ]
    if ensemble.waiting:
        return [f"waits: {ensemble.waiting}"]
    if ensemble.connected:
        return []
    if ensemble.failing_safe:
        said = "all others vouch for it, and it keeps its blocks; nothing can change"
    elif status.lease_left_ms:
        said = f"its blocks are let go in {duration(status.lease_left_ms)}"
    else:
        said = "no blocks can be held here"
    return [f"there is no connection with ZooKeeper: {said}"]


def _ailments(director: Director) -> list[str]:
    states = director.states
    if State.REFUSED in states:
        return [f"{director.name} is refused: its {', '.join(director.differs)} differ from ours"]
    if State.UNREGISTERED in states:
        return [f"{director.name} is not registered with ZooKeeper: does its daemon run?"]
    if State.SILENT in states:
        if director.heard_ms is None:
            return [f"{director.name} has never been heard"]
        return [f"{director.name} has been silent for {duration(director.heard_ms)}"]
    if State.LATE in states and director.heard_ms is not None:
        return [f"{director.name} is late: last heard {duration(director.heard_ms)} ago"]
    if State.UNABLE in states:
        return [
            f"{director.name} takes no blocks: its rules are missing, no client reaches it, or "
            "another host has its name"
        ]
    return []
