/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * R1 to R8: what a node may do (may_...), and what becomes of it.
 */
/* --- R3, R8: lapse, restart, farewell -------------------------------------------------------------- */

inline forget_all(x)
{
	for (i_ : 0 .. N - 1) {
		if
		:: i_ != x ->
			vouched(x, i_) = 0;
			promised(x, i_) = 0;
			promise_session[pair(x, i_)] = 0
		:: else
		fi
	}
	end_mastership(x);
	lease(x) = 0;
	waiting(x) = 0;
	node[x].running = 0;
	node[x].paused = 0;
	node[x].wait = 0;
	node[x].term = 0;
	node[x].been = 0;
	node[x].bare = 0;
	node[x].taken = 0;
	node[x].taking = 0
}

inline lapse(x)
{
	if
	:: lapses == LAPSES -> forget_all(x)
	:: else ->
		lapses++;
		lease(x) = 0;
		node[x].session++;
		node[x].paused = 0;
		node[x].taken = 0;
		node[x].taking = 0;
		node[x].been = (fenceable(x) -> bit_of(node[x].term) : 1);
		node[x].bare = (fenceable(x) -> bit_of(node[x].term) : 0);
		if
		:: node[x].role == MASTER -> end_mastership(x)
		:: else
		fi
	fi
}

inline restart(x)
{
	restarts++;
	for (i_ : 0 .. BLOCKS - 1) {
		node[x].former = node[x].former | (accepts(x, i_) -> bit_of(i_) : 0)
	}
	formerly(x) = (node[x].former == 0 -> 0 : (fenceable(x) -> larger(lease(x), formerly(x)) : L));
	forget_all(x);
	node[x].running = 1;
	node[x].session++;
#ifndef NO_WAIT
	node[x].wait = 2;
	waiting(x) = L
#endif
}

/* --- R1, R6: the voters ---------------------------------------------------------------------------- */

#ifdef NO_PROMISE
#define forbids(j, i) false
#elif defined(NO_BAR)	/* a newer session is exempt, whatever it holds */
#define forbids(j, i) (promised(j, i) && node[i].session <= promise_session[pair(j, i)])
#else
#define forbids(j, i) (promised(j, i) && (node[i].session <= promise_session[pair(j, i)] || \
	!(node[i].bare & bit_of(node[j].term))))
#endif
#ifdef NO_SILENCE
#define silent(j, i) true
#else
#define silent(j, i) (vouched(j, i) == 0)
#endif
/* j vouches for a beat that i sent L - s ticks ago, in j's term and in i's present session. */
#define may_vouch(j, i, s) (s <= L && fenceable(i) && takes_part(j) && awake(i) && node[j].term && \
	(node[i].been & bit_of(node[j].term)) && !forbids(j, i) && (s > vouched(j, i) || s > lease(i)))
inline vouch(j, i, s)
{
	vouched(j, i) = larger(s, vouched(j, i));
#ifdef FROM_RECEIPT	/* R2 */
	lease(i) = L;
#else
	lease(i) = larger(s, lease(i));
#endif
	check()
}

/* j promises its term's master, the third node, not to vouch for i up to session s. */
#define may_promise(j, i, s) (fenceable(i) && takes_part(j) && node[j].term && \
	node[third(j, i)].term == node[j].term && node[third(j, i)].role == MASTER && awake(third(j, i)) && \
	silent(j, i) && s <= node[i].session && s > fenced[pair(third(j, i), i)] && \
	s >= R(third(j, i), i).session && s >= answer_session[pair(j, i)])
inline promise(j, i, s, t)	/* in answer to an ask that is L - t ticks old */
{
	answered(j, i) = t;
	answer_session[pair(j, i)] = s;
	promised(j, i) = larger(t, promised(j, i));
	promise_session[pair(j, i)] = larger(s, promise_session[pair(j, i)])
}

/* --- R6: the master fences -------------------------------------------------------------------------- */

#define rules(m) (awake(m) && node[m].role == MASTER)
#define answer(m, i) answer_session[pair(third(m, i), i)]
#ifdef ONE_PROMISE	/* the master's own is enough */
#define may_fence(m, i) (rules(m) && fenceable(i) && silent(m, i) && node[i].session > fenced[pair(m, i)])
#else
#define may_fence(m, i) (rules(m) && silent(m, i) && answer(m, i) && answer(m, i) >= R(m, i).session && \
	answer(m, i) > fenced[pair(m, i)])
#endif
inline fence(m, i)
{
#ifdef ONE_PROMISE
	answer(m, i) = node[i].session;
#endif
	fenced[pair(m, i)] = answer(m, i);
	answer(m, i) = 0;
	answered(third(m, i), i) = 0
}

#define may_believe_farewell(m, i) (rules(m) && said_farewell(i) && fenced[pair(m, i)] < farewell_session[i])
#define gives(v, x, s) (names(v, x, s, 0) || names(v, x, s, BLOCKS - 1))
#define may_lift(m, i) (rules(m) && is_fenced(m, i) && reported(m, i) && \
	!gives(R(m, i).taken, i, R(m, i).session) && !gives(R(m, i).taking, i, R(m, i).session))

/* --- R5: the master grants --------------------------------------------------------------------------- */

inline snapshot(x, r)
{
	r.session = node[x].session;
#ifdef EARLY_REPORT	/* before SET has returned */
	r.taken = (node[x].taking -> node[x].taking : node[x].taken);
#else
	r.taken = node[x].taken;
	r.taking = node[x].taking;
#endif
	skip
}

inline count(m, i, b, r)	/* what i reports, and the versions that it has not acknowledged */
{
	held_ = held_ | (names(r.taken, i, r.session, b) || names(r.taking, i, r.session, b) -> bit_of(i) : 0);
#ifndef NO_UNACKNOWLEDGED
	for (k_ : first_of(node[m].term) .. VERSIONS * TERMS) {
		held_ = held_ | (k_ < next_of(node[m].term) && k_ > r.taken && names(k_, i, r.session, b) ->
			bit_of(i) : 0)
	}
#endif
	skip
}

inline may_hold(m, b)		/* held_: who may be holding block b, or may still come to hold it */
{
	snapshot(m, own);
	count(m, m, b, own);
	clear(own);
	for (i_ : 0 .. N - 1) {
		if
		:: i_ == m || is_fenced(m, i_)
		:: i_ != m && !is_fenced(m, i_) && reported(m, i_) -> count(m, i_, b, R(m, i_))
		:: i_ != m && !is_fenced(m, i_) && !reported(m, i_) ->
#ifndef NO_REPORT
			held_ = held_ | bit_of(i_);
#endif
			skip
		fi
	}
}

#define gone(m, g) (holder(g) == m && session_of(g) != node[m].session || holder(g) != m && \
	(is_fenced(m, holder(g)) || reported(m, holder(g)) && R(m, holder(g)).session != session_of(g)))
inline in_hands(m, b)		/* hands_: whose the block is by the newest version, or by reports */
{
	hands_ = (made[node[m].term] -> named[(next_of(node[m].term) - 1) * BLOCKS + b] :
		(held_ & bit_of(m) -> grant(m, node[m].session) :
		(held_ & bit_of(other(m)) -> grant(other(m), R(m, other(m)).session) :
		(held_ & bit_of(another(m)) -> grant(another(m), R(m, another(m)).session) : 0))));
	hands_ = (made[node[m].term] && hands_ && gone(m, hands_) -> 0 : hands_);
#ifdef ONE_STEP
	held_ = 0;
#endif
	skip
}

#ifdef NO_REPORT
#define settled(m, i) true
#else
#define settled(m, i) (is_fenced(m, i) || reported(m, i) && R(m, i).taking == 0)
#endif
#define may_issue(m) (rules(m) && made[node[m].term] < VERSIONS && (made[node[m].term] || \
	settled(m, other(m)) && settled(m, another(m)) && node[m].taking == 0))
#define free_for(x) ((held_ & ~bit_of(x)) == 0)
#define grantable(m, i) (!is_fenced(m, i) && reported(m, i) && leased(i) && node[i].session == R(m, i).session)
#define GIVE(x, s) free_for(x) && hands_ != grant(x, s) -> named[v_ * BLOCKS + b_] = grant(x, s)
#define same_as_before(b) (named[v_ * BLOCKS + (b)] == named[(v_ - 1) * BLOCKS + (b)])
inline issue(m)			/* whatever R5 allows, block by block */
{
	v_ = next_of(node[m].term);
	do
	:: b_ < BLOCKS ->
		d_step { held_ = 0; may_hold(m, b_); in_hands(m, b_) }
		if
		:: named[v_ * BLOCKS + b_] = hands_
		:: hands_ -> named[v_ * BLOCKS + b_] = 0
		:: leased(m) && GIVE(m, node[m].session)
		:: grantable(m, other(m)) && GIVE(other(m), R(m, other(m)).session)
		:: grantable(m, another(m)) && GIVE(another(m), R(m, another(m)).session)
		fi;
		b_++
	:: else -> break
	od;
	d_step {
		if
		:: made[node[m].term] && same_as_before(0) && same_as_before(BLOCKS - 1) ->
			named[v_ * BLOCKS] = 0;
			named[v_ * BLOCKS + BLOCKS - 1] = 0
		:: else -> made[node[m].term]++
		fi;
		v_ = 0; b_ = 0; held_ = 0; hands_ = 0
	}
}

/* --- R5, R7: the director takes; R4: terms ------------------------------------------------------------ */

#ifdef ANY_TERM
#define right_term(x, v) true
#else
#define right_term(x, v) (term_of(v) == node[x].term)
#endif
#define may_take(x, v) (v < IDS && awake(x) && leased(x) && node[x].taking == 0 && v > node[x].taken && \
	right_term(x, v) && v < next_of(term_of(v)))
inline take(x, v)
{
#ifdef TWO_PHASE
	node[x].taking = v;
#else
	node[x].taken = v;
#endif
	tidy();
	check()
}

inline confirm(x)
{
	node[x].taken = node[x].taking;
	node[x].taking = 0;
	tidy()
}

#ifdef GO_BACK
#define may_follow(x, t) (t <= TERMS && takes_part(x) && candidate[t] && node[x].term != t)
#else
#define may_follow(x, t) (t <= TERMS && takes_part(x) && candidate[t] && node[x].term < t)
#endif
#define may_stand(x, t) (t <= TERMS && takes_part(x) && !candidate[t] && node[x].term < t && STANDERS >> x & 1)
inline enter(x, t)
{
	end_mastership(x);
	node[x].term = t;
	node[x].been = (fenceable(x) -> node[x].been | bit_of(t) : 1);
	node[x].bare = (fenceable(x) && !node[x].taken && !node[x].taking -> node[x].bare | bit_of(t) :
		node[x].bare);
	tidy()
}

#ifdef REPORT_ANY_TERM
#define may_hear(m, i) (awake(m) && awake(i) && node[m].role && node[i].term <= node[m].term)
#else
#define may_hear(m, i) (awake(m) && awake(i) && node[m].role && node[i].term == node[m].term)
#endif
