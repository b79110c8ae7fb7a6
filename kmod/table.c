// SPDX-License-Identifier: GPL-2.0-or-later
/* The ids of each network namespace, and their tables. */
#include <linux/netlink.h>
#include <linux/slab.h>
#include <net/netns/generic.h>

#include "compat.h"
#include "netlink.h"
#include "table.h"

/* Who asks for more tables than there is memory for is told so; the kernel's log is not. */
#define SARU_GFP	(GFP_KERNEL_ACCOUNT | __GFP_NOWARN)

static unsigned int saru_net_id __read_mostly;

struct saru_table saru_table_closed = {
	.division = { .shift = 31 },
	.blocks = 2,
	.bitmap = { 0 },
};

struct saru_id saru_id_closed = {
	.short_table = (struct saru_table __rcu *)&saru_table_closed,
};

struct saru_net *saru_net_of(struct net *net)
{
	return net_generic(net, saru_net_id);
}

static struct saru_table *table_of(const struct saru_id *id)
{
	return rcu_dereference_protected(id->table, lockdep_is_held(&id->net->lock));
}

/* Soft interrupt. Only tells: the match looks at the deadline by itself. */
static enum hrtimer_restart id_expire(struct hrtimer *timer)
{
	struct saru_id *id = container_of(timer, struct saru_id, expiry);
	struct saru_table *table;

	rcu_read_lock();
	table = rcu_dereference(id->table);
	/* A deadline that has moved since has its own shot of the timer. */
	if (table && saru_table_expired(table) && !atomic_xchg(&table->expiry_told, 1))
		saru_netlink_tell(id, table, SARU_EVENT_EXPIRED, GFP_ATOMIC);
	rcu_read_unlock();
	return HRTIMER_NORESTART;
}

static void id_arm_expiry(struct saru_id *id, u64 deadline)
{
	hrtimer_start(&id->expiry, ns_to_ktime(min_t(u64, deadline, KTIME_MAX)),
		      HRTIMER_MODE_ABS_SOFT);
}

static struct saru_id *id_find_or_create(struct saru_net *sn, u16 number)
{
	struct saru_id *id = xa_load(&sn->ids, number);
	int err;

	if (id)
		return id;
	if (sn->gone)
		return ERR_PTR(-ENODEV);
	id = kzalloc(sizeof(*id), SARU_GFP);
	if (!id)
		return ERR_PTR(-ENOMEM);
	id->counters = alloc_percpu_gfp(struct saru_counters, SARU_GFP);
	if (!id->counters) {
		err = -ENOMEM;
		goto err_free_id;
	}
	RCU_INIT_POINTER(id->short_table, &saru_table_closed);
	id->net = sn;
	id->number = number;
	saru_compat_hrtimer_setup(&id->expiry, id_expire, CLOCK_BOOTTIME, HRTIMER_MODE_ABS_SOFT);
	err = xa_err(xa_store(&sn->ids, number, id, SARU_GFP));
	if (err)
		goto err_free_counters;
	return id;

err_free_counters:
	free_percpu(id->counters);
err_free_id:
	kfree(id);
	return ERR_PTR(err);
}

/* Frees an id that has neither table nor users: nothing else can reach it. */
static void id_free_unused(struct saru_id *id)
{
	if (table_of(id) || id->users)
		return;
	xa_erase(&id->net->ids, id->number);
	free_percpu(id->packets);
	free_percpu(id->counters);
	kfree(id);
}

static u64 packets_sum(const u64 __percpu *packets, u32 blocks)
{
	u64 sum = 0;
	u32 block;
	int cpu;

	for_each_possible_cpu(cpu)
		for (block = 0; block < blocks; block++)
			sum += READ_ONCE(per_cpu_ptr(packets, cpu)[block]);
	return sum;
}

/* All packets of held blocks that came for this id. The caller holds the net's lock. */
u64 saru_id_held(const struct saru_id *id)
{
	u64 sum = id->held_before;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(id->counters, cpu)->held);
	return id->packets ? sum + packets_sum(id->packets, id->blocks) : sum;
}

/*
 * Replaces the id's table, which may be NULL and may become NULL, and frees the
 * old one. On return no CPU can be using it.
 */
static void id_replace_table(struct saru_id *id, struct saru_table *table)
{
	struct saru_table *old = table_of(id);
	u64 __percpu *packets = NULL;
	u32 old_blocks = id->blocks;

	if (table && table->packets != id->packets) {
		packets = id->packets;
		id->packets = table->packets;
	}
	if (table)
		id->blocks = table->blocks;
	rcu_assign_pointer(id->short_table,
			   table && table->packets ? table : &saru_table_closed);
	rcu_assign_pointer(id->table, table);
	if (old)
		synchronize_rcu_expedited();
	if (packets)
		id->held_before += packets_sum(packets, old_blocks);
	free_percpu(packets);
	kfree(old);
}

/* Forgets the id's table; the caller may then free the id. */
static void id_drop_table(struct saru_id *id)
{
	id_replace_table(id, NULL);
	/* Its function reads the table under RCU, and may be running. */
	hrtimer_cancel(&id->expiry);
}

static int version_compare(struct saru_version a, struct saru_version b)
{
	if (a.term != b.term)
		return a.term < b.term ? -1 : 1;
	if (a.serial != b.serial)
		return a.serial < b.serial ? -1 : 1;
	return 0;
}

/* From netlink's bytes. */
static void bitmap_of_bytes(unsigned long *bitmap, const u8 *bytes, u32 blocks)
{
	u32 i;

	for (i = 0; i < saru_bitmap_bytes(blocks); i++)
		bitmap[i / sizeof(*bitmap)] |= (unsigned long)bytes[i] << i % sizeof(*bitmap) * 8;
}

static int deadline_check(u64 deadline, u64 lease_max, struct netlink_ext_ack *extack)
{
	u64 now = ktime_get_boottime_ns();

	if (deadline > now && deadline - now > lease_max) {
		NL_SET_ERR_MSG(extack, "the deadline is further away than the longest lease");
		return -ERANGE;
	}
	return 0;
}

static bool table_is_within(const struct saru_table *table, const struct saru_table *old)
{
	return table->blocks == old->blocks && table->division.seed == old->division.seed &&
	       bitmap_subset(table->bitmap, old->bitmap, table->blocks);
}

static int table_check_version(const struct saru_table *table, const struct saru_table *old,
			       struct netlink_ext_ack *extack)
{
	int order = version_compare(table->version, old->version);

	if (order < 0) {
		NL_SET_ERR_MSG(extack, "the version is older than the table's");
		return -ESTALE;
	}
	if (order > 0)
		return 0;
	if (!table_is_within(table, old)) {
		NL_SET_ERR_MSG(extack, "this version came before, and not with all of these blocks");
		return -EEXIST;
	}
	if (saru_table_expired(old)) {
		NL_SET_ERR_MSG(extack, "the table's deadline has passed; only a newer version can replace it");
		return -ESTALE;
	}
	return 0;
}

/* What a SET asks for, not yet seen by anybody, and not yet counting packets. */
static struct saru_table *table_create(const struct saru_set *set)
{
	struct saru_table *table;

	table = kzalloc(struct_size(table, bitmap, BITS_TO_LONGS(set->blocks)),
			SARU_GFP);
	if (!table)
		return NULL;
	atomic64_set(&table->deadline, set->deadline);
	saru_division_init(&table->division, set->blocks, set->seed);
	table->blocks = set->blocks;
	table->version = set->version;
	table->lease_max = set->lease_max;
	bitmap_of_bytes(table->bitmap, set->bitmap, set->blocks);
	table->held = bitmap_weight(table->bitmap, set->blocks);
	return table;
}

/* Packets go on being counted where they were, if the number of blocks is the same. */
static int table_count_packets(struct saru_table *table, const struct saru_id *id)
{
	table->counters = id->counters;
	if (id->blocks == table->blocks) {
		table->packets = id->packets;
		return 0;
	}
	if (table->blocks > SARU_BLOCK_PACKETS_MAX)
		return 0;
	table->packets = __alloc_percpu_gfp(table->blocks * sizeof(u64), __alignof__(u64),
					    SARU_GFP);
	return table->packets ? 0 : -ENOMEM;
}

/*
 * A deadline of the same version was stored over `old`: that must have happened
 * while `old` had not passed. If it may have passed in between, it stands again.
 */
static int table_confirm_deadline(struct saru_table *table, u64 old,
				  struct netlink_ext_ack *extack)
{
	if (ktime_get_boottime_ns() < old)
		return 0;
	atomic64_set(&table->deadline, old);
	NL_SET_ERR_MSG(extack, "the table's deadline passed in the meantime");
	return -ESTALE;
}

/* Takes over the table, or frees it. */
static int id_set_table(struct saru_id *id, struct saru_table *table,
			struct netlink_ext_ack *extack)
{
	struct saru_table *old = table_of(id);
	u64 old_deadline = 0;
	bool again = false;
	int err = 0;

	if (old) {
		err = table_check_version(table, old, extack);
		again = !version_compare(table->version, old->version);
		old_deadline = atomic64_read(&old->deadline);
	}
	err = err ?: deadline_check(atomic64_read(&table->deadline), table->lease_max, extack);
	err = err ?: table_count_packets(table, id);
	if (err) {
		kfree(table);
		return err;
	}
	id_replace_table(id, table);
	if (again)
		err = table_confirm_deadline(table, old_deadline, extack);
	/* First this, or a deadline that has passed would be told of before the table. */
	saru_netlink_tell(id, table, SARU_EVENT_SET, GFP_KERNEL);
	id_arm_expiry(id, atomic64_read(&table->deadline));
	return err;
}

/* Returns only when no CPU can be using the table that was there before. */
int saru_table_set(struct saru_net *sn, const struct saru_set *set,
		   struct netlink_ext_ack *extack)
{
	struct saru_table *table = table_create(set);
	struct saru_id *id;
	int err;

	if (!table)
		return -ENOMEM;
	mutex_lock(&sn->lock);
	id = id_find_or_create(sn, set->id);
	if (IS_ERR(id)) {
		err = PTR_ERR(id);
		kfree(table);
	} else {
		err = id_set_table(id, table, extack);
		id_free_unused(id);
	}
	mutex_unlock(&sn->lock);
	return err;
}

static int id_renew(struct saru_id *id, struct saru_version version, u64 deadline,
		    struct netlink_ext_ack *extack)
{
	struct saru_table *table = table_of(id);
	u64 old;
	int err;

	if (version_compare(version, table->version)) {
		NL_SET_ERR_MSG(extack, "the table has another version");
		return -ESTALE;
	}
	if (saru_table_expired(table)) {
		NL_SET_ERR_MSG(extack, "the table's deadline has passed");
		return -ESTALE;
	}
	err = deadline_check(deadline, table->lease_max, extack);
	if (err)
		return err;
	old = atomic64_read(&table->deadline);
	atomic64_set(&table->deadline, deadline);
	err = table_confirm_deadline(table, old, extack);
	if (!err && deadline < old)
		synchronize_rcu_expedited();	/* letting go early is letting go */
	/* After an error too: the timer may have found the deadline moved, and told nothing. */
	id_arm_expiry(id, atomic64_read(&table->deadline));
	return err;
}

/* On return every CPU goes by the new deadline. */
int saru_table_renew(struct saru_net *sn, u16 id, struct saru_version version, u64 deadline,
		     struct netlink_ext_ack *extack)
{
	struct saru_id *found;
	int err = -ENOENT;

	mutex_lock(&sn->lock);
	found = xa_load(&sn->ids, id);
	if (found && table_of(found))
		err = id_renew(found, version, deadline, extack);
	else
		NL_SET_ERR_MSG(extack, "the id has no table");
	mutex_unlock(&sn->lock);
	return err;
}

/* Returns only when no CPU can be using the table. */
int saru_table_delete(struct saru_net *sn, u16 id, struct netlink_ext_ack *extack)
{
	struct saru_id *found;
	int err = -ENOENT;

	mutex_lock(&sn->lock);
	found = xa_load(&sn->ids, id);
	if (found && table_of(found)) {
		id_drop_table(found);
		saru_netlink_tell(found, NULL, SARU_EVENT_DELETED, GFP_KERNEL);
		id_free_unused(found);
		err = 0;
	} else {
		NL_SET_ERR_MSG(extack, "the id has no table");
	}
	mutex_unlock(&sn->lock);
	return err;
}

/* A rule names the id, whether or not it has a table. Returns ERR_PTR on failure. */
struct saru_id *saru_id_use(struct net *net, u16 number)
{
	struct saru_net *sn = saru_net_of(net);
	struct saru_id *id;

	mutex_lock(&sn->lock);
	id = id_find_or_create(sn, number);
	if (!IS_ERR(id))
		id->users++;
	mutex_unlock(&sn->lock);
	return id;
}

/* The rule is gone, and no CPU is at it any more. */
void saru_id_unuse(struct saru_id *id)
{
	struct saru_net *sn = id->net;

	mutex_lock(&sn->lock);
	if (!--id->users && !sn->gone)
		saru_netlink_tell(id, table_of(id), SARU_EVENT_UNUSED, GFP_KERNEL);
	id_free_unused(id);
	mutex_unlock(&sn->lock);
}

static int __net_init saru_net_init(struct net *net)
{
	struct saru_net *sn = saru_net_of(net);

	mutex_init(&sn->lock);
	xa_init(&sn->ids);
	sn->net = net;
	return 0;
}

/*
 * Rules of tables that were registered before this module outlive this: their ids
 * go with the last of them, before the memory of *sn does.
 */
static void __net_exit saru_net_exit(struct net *net)
{
	struct saru_net *sn = saru_net_of(net);
	struct saru_id *id;
	unsigned long number;

	mutex_lock(&sn->lock);
	sn->gone = true;
	xa_for_each(&sn->ids, number, id) {
		id_drop_table(id);
		id_free_unused(id);
	}
	mutex_unlock(&sn->lock);
}

static struct pernet_operations saru_net_ops = {
	.init	= saru_net_init,
	.exit	= saru_net_exit,
	.id	= &saru_net_id,
	.size	= sizeof(struct saru_net),
};

int saru_net_register(void)
{
	return register_pernet_subsys(&saru_net_ops);
}

void saru_net_unregister(void)
{
	unregister_pernet_subsys(&saru_net_ops);
}
