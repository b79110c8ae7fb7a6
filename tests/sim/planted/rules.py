# SPDX-License-Identifier: GPL-2.0-or-later
"""All rules and their clauses, each with a core that lacks it, and who notices what.

What each is for is said by what breaks without it. Safety: a block accepted by two. Availability:
blocks unheld or a director left out for good, blocks that move without need.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.sim import scripts
from tests.sim.planted import fences, grants, hosts, leases, terms
from tests.sim.planted.patch import Plant

TWO = "accept them"
UNSERVED = "stay unheld|left out|masters are left|deposed"
MOVED = "have moved"  # availability, too: without need, and every move costs

# Random runs notice these: with how many voters, and what.
RANDOM: dict[str, tuple[Plant, int, str]] = {
    "R2 sending time": (leases.lease_from_receipt, 3, TWO),
    "R2 a quorum's vouches": (leases.one_vouch_less, 3, TWO),
    "R2 the kernel's deadline is the lease": (leases.deadline_beyond_lease, 3, TWO),
    "R3 a master resigns": (leases.no_resignation, 3, UNSERVED),
    "R5 report": (grants.no_report, 3, TWO),
    "R5 unacknowledged versions": (grants.forget_unacknowledged, 3, TWO),
    "R5 two steps": (grants.one_step, 3, TWO),
    "R6 as a whole": (fences.no_fence, 3, UNSERVED),
    "R6 silence": (fences.no_silence, 3, TWO),
    "R6 one of the promises": (fences.one_promise_less, 3, TWO),
    "R7 nothing said before the tables are gone": (hosts.said_too_early, 3, TWO),
    "the kernel's deadline": (hosts.no_deadline, 3, TWO),
    "the bound on drift": (hosts.more_drift, 3, TWO),
}

# These take a script.
SCRIPTED: dict[str, tuple[Plant, Callable[[], None], str]] = {
    "R1 eviction": (leases.no_eviction, scripts.broken_links, UNSERVED),
    "R3 lapse": (leases.no_lapse, scripts.a_sleeper_that_wakes_under_another_master, TWO),
    "R4 question before standing": (
        terms.no_question,
        scripts.a_link_that_comes_and_goes,
        UNSERVED,
    ),
    "R4 a master that gives way": (terms.no_doubt, scripts.a_candidate_too_late, UNSERVED),
    "R5 report in this term": (
        grants.report_of_any_term,
        scripts.a_report_from_before_any_term,
        TWO,
    ),
    "R5 own term": (grants.any_term, scripts.late_allocation_of_an_old_term, TWO),
    "R3 a new session": (leases.same_session, scripts.late_allocation_of_an_old_session, TWO),
    "R4 first version when all are known": (terms.first_at_once, scripts.a_late_report, MOVED),
    "R4 first version keeps holders": (terms.holders_forgotten, scripts.a_late_report, MOVED),
    "R5 the receiver's lease": (
        grants.unleased_receiver,
        scripts.a_director_without_a_lease,
        UNSERVED,
    ),
    "R6 the master's own promise": (
        fences.own_promise_granted,
        scripts.a_master_that_vouched_until_now,
        TWO,
    ),
    "R6 at one time": (fences.not_at_one_time, scripts.a_promise_from_long_ago, TWO),
    "R5 names": (grants.nameless_grants, scripts.late_allocation_of_an_old_session, TWO),
    "R6 any session": (
        fences.that_session_only,
        scripts.a_session_that_the_master_does_not_know,
        TWO,
    ),
    "R6 freshness": (fences.no_freshness, scripts.a_promise_from_long_ago, TWO),
    "R6 promise": (fences.no_promise, scripts.a_promise_taken_back, TWO),
    "R6 farewell in contact": (
        fences.remembered_farewell,
        scripts.a_farewell_from_an_earlier_life,
        TWO,
    ),
    "R8 wait": (hosts.no_wait, scripts.a_voter_that_forgets_whom_it_vouched_for, TWO),
    "R7 refused renewals": (leases.deaf_to_refusals, scripts.a_renewal_too_late, UNSERVED),
}


# What has not been seen to break anything when it alone is missing, and what stands behind it.
UNSEEN: dict[str, tuple[Plant, str]] = {
    "R1 contact": (leases.no_contact, "the master's ask ends vouches that do not arrive"),
    "R1 same term": (leases.no_term, "who is astray is asked for, and R5 takes only of its term"),
    "R1 the session named": (leases.any_session_vouched, "a vouch has run out when R6 finds"),
    "R4 no way back": (terms.back_again, "its own master unheard, the highest term is best"),
    "R4 follow only without a master": (terms.faithless, "nobody stands against a master heard"),
    "R4 a quorum makes a master": (terms.alone, "without one it fences nobody, and R5 waits"),
    "R4 the incarnation in terms": (terms.nameless_terms, "who restarts hears of its old term"),
    "R5 the taker's lease": (grants.no_lease, "a session without one is given nothing"),
    "R5 newer than any": (grants.newest_forgotten, "names: what is older was another session's"),
    "R5 the receiver in contact": (grants.receiver_without_contact, "else it is fenced"),
    "R5 a report from less than L ago": (grants.old_report, "there is no way back from a term"),
    "R6 the master's term": (fences.any_term_promises, "the promise bars newer sessions, too"),
    "R6 newer sessions barred": (fences.newer_session_allowed, "the master asks for the newest"),
    "R6 silence since the own start": (hosts.own_start_forgotten, "R8's wait is longer"),
    "R7 older versions refused": (hosts.kernel_takes_anything, "one hand, in order"),
    "R7 orders void after a drop": (hosts.nothing_voided, "their deadline is the old lease"),
    "R8 wait before vouching": (leases.vouch_at_once, "it is in no term before"),
    "R8 joining": (hosts.joins_at_once, "what breaks is connections, which nobody here has"),
}
