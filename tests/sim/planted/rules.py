# SPDX-License-Identifier: GPL-2.0-or-later
"""All rules and their clauses, each with a core that lacks it, and who notices what.

What each is for is said by what breaks without it. Safety: a block accepted by two. Availability:
blocks unheld or a director left out for good, blocks that move without need.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.sim.planted import fences, grants, hosts, leases, rivals, terms
from tests.sim.planted.patch import Plant
from tests.sim.scripts import fences as on_fences
from tests.sim.scripts import grants as on_grants
from tests.sim.scripts import hosts as on_hosts
from tests.sim.scripts import leases as on_leases
from tests.sim.scripts import rivals as on_rivals
from tests.sim.scripts import terms as on_terms

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
    "R5 that it does not hold b": (grants.forget_reports, 3, TWO),
    "R5 acknowledged when SET has returned": (grants.said_before_set, 3, TWO),
    "R5 a witness cannot hold blocks": (grants.witnesses_too, 3, UNSERVED),
    "R5 unacknowledged versions": (grants.forget_unacknowledged, 4, TWO),
    "R5 two steps": (grants.one_step, 3, TWO),
    "R6 as a whole": (fences.no_fence, 3, UNSERVED),
    "R6 silence": (fences.no_silence, 3, TWO),
    "R6 silence of L+, not L": (fences.short_silence, 4, TWO),
    "R6 one of the promises": (fences.one_promise_less, 3, TWO),
    "R7 nothing said before the tables are gone": (hosts.said_too_early, 3, TWO),
    "the kernel's deadline": (hosts.no_deadline, 3, TWO),
    "the bound on drift": (hosts.more_drift, 3, TWO),
}

# These take a script.
SCRIPTED: dict[str, tuple[Plant, Callable[[], None], str]] = {
    "R2 sending time, in a script": (
        leases.lease_from_receipt,
        on_leases.a_vouch_that_was_long_on_its_way,
        TWO,
    ),
    "R1 eviction": (leases.no_eviction, on_leases.broken_links, UNSERVED),
    "R3 lapse": (leases.no_lapse, on_leases.a_sleeper_that_wakes_under_another_master, TWO),
    "R4 question before standing": (
        terms.no_question,
        on_terms.a_link_that_comes_and_goes,
        UNSERVED,
    ),
    "R4 a master that gives way": (terms.no_doubt, on_terms.a_candidate_too_late, UNSERVED),
    "R5 report in this term": (
        grants.report_of_any_term,
        on_grants.a_report_from_before_any_term,
        TWO,
    ),
    "R5 own term": (grants.any_term, on_grants.late_allocation_of_an_old_term, TWO),
    "R3 a new session": (leases.same_session, on_grants.late_allocation_of_an_old_session, TWO),
    "R4 first version when all are known": (terms.first_at_once, on_terms.a_late_report, MOVED),
    "R4 first version keeps holders": (terms.holders_forgotten, on_terms.a_late_report, MOVED),
    "R5 the receiver's lease": (
        grants.unleased_receiver,
        on_grants.a_director_without_a_lease,
        UNSERVED,
    ),
    "R6 the master's own promise": (
        fences.own_promise_granted,
        on_fences.a_master_that_vouched_until_now,
        TWO,
    ),
    "R6 at one time": (fences.not_at_one_time, on_fences.a_promise_from_long_ago, TWO),
    "R5 names": (grants.nameless_grants, on_grants.late_allocation_of_an_old_session, TWO),
    "R6 any session": (
        fences.that_session_only,
        on_fences.a_session_that_the_master_does_not_know,
        TWO,
    ),
    "R6 freshness": (fences.no_freshness, on_fences.a_promise_from_long_ago, TWO),
    "R6 answers of L, not L+": (fences.answers_too_old, on_fences.a_promise_that_has_run_out, TWO),
    "R6 promise": (fences.no_promise, on_fences.a_promise_taken_back, TWO),
    "R6 promise for long enough": (fences.half_a_promise, on_fences.a_promise_taken_back, TWO),
    "R6 promise for L+, not L": (
        fences.promise_of_a_lease,
        on_fences.a_promise_by_a_fast_clock,
        TWO,
    ),
    "R6 promise no longer than it counts": (
        fences.promised_anew,
        on_fences.a_master_that_dies_while_it_asks,
        UNSERVED,
    ),
    "R6 nobody waits for a tick": (
        fences.woken_late,
        on_fences.a_silence_that_ends_between_two_beats,
        UNSERVED,
    ),
    "R6 newer sessions barred": (
        fences.newer_session_allowed,
        on_fences.a_session_that_nobody_tells_of,
        TWO,
    ),
    "R6 farewell in contact": (
        fences.remembered_farewell,
        on_fences.a_farewell_from_an_earlier_life,
        TWO,
    ),
    "R8 wait": (hosts.no_wait, on_hosts.a_voter_that_forgets_whom_it_vouched_for, TWO),
    "R7 refused renewals": (leases.deaf_to_refusals, on_hosts.a_renewal_too_late, UNSERVED),
    "R1 contact": (leases.no_contact, on_leases.deaf_and_then_mute, UNSERVED),
    "R1 same term": (leases.no_term, on_leases.a_vouch_from_another_term, TWO),
    "R4 no way back": (terms.back_again, on_terms.a_way_back, TWO),
    "R4 follow only without a master": (
        terms.faithless,
        on_terms.a_complaint_from_a_while_ago,
        UNSERVED,
    ),
    "R4 a quorum makes a master": (terms.alone, on_terms.a_candidate_that_few_hear, UNSERVED),
    "R4 the incarnation in terms": (
        terms.nameless_terms,
        on_terms.a_term_from_before_the_power_cut,
        UNSERVED,
    ),
    "R5 the taker's lease": (grants.no_lease, on_grants.a_cold_start, UNSERVED),
    "R5 newer than any": (
        grants.any_version,
        on_grants.late_allocation_of_an_older_version,
        TWO,
    ),
    "R5 the receiver in contact": (
        grants.receiver_without_contact,
        on_grants.a_director_that_does_not_hear_the_master,
        UNSERVED,
    ),
    "R5 a report from less than L ago": (
        grants.old_report,
        on_grants.a_report_from_before_a_restart,
        TWO,
    ),
    "R6 the master's term": (
        fences.any_term_promises,
        on_fences.a_promise_to_another_master,
        TWO,
    ),
    "R7 orders void after a drop": (
        hosts.nothing_voided,
        on_hosts.an_order_from_before_the_drop,
        TWO,
    ),
    "R7 older versions refused": (
        hosts.kernel_takes_anything,
        on_hosts.an_order_of_another_hand,
        TWO,
    ),
    "the lease's length, in nftables": (
        hosts.wall_clock_alone,
        on_hosts.a_wall_clock_set_back,
        TWO,
    ),
    "the lease's end by the wall clock, in nftables": (
        hosts.length_alone,
        on_hosts.an_order_stopped_on_its_way,
        TWO,
    ),
    "R8 nothing of before": (hosts.former_tables, on_hosts.a_table_of_before_the_start, TWO),
    "R8 joining": (hosts.joins_at_once, on_hosts.a_newcomer_in_a_hurry, MOVED),
    "rivals give way to a majority": (
        rivals.nobody_gives_way,
        on_rivals.a_pair_that_gets_a_witness,
        TWO,
    ),
    "rivals give way to each other": (
        rivals.nobody_gives_way,
        on_rivals.a_pair_that_starts_with_settings_that_differ,
        TWO,
    ),
    "rivals may have left blocks in the kernel": (
        rivals.nothing_left,
        on_rivals.a_majority_that_is_killed_and_starts_again,
        TWO,
    ),
    "rivals claim before they take, with a majority": (
        rivals.takes_at_once,
        on_rivals.a_pair_that_gets_a_witness,
        TWO,
    ),
    "rivals claim before they take, without a quorum": (
        rivals.takes_at_once,
        on_rivals.a_pair_that_starts_with_settings_that_differ,
        TWO,
    ),
}


# What has not been seen to break anything when it alone is missing, and why it stays.
UNSEEN: dict[str, tuple[Plant, str]] = {
    "R1 the session named": (
        leases.any_session_vouched,
        "R6's silence is of any session: when a fence is found, vouches for all have run out",
    ),
}
