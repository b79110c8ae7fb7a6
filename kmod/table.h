/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this kernel holds for each id.
 *
 * struct saru_id lives as long as a rule names the id or a table is set for it;
 * struct saru_table is what one SET brought. A SET builds a new table aside,
 * publishes it, and frees the old one after a grace period.
 */
#ifndef _SARU_TABLE_H
#define _SARU_TABLE_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/hrtimer.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/timekeeping.h>
#include <linux/types.h>
#include <linux/xarray.h>
#include <net/net_namespace.h>

#include "hash.h"

struct netlink_ext_ack;

/* On 32 bits a reader may see half of an update; these are statistics. */
struct saru_counters {
	u64 held;	/* of a held block; only where packets are not counted by block */
	u64 rejected;
	u64 expired;	/* of a held block, after the deadline: held, but not accepted */
	u64 no_key;
};

struct saru_version {
	u64 term;
	u64 serial;
};

/* Constant once published, but for the deadline and expiry_told. */
struct saru_table {
	atomic64_t deadline;		/* ns of CLOCK_BOOTTIME; atomic64: whole on 32 bits too */
	u64 __percpu *packets;		/* of held blocks; the id's own; NULL with too many blocks */
	struct saru_counters __percpu *counters;	/* the id's own */
	struct saru_division division;
	u32 blocks;
	u32 held;
	struct saru_version version;
	u64 lease_max;
	atomic_t expiry_told;
	unsigned long bitmap[];		/* as linux/bitmap.h has it */
};

/*
 * The short way through the match asks no questions about the table: where it is
 * closed (no table, or one that does not count packets by block) it finds
 * saru_table_closed, which holds nothing.
 */
struct saru_id {
	struct saru_table __rcu *table;	/* these two are written under net->lock */
	struct saru_table __rcu *short_table;
	struct saru_counters __percpu *counters;
	struct saru_net *net;
	u64 __percpu *packets;		/* of held blocks; NULL with too many blocks */
	u64 held_before;		/* the sum of packets that are gone */
	u32 blocks;			/* of the newest table; packets stay while this does */
	struct hrtimer expiry;		/* armed while there is a table that has not expired */
	u32 users;			/* rules that name this id; under net->lock */
	u16 number;
};

/* A network namespace's ids. */
struct saru_net {
	struct mutex lock;	/* all that is not the packets' path */
	struct xarray ids;	/* struct saru_id by number */
	struct net *net;
	bool gone;		/* the namespace has ended; rules may still name ids */
};

/* A SET, checked as far as it can be without looking at the table. */
struct saru_set {
	u16 id;
	u32 blocks;
	u32 seed;
	struct saru_version version;
	u64 deadline;
	u64 lease_max;
	const u8 *bitmap;	/* saru_bitmap_bytes(blocks), no bit beyond the last block */
};

/* Netlink's bitmap: block b is bit b % 8 of byte b / 8. */
static inline u32 saru_bitmap_bytes(u32 blocks)
{
	return DIV_ROUND_UP(blocks, 8);
}

static inline bool saru_table_holds(const struct saru_table *table, unsigned long block)
{
	return test_bit(block, table->bitmap);
}

/*
 * Where it is one word, the compiler may compare it in place (READ_ONCE forbids that):
 * it is looked at once, behind the call of a function, and cannot be torn.
 */
static __always_inline u64 saru_table_deadline(const struct saru_table *table)
{
#ifdef CONFIG_64BIT
	return data_race(table->deadline.counter);
#else
	return atomic64_read(&table->deadline);
#endif
}

/*
 * The coarse clock would be a tick behind or more. The fast one reads the hardware
 * as the usual one does, but never waits for the CPU that keeps the time, which
 * may have been stopped in the middle of it. It runs on while another CPU moves
 * the clock's base, and is off by less than that move, nanoseconds; when a
 * suspended machine wakes it is early at most.
 */
static __always_inline bool saru_table_expired(const struct saru_table *table)
{
	u64 now = ktime_get_boot_fast_ns();

	return saru_table_deadline(table) <= now;
}

extern struct saru_table saru_table_closed;
extern struct saru_id saru_id_closed;	/* for rules that have no short way */

int saru_table_set(struct saru_net *sn, const struct saru_set *set,
		   struct netlink_ext_ack *extack);
int saru_table_renew(struct saru_net *sn, u16 id, struct saru_version version, u64 deadline,
		     struct netlink_ext_ack *extack);
int saru_table_delete(struct saru_net *sn, u16 id, struct netlink_ext_ack *extack);

u64 saru_id_held(const struct saru_id *id);
struct saru_id *saru_id_use(struct net *net, u16 number);
void saru_id_unuse(struct saru_id *id);

struct saru_net *saru_net_of(struct net *net);
int saru_net_register(void);
void saru_net_unregister(void);

#endif /* _SARU_TABLE_H */
