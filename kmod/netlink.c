// SPDX-License-Identifier: GPL-2.0-or-later
/* The generic netlink family "SARU"; uapi/saru.yaml describes it. */
#include <linux/log2.h>
#include <linux/module.h>
#include <net/genetlink.h>
#include <net/sock.h>

#include "compat.h"
#include "netlink.h"
#include "table.h"

/* Per-block counters go in runs, well under the 64 KiB that one attribute holds. */
#define PACKETS_RUN	1024

static const struct genl_multicast_group saru_groups[] = {
	{ .name = SARU_GENL_MCGRP_EVENTS, .flags = GENL_MCAST_CAP_NET_ADMIN },
};

static struct genl_family saru_family;

/* Cleared, and waited for, before the group's number is given back. */
static bool saru_telling;

/*
 * Ranges that these do not name are checked later, for the sake of better texts. A
 * function of one's own is no way to do that: when the kernel tells of the policy it
 * takes that pointer for numbers, and warns.
 */
static const struct nla_policy id_policy[] = {
	[SARU_A_ID]		= { .type = NLA_U16 },
};

static const struct nla_policy renew_policy[] = {
	[SARU_A_ID]		= { .type = NLA_U16 },
	[SARU_A_TERM]		= { .type = NLA_U64 },
	[SARU_A_SERIAL]		= { .type = NLA_U64 },
	[SARU_A_DEADLINE]	= { .type = NLA_U64 },
};

static const struct nla_policy set_policy[] = {
	[SARU_A_ID]		= { .type = NLA_U16 },
	[SARU_A_BLOCKS]		= { .type = NLA_U32 },
	[SARU_A_SEED]		= { .type = NLA_U32 },
	[SARU_A_TERM]		= { .type = NLA_U64 },
	[SARU_A_SERIAL]		= { .type = NLA_U64 },
	[SARU_A_DEADLINE]	= { .type = NLA_U64 },
	[SARU_A_LEASE_MAX]	= { .type = NLA_U64 },
	[SARU_A_BITMAP]		= NLA_POLICY_RANGE(NLA_BINARY, 1, SARU_BLOCKS_MAX / 8),
};

/* True, and says so, if the attribute is missing. */
#define MISSING(info, attr, name) ({				\
	bool __missing = GENL_REQ_ATTR_CHECK(info, attr);	\
								\
	if (__missing)						\
		GENL_SET_ERR_MSG(info, name " is missing");	\
	__missing;						\
})

/* The core's own check for this gives no text. */
static int check_permission(struct sk_buff *skb, struct net *net, struct netlink_ext_ack *extack)
{
	if (netlink_ns_capable(skb, net->user_ns, CAP_NET_ADMIN))
		return 0;
	NL_SET_ERR_MSG(extack, "this needs CAP_NET_ADMIN in the network namespace");
	return -EPERM;
}

static int check_request(struct sk_buff *skb, struct genl_info *info)
{
	int err = check_permission(skb, genl_info_net(info), info->extack);

	if (err)
		return err;
	if (MISSING(info, SARU_A_ID, "the id"))
		return -EINVAL;
	if (nla_get_u16(info->attrs[SARU_A_ID]) >= SARU_ID_MIN)
		return 0;
	NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[SARU_A_ID],
			    "an id is a number from 1 to 65535");
	return -ERANGE;
}

static int check_version_and_deadline(struct genl_info *info)
{
	if (MISSING(info, SARU_A_TERM, "the version's term") ||
	    MISSING(info, SARU_A_SERIAL, "the version's serial") ||
	    MISSING(info, SARU_A_DEADLINE, "the deadline"))
		return -EINVAL;
	return 0;
}

static struct saru_version read_version(const struct genl_info *info)
{
	return (struct saru_version){
		.term = nla_get_u64(info->attrs[SARU_A_TERM]),
		.serial = nla_get_u64(info->attrs[SARU_A_SERIAL]),
	};
}

static int check_blocks(const struct nlattr *attr, struct netlink_ext_ack *extack)
{
	u32 blocks = nla_get_u32(attr);

	if (blocks >= SARU_BLOCKS_MIN && blocks <= SARU_BLOCKS_MAX && is_power_of_2(blocks))
		return 0;
	NL_SET_ERR_MSG_ATTR(extack, attr, "blocks is a power of two from 2 to 65536");
	return -ERANGE;
}

static int check_lease_max(const struct nlattr *attr, struct netlink_ext_ack *extack)
{
	if (nla_get_u64(attr))
		return 0;
	NL_SET_ERR_MSG_ATTR(extack, attr, "the longest lease is more than 0 ns");
	return -ERANGE;
}

static int check_bitmap(const struct nlattr *attr, u32 blocks, struct netlink_ext_ack *extack)
{
	const u8 *bitmap = nla_data(attr);

	if (nla_len(attr) != saru_bitmap_bytes(blocks)) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "the bitmap's length is not one bit a block");
		return -EINVAL;
	}
	if (blocks < 8 && bitmap[0] >> blocks) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "the bitmap has bits beyond the last block");
		return -EINVAL;
	}
	return 0;
}

static int do_set(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;
	struct saru_set set;
	int err;

	err = check_request(skb, info);
	if (err)
		return err;
	if (MISSING(info, SARU_A_BLOCKS, "the number of blocks") ||
	    MISSING(info, SARU_A_SEED, "the seed") ||
	    MISSING(info, SARU_A_LEASE_MAX, "the longest lease") ||
	    MISSING(info, SARU_A_BITMAP, "the bitmap"))
		return -EINVAL;
	err = check_version_and_deadline(info) ?:
	      check_blocks(attrs[SARU_A_BLOCKS], info->extack) ?:
	      check_lease_max(attrs[SARU_A_LEASE_MAX], info->extack) ?:
	      check_bitmap(attrs[SARU_A_BITMAP], nla_get_u32(attrs[SARU_A_BLOCKS]), info->extack);
	if (err)
		return err;
	set.id = nla_get_u16(attrs[SARU_A_ID]);
	set.blocks = nla_get_u32(attrs[SARU_A_BLOCKS]);
	set.seed = nla_get_u32(attrs[SARU_A_SEED]);
	set.version = read_version(info);
	set.deadline = nla_get_u64(attrs[SARU_A_DEADLINE]);
	set.lease_max = nla_get_u64(attrs[SARU_A_LEASE_MAX]);
	set.bitmap = nla_data(attrs[SARU_A_BITMAP]);
	return saru_table_set(saru_net_of(genl_info_net(info)), &set, info->extack);
}

static int do_renew(struct sk_buff *skb, struct genl_info *info)
{
	int err = check_request(skb, info);

	if (err)
		return err;
	err = check_version_and_deadline(info);
	if (err)
		return err;
	return saru_table_renew(saru_net_of(genl_info_net(info)),
				nla_get_u16(info->attrs[SARU_A_ID]), read_version(info),
				nla_get_u64(info->attrs[SARU_A_DEADLINE]), info->extack);
}

static int do_delete(struct sk_buff *skb, struct genl_info *info)
{
	int err = check_request(skb, info);

	if (err)
		return err;
	return saru_table_delete(saru_net_of(genl_info_net(info)),
				 nla_get_u16(info->attrs[SARU_A_ID]), info->extack);
}

static size_t packets_size(u32 blocks)
{
	u32 runs = DIV_ROUND_UP(blocks, PACKETS_RUN);

	return runs * (nla_total_size(0) + nla_total_size(sizeof(u32)) + nla_total_size(0)) +
	       blocks * sizeof(u64);
}

/* An upper bound of what fill_id() needs. */
static size_t reply_size(u32 blocks)
{
	return nla_total_size(sizeof(u16)) +			/* id */
	       4 * nla_total_size(sizeof(u32)) +		/* users, blocks, seed, held */
	       8 * nla_total_size_64bit(sizeof(u64)) +		/* 4 counters, version, deadline, lease */
	       nla_total_size(saru_bitmap_bytes(blocks)) +
	       (blocks <= SARU_BLOCK_PACKETS_MAX ? packets_size(blocks) : 0);
}

static int fill_counters(struct sk_buff *skb, const struct saru_id *id)
{
	struct saru_counters sum = {};
	u64 accepted;
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct saru_counters *counters = per_cpu_ptr(id->counters, cpu);

		sum.rejected += READ_ONCE(counters->rejected);
		sum.expired += READ_ONCE(counters->expired);
		sum.no_key += READ_ONCE(counters->no_key);
	}
	/* A packet is counted as held first, and then perhaps as expired. */
	smp_rmb();
	accepted = saru_id_held(id) - sum.expired;
	if (nla_put_u64_64bit(skb, SARU_A_ACCEPTED, accepted, SARU_A_PAD) ||
	    nla_put_u64_64bit(skb, SARU_A_REJECTED, sum.rejected, SARU_A_PAD) ||
	    nla_put_u64_64bit(skb, SARU_A_EXPIRED, sum.expired, SARU_A_PAD) ||
	    nla_put_u64_64bit(skb, SARU_A_NO_KEY, sum.no_key, SARU_A_PAD))
		return -EMSGSIZE;
	return 0;
}

static int fill_version(struct sk_buff *skb, const struct saru_table *table)
{
	if (nla_put_u32(skb, SARU_A_BLOCKS, table->blocks) ||
	    nla_put_u32(skb, SARU_A_HELD, table->held) ||
	    nla_put_u64_64bit(skb, SARU_A_TERM, table->version.term, SARU_A_PAD) ||
	    nla_put_u64_64bit(skb, SARU_A_SERIAL, table->version.serial, SARU_A_PAD) ||
	    nla_put_u64_64bit(skb, SARU_A_DEADLINE, atomic64_read(&table->deadline), SARU_A_PAD))
		return -EMSGSIZE;
	return 0;
}

static int fill_packets_run(struct sk_buff *skb, const struct saru_table *table, u32 first,
			    u32 count)
{
	struct nlattr *nest, *counts;
	u32 i;
	int cpu;

	nest = nla_nest_start(skb, SARU_A_PACKETS);
	if (!nest || nla_put_u32(skb, SARU_PACKETS_FIRST, first))
		return -EMSGSIZE;
	counts = nla_reserve(skb, SARU_PACKETS_COUNTS, count * sizeof(u64));
	if (!counts)
		return -EMSGSIZE;
	for (i = 0; i < count; i++) {
		u64 sum = 0;

		for_each_possible_cpu(cpu)
			sum += READ_ONCE(per_cpu_ptr(table->packets, cpu)[first + i]);
		memcpy(nla_data(counts) + i * sizeof(sum), &sum, sizeof(sum));
	}
	nla_nest_end(skb, nest);
	return 0;
}

static int fill_packets(struct sk_buff *skb, const struct saru_table *table)
{
	u32 first;
	int err;

	if (!table->packets)
		return 0;
	for (first = 0; first < table->blocks; first += PACKETS_RUN) {
		err = fill_packets_run(skb, table, first,
				       min_t(u32, PACKETS_RUN, table->blocks - first));
		if (err)
			return err;
	}
	return 0;
}

static int fill_bitmap(struct sk_buff *skb, const struct saru_table *table)
{
	u32 bytes = saru_bitmap_bytes(table->blocks);
	struct nlattr *bitmap = nla_reserve(skb, SARU_A_BITMAP, bytes);
	u8 *to;
	u32 i;

	if (!bitmap)
		return -EMSGSIZE;
	to = nla_data(bitmap);
	for (i = 0; i < bytes; i++)
		to[i] = table->bitmap[i / sizeof(long)] >> i % sizeof(long) * 8;
	return 0;
}

static int fill_table(struct sk_buff *skb, const struct saru_table *table)
{
	if (fill_version(skb, table) ||
	    nla_put_u32(skb, SARU_A_SEED, table->division.seed) ||
	    nla_put_u64_64bit(skb, SARU_A_LEASE_MAX, table->lease_max, SARU_A_PAD) ||
	    fill_bitmap(skb, table))
		return -EMSGSIZE;
	return fill_packets(skb, table);
}

/* One whole message about an id, under the net's lock. A table that is not there is left out. */
static int fill_id(struct sk_buff *skb, const struct saru_id *id, u32 portid, u32 seq, int flags)
{
	const struct saru_table *table;
	void *message;

	message = genlmsg_put(skb, portid, seq, &saru_family, flags, SARU_CMD_GET);
	if (!message)
		return -EMSGSIZE;
	if (nla_put_u16(skb, SARU_A_ID, id->number) ||
	    nla_put_u32(skb, SARU_A_USERS, id->users) ||
	    fill_counters(skb, id))
		goto cancel;
	table = rcu_dereference_protected(id->table, lockdep_is_held(&id->net->lock));
	if (table && fill_table(skb, table))
		goto cancel;
	genlmsg_end(skb, message);
	return 0;

cancel:
	genlmsg_cancel(skb, message);
	return -EMSGSIZE;
}

static struct sk_buff *build_reply(const struct saru_id *id, const struct genl_info *info)
{
	struct sk_buff *reply = genlmsg_new(reply_size(id->blocks), GFP_KERNEL);
	int err;

	if (!reply)
		return ERR_PTR(-ENOMEM);
	err = fill_id(reply, id, info->snd_portid, info->snd_seq, 0);
	if (!err)
		return reply;
	nlmsg_free(reply);
	return ERR_PTR(err);
}

static int do_get(struct sk_buff *skb, struct genl_info *info)
{
	struct saru_net *sn = saru_net_of(genl_info_net(info));
	const struct saru_id *id;
	struct sk_buff *reply;
	int err;

	err = check_request(skb, info);
	if (err)
		return err;
	mutex_lock(&sn->lock);
	id = xa_load(&sn->ids, nla_get_u16(info->attrs[SARU_A_ID]));
	reply = id ? build_reply(id, info) : ERR_PTR(-ENOENT);
	mutex_unlock(&sn->lock);
	if (!id)
		GENL_SET_ERR_MSG(info, "the id has neither a table nor a rule");
	if (IS_ERR(reply))
		return PTR_ERR(reply);
	return genlmsg_reply(reply, info);
}

/* The first record must fit into the first buffer, or the dump would end empty. */
static int dump_start(struct netlink_callback *cb)
{
	cb->min_dump_alloc = NLMSG_HDRLEN + GENL_HDRLEN +
			     max(reply_size(SARU_BLOCKS_MAX), reply_size(SARU_BLOCK_PACKETS_MAX));
	return 0;
}

/* Not part of dump_start(): Linux 6.1 has no texts for what goes wrong there. */
static int check_dump(struct netlink_callback *cb)
{
	int err = check_permission(cb->skb, sock_net(cb->skb->sk), cb->extack);

	if (err || !saru_compat_dump_attrs(cb)[SARU_A_ID])
		return err;
	NL_SET_ERR_MSG(cb->extack, "a dump is about all ids; ask for one without NLM_F_DUMP");
	return -EINVAL;
}

/* cb->args[0] is the number to go on with, 0 at first. */
static int dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct saru_net *sn = saru_net_of(sock_net(skb->sk));
	unsigned long number;
	struct saru_id *id;
	int err = 0;

	if (!cb->args[0])
		err = check_dump(cb);
	if (err)
		return err;
	mutex_lock(&sn->lock);
	xa_for_each_start(&sn->ids, number, id, cb->args[0]) {
		err = fill_id(skb, id, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
			      NLM_F_MULTI);
		if (err)
			break;
		cb->args[0] = number + 1;
	}
	mutex_unlock(&sn->lock);
	return skb->len ? skb->len : err;
}

static int fill_event(struct sk_buff *skb, const struct saru_id *id,
		      const struct saru_table *table, enum saru_event event)
{
	void *message = genlmsg_put(skb, 0, 0, &saru_family, 0, SARU_CMD_EVENT);

	if (!message ||
	    nla_put_u16(skb, SARU_A_ID, id->number) ||
	    nla_put_u8(skb, SARU_A_EVENT, event) ||
	    nla_put_u32(skb, SARU_A_USERS, READ_ONCE(id->users)) ||
	    (table && fill_version(skb, table)))
		return -EMSGSIZE;
	genlmsg_end(skb, message);
	return 0;
}

void saru_netlink_tell(const struct saru_id *id, const struct saru_table *table,
		       enum saru_event event, gfp_t gfp)
{
	struct net *net = id->net->net;
	struct sk_buff *skb;

	if (!READ_ONCE(saru_telling) || !genl_has_listeners(&saru_family, net, 0))
		return;
	skb = genlmsg_new(reply_size(SARU_BLOCKS_MIN), gfp);
	if (!skb)
		return;
	if (fill_event(skb, id, table, event)) {
		nlmsg_free(skb);
		return;
	}
	genlmsg_multicast_netns(&saru_family, net, skb, 0, 0, gfp);
}

static const struct genl_ops saru_ops[] = {
	{
		.cmd		= SARU_CMD_SET,
		.doit		= do_set,
		.policy		= set_policy,
		.maxattr	= ARRAY_SIZE(set_policy) - 1,
	},
	{
		.cmd		= SARU_CMD_RENEW,
		.doit		= do_renew,
		.policy		= renew_policy,
		.maxattr	= ARRAY_SIZE(renew_policy) - 1,
	},
	{
		.cmd		= SARU_CMD_GET,
		.doit		= do_get,
		.start		= dump_start,
		.dumpit		= dump,
		.policy		= id_policy,
		.maxattr	= ARRAY_SIZE(id_policy) - 1,
	},
	{
		.cmd		= SARU_CMD_DEL,
		.doit		= do_delete,
		.policy		= id_policy,
		.maxattr	= ARRAY_SIZE(id_policy) - 1,
	},
};

/* Commands of different namespaces need not wait for each other: each has a lock of its own. */
static struct genl_family saru_family __ro_after_init = {
	.name		= SARU_GENL_NAME,
	.version	= SARU_GENL_VERSION,
	.module		= THIS_MODULE,
	.netnsok	= true,
	.parallel_ops	= true,
	.ops		= saru_ops,
	.n_ops		= ARRAY_SIZE(saru_ops),
	.mcgrps		= saru_groups,
	.n_mcgrps	= ARRAY_SIZE(saru_groups),
};

int saru_netlink_register(void)
{
	int err = genl_register_family(&saru_family);

	if (!err)
		WRITE_ONCE(saru_telling, true);
	return err;
}

void saru_netlink_unregister(void)
{
	WRITE_ONCE(saru_telling, false);
	synchronize_rcu();	/* the expiry timers tell from within RCU */
	genl_unregister_family(&saru_family);
}
