/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The rules of ../README.md for three voters that are all directors, as spin checks them: every
 * run within the bounds is looked at, and in none do two kernels accept the same block. README.md
 * beside this file says what stands for what, what is left out and why that is sound.
 *
 * Bounds and variants are macros (-D); those below, and
 *	COLD		nobody is in a term yet; otherwise all are settled in term 1, whose master is 0
 *	DELAY		a beat to a master may be under way while older ones are acted on
 *	TWO_PHASE	a SET takes time: till it has returned, the old and the new may be accepted
 *	GOAL=what	says that `what` is never reached; the checker shows that it is
 *	NO_... etc.	one rule is taken out; the checker shows what then happens
 */
#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef TERMS		/* terms that anybody may stand in */
#define TERMS 2
#endif
#ifndef VERSIONS	/* allocations in each term */
#define VERSIONS 2
#endif
#ifndef LAPSES		/* by all together; who lapses after that is gone for good */
#define LAPSES 1
#endif
#ifndef RESTARTS	/* by all together */
#define RESTARTS 0
#endif
#ifndef RESTARTERS	/* bits: who may restart, and leave */
#define RESTARTERS 7
#endif
#ifndef FAREWELLS
#define FAREWELLS 0
#endif
#ifndef L		/* ticks; a lease, a promise, an answer, and the silence that R6 asks for */
#define L 2
#endif
#ifndef FENCEABLE	/* bits: whose leases may run out, and who may be fenced */
#define FENCEABLE 4
#endif
#ifndef STANDERS	/* bits: who may stand as candidate */
#define STANDERS 2
#endif
#ifndef HOLDER		/* of block 0 to begin with; the others are node 0's */
#define HOLDER 2
#endif

#define N 3
#define bit_of(x) (1 << (x))
#define other(x) (((x) + 1) % N)
#define another(x) (((x) + 2) % N)
#define third(j, i) (N - (j) - (i))
#define pair(j, i) (2 * (j) + ((i) + N - (j)) % N - 1)
#define fenceable(x) (FENCEABLE >> (x) & 1)
#define larger(a, b) ((a) > (b) -> (a) : (b))

#include "state.pml"
#include "rules.pml"

/* --- the processes ------------------------------------------------------------------------------------- */

#ifdef DELAY
#define HEAR(me, i) \
	:: d_step { may_hear(me, i) -> snapshot(i, under_way[pair(me, i)]) } \
	:: d_step { awake(me) && under_way[pair(me, i)].session -> \
		R(me, i).session = under_way[pair(me, i)].session; \
		R(me, i).taken = under_way[pair(me, i)].taken; \
		R(me, i).taking = under_way[pair(me, i)].taking; \
		clear(under_way[pair(me, i)]) }
#else
#define HEAR(me, i) :: d_step { may_hear(me, i) -> snapshot(i, R(me, i)); tidy() }
#endif
#define VOUCH(me, i, s) :: d_step { may_vouch(me, i, s) -> vouch(me, i, s) }
#define PROMISE(me, i, s) \
	:: d_step { may_promise(me, i, s) -> promise(me, i, s, L) } \
	:: d_step { L > 1 && may_promise(me, i, s) -> promise(me, i, s, L - 1) } \
	:: d_step { L > 2 && may_promise(me, i, s) -> promise(me, i, s, L - 2) }
#define STEPS_WITH(me, i) \
	HEAR(me, i) \
	VOUCH(me, i, 1) VOUCH(me, i, 2) VOUCH(me, i, 3) \
	PROMISE(me, i, 1) PROMISE(me, i, 2) PROMISE(me, i, 3) \
	:: d_step { may_fence(me, i) -> fence(me, i) } \
	:: d_step { may_lift(me, i) -> fenced[pair(me, i)] = 0 } \
	:: d_step { may_believe_farewell(me, i) -> fenced[pair(me, i)] = farewell_session[i] }
#define TAKE(me, v) :: d_step { may_take(me, v) -> take(me, v) }
#define TERM(me, t) \
	:: d_step { may_follow(me, t) -> enter(me, t) } \
	:: d_step { may_stand(me, t) -> candidate[t] = me + 1; enter(me, t); node[me].role = CANDIDATE }

/* One node, its daemon and its kernel. To pause, or to lose a beat, is to do nothing. */
proctype Director(byte me)
{
	do
	STEPS_WITH(me, other(me))
	STEPS_WITH(me, another(me))
	:: d_step { awake(me) && node[me].role == CANDIDATE && (reported(me, other(me)) || \
		reported(me, another(me))) -> node[me].role = MASTER }
	:: atomic { may_issue(me) -> issue(me) }
	TAKE(me, 1) TAKE(me, 2) TAKE(me, 3) TAKE(me, 4) TAKE(me, 5) TAKE(me, 6)
	:: d_step { awake(me) && node[me].taking -> confirm(me) }
	TERM(me, 1) TERM(me, 2) TERM(me, 3)
	:: d_step { node[me].running && fenceable(me) && leased(me) && lapses < LAPSES -> lapse(me) }
	:: d_step { node[me].paused -> lapse(me) }
	:: d_step { restarts < RESTARTS && RESTARTERS >> me & 1 -> restart(me) }
	:: d_step { farewells < FAREWELLS && RESTARTERS >> me & 1 && awake(me) && node[me].term ->
		farewells++; forget_all(me); said_farewell(me) = L; farewell_session[me] = node[me].session }
	od
}

proctype Time()
{
	do
	:: d_step { true ->
		for (j_ : 0 .. N - 1) {
			if
			:: lease(j_) == 1 ->
#ifdef NO_DEADLINE
				node[j_].paused = 1;
#elif !defined(NO_LAPSE)
				lapse(j_);
#endif
				skip
			:: else
			fi;
			if
			:: waiting(j_) == 1 ->
				node[j_].wait--;
				waiting(j_) = (node[j_].wait -> L + 1 : 0)
			:: else
			fi
		}
		for (j_ : 0 .. TIMERS - 1) {
#ifdef REMEMBERED_FAREWELL
			left[j_] = (j_ >= 6 && j_ < VOUCHED -> left[j_] + 1 : left[j_]);
#endif
			left[j_] = (left[j_] > 0 -> left[j_] - 1 : 0)
		}
		for (j_ : 0 .. N - 1) {
			node[j_].former = (formerly(j_) -> node[j_].former : 0)
		}
		for (j_ : 0 .. 5) {
			promise_session[j_] = (left[PROMISED + j_] -> promise_session[j_] : 0);
#ifndef NO_FRESHNESS
			answer_session[j_] = (left[ANSWERED + j_] -> answer_session[j_] : 0);
#endif
			skip
		}
		j_ = 0
	}
	od
}

init
{
	d_step {
		for (j_ : 0 .. N - 1) {
			node[j_].running = 1;
			node[j_].session = 1;
#ifndef COLD
			node[j_].term = 1;
			node[j_].been = (fenceable(j_) -> bit_of(1) : 1);
			node[j_].taken = 1;
			lease(j_) = (fenceable(j_) -> L : 0);
			vouched(other(j_), j_) = lease(j_);
			vouched(another(j_), j_) = lease(j_)
#endif
		}
#ifndef COLD
		candidate[1] = 1;
		made[1] = 1;
		named[BLOCKS + BLOCKS - 1] = grant(0, 1);
		named[BLOCKS] = grant(HOLDER, 1);
		node[0].role = MASTER;
		snapshot(1, R(0, 1));
		snapshot(2, R(0, 2));
#endif
		j_ = 0
	}
	run Director(0);
	run Director(1);
	run Director(2);
	run Time()
}
