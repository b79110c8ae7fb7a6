/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the three nodes are and know, what is true of them in every state, and what is forgotten.
 */
/* --- time: every timer has run out after L ticks; what happens between two ticks is as old ------ */

#define VOUCHED 9
#define PROMISED 15
#define ANSWERED 21
#define FORMER 27
#define TIMERS 30
byte left[TIMERS];
#define lease(x) left[x]			/* R2: of x, from the sending of the beat vouched for */
#define formerly(x) left[FORMER + (x)]	/* R8: the table of the life before, till its deadline */
#define waiting(x) left[3 + (x)]		/* R8: half of the start-up wait */
#define said_farewell(x) left[6 + (x)]
#define vouched(j, i) left[VOUCHED + pair(j, i)]	/* R6: receipt of the beat j vouched for */
#define promised(j, i) left[PROMISED + pair(j, i)]	/* R6: j does not vouch for i */
#define answered(j, i) left[ANSWERED + pair(j, i)]	/* R6: the asking that j's promise answers */

/* --- what a node is, what a master knows --------------------------------------------------------- */

#define FOLLOWER 0	/* or resigned */
#define CANDIDATE 1
#define MASTER 2
typedef Node {
	bit running;
	bit paused;	/* only where the kernel has no deadline: the daemon has yet to find its lapse */
	byte wait;	/* R8: halves of the start-up wait that are left */
	byte term;	/* 0: none */
	byte role;
	byte session;	/* incarnation and number in one */
	byte been;	/* bits: the terms that this session was in (1: any, if not fenceable) */
	byte bare;	/* bits: those in which it held no version */
	byte taken;	/* version in the kernel; 0: none */
	byte taking;	/* version on its way into the kernel */
	byte former;	/* bits: the blocks in the table of the life before */
};
Node node[N];

typedef Report {	/* what a beat in the master's term says; session 0: no such beat */
	byte session;
	byte taken;
	byte taking;
};
Report report[6];	/* the newest that the master has of each */
#ifdef DELAY
Report under_way[6];
#endif
Report own;
byte promise_session[6];
byte answer_session[6];
byte farewell_session[N];
byte fenced[6];		/* by the master: up to which session; 0: not */
#define R(m, i) report[pair(m, i)]
#define reported(m, i) (R(m, i).session > 0)
#define is_fenced(m, i) (fenced[pair(m, i)] && R(m, i).session <= fenced[pair(m, i)])

/* Versions are numbered through, term by term, so that the newer is the larger. */
#define IDS (TERMS * VERSIONS + 1)
#define term_of(v) (((v) + VERSIONS - 1) / VERSIONS)
#define first_of(t) (((t) - 1) * VERSIONS + 1)
#define next_of(t) (first_of(t) + made[t])
byte candidate[TERMS + 1];	/* 1 + who stood in the term; 0: nobody yet */
byte made[TERMS + 1];		/* how many versions its master has made */
byte named[IDS * BLOCKS];	/* the grant of each block in each version; 0: nobody's */
#define grant(x, s) ((x) * 16 + (s))
#define holder(g) ((g) / 16)
#define session_of(g) ((g) % 16)
#define names(v, x, s, b) ((v) && named[(v) * BLOCKS + (b)] == grant(x, s))

byte lapses, restarts, farewells;
hidden byte i_, j_, k_;
byte b_, v_, held_, hands_;	/* scratch, like the hidden ones: 0 between steps */

#define awake(x) (node[x].running && !node[x].paused)
#define takes_part(x) (awake(x) && node[x].wait == 0)
#define leased(x) (lease(x) || (!fenceable(x) && node[x].been))

/* --- the invariant ------------------------------------------------------------------------------- */

#ifdef NO_DEADLINE	/* R7 */
#define in_time(x) true
#else
#define in_time(x) leased(x)
#endif
#define by_former(x, b) (formerly(x) && (node[x].former >> (b) & 1))
#define accepts(x, b) (by_former(x, b) || in_time(x) && (names(node[x].taken, x, node[x].session, b) || \
	names(node[x].taking, x, node[x].session, b)))

/* Goals: what can be reached, or else the invariant would hold for nothing. */
#define TAKEOVER (node[1].term == 2 && is_fenced(1, HOLDER) && accepts(1, 0))
#define RETURN (node[HOLDER].session > 1 && node[HOLDER].term == 2 && accepts(HOLDER, 0))
#define MOVE (node[HOLDER].session == 1 && leased(HOLDER) && accepts(1, 0))

inline check()
{
	for (b_ : 0 .. BLOCKS - 1) {
		assert(accepts(0, b_) + accepts(1, b_) + accepts(2, b_) <= 1)
	}
	b_ = 0;
#ifdef GOAL
	assert(!(GOAL));
#endif
	skip
}

/* --- forgetting, so that states that behave alike are alike --------------------------------------- */

inline clear(r)
{
	r.session = 0;
	r.taken = 0;
	r.taking = 0
}

inline end_mastership(m)
{
	for (i_ : 0 .. N - 1) {
		if
		:: i_ != m ->
			clear(R(m, i_));
#ifdef DELAY
			clear(under_way[pair(m, i_)]);
#endif
			fenced[pair(m, i_)] = 0;
			answered(third(m, i_), i_) = 0;
			answer_session[pair(third(m, i_), i_)] = 0
		:: else
		fi
	}
	node[m].role = FOLLOWER
}

#define refers(x, v) (node[x].taken == v || node[x].taking == v || \
	report[2 * x].taken == v || report[2 * x].taking == v || \
	report[2 * x + 1].taken == v || report[2 * x + 1].taking == v)
#define out_of_reach(t) (node[0].term > t && node[1].term > t && node[2].term > t)
inline tidy()
{
#if !defined(ANY_TERM) && !defined(GO_BACK) && !defined(DELAY)
	for (k_ : 1 .. IDS - 1) {
		if
		:: out_of_reach(term_of(k_)) ->
			made[term_of(k_)] = 0;
			if
			:: !refers(0, k_) && !refers(1, k_) && !refers(2, k_) ->
				named[k_ * BLOCKS] = 0;
				named[k_ * BLOCKS + BLOCKS - 1] = 0
			:: else
			fi
		:: else
		fi
	}
#endif
	skip
}
