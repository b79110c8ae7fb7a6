// SPDX-License-Identifier: GPL-2.0-or-later
/* The match "saru": what rules look at, and the verdict. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/module.h>
#include <linux/netfilter/x_tables.h>
#include <linux/slab.h>
#include <net/ipv6.h>
#include <net/netfilter/ipv4/nf_defrag_ipv4.h>
#include <net/netfilter/ipv6/nf_defrag_ipv6.h>

#include "key.h"
#include "match.h"
#include "table.h"

struct saru_rule {
	struct saru_id *id;
	struct saru_key key;
	bool invert;
};

/* A frame to a multicast MAC: TCP would refuse what this director has accepted. */
static noinline void mark_for_this_host(const struct sk_buff *skb, bool ipv6)
{
	if (ipv6 ? ipv6_addr_is_multicast(&ipv6_hdr(skb)->daddr) :
		   ipv4_is_multicast(ip_hdr(skb)->daddr))
		return;
	((struct sk_buff *)skb)->pkt_type = PACKET_HOST;
}

/* The last two questions: is the block held, and has the deadline not passed? */
static __always_inline bool judge_block(const struct saru_id *id, const struct saru_table *table,
					u32 block, const struct sk_buff *skb, bool ipv6)
{
	if (!saru_table_holds(table, block)) {
		this_cpu_inc(id->counters->rejected);
		return false;
	}
	if (unlikely(saru_table_expired(table))) {
		this_cpu_inc(id->counters->expired);
		return false;
	}
	this_cpu_inc(id->counters->accepted);
	if (table->packets)
		this_cpu_inc(table->packets[block]);
	if (unlikely(skb->pkt_type == PACKET_MULTICAST))
		mark_for_this_host(skb, ipv6);
	return true;
}

/* The long way: any key, any packet. */
static noinline bool judge_packet(const struct sk_buff *skb, struct xt_action_param *par,
				  const struct saru_rule *rule, const struct saru_table *table,
				  bool ipv6)
{
	int block = saru_key_block(&rule->key, &table->division, skb, skb_network_offset(skb),
				   ipv6);

	if (block >= 0)
		return judge_block(rule->id, table, block, skb, ipv6) ^ rule->invert;
	this_cpu_inc(rule->id->counters->no_key);
	if (block == SARU_KEY_TRUNCATED) {
		par->hotdrop = true;
		return false;
	}
	return rule->invert;
}

static noinline bool judge_without_table(const struct saru_rule *rule)
{
	this_cpu_inc(rule->id->counters->rejected);
	return rule->invert;
}

static bool saru_match_ipv4(const struct sk_buff *skb, struct xt_action_param *par)
{
	const struct xt_saru_mtinfo *info = par->matchinfo;
	const struct saru_rule *rule = info->rule;
	const struct saru_table *table = rcu_dereference(rule->id->table);
	int block;

	if (unlikely(!table))
		return judge_without_table(rule);
	if (rule->key.port_range && !par->fragoff) {
		block = saru_key_block_short(&rule->key, &table->division, skb, par->thoff,
					     ip_hdr(skb)->protocol);
		if (likely(block >= 0))
			return judge_block(rule->id, table, block, skb, false) ^ rule->invert;
	}
	return judge_packet(skb, par, rule, table, false);
}

/* par->thoff and par->fragoff are not set here for a rule without a protocol. */
static bool saru_match_ipv6(const struct sk_buff *skb, struct xt_action_param *par)
{
	const struct xt_saru_mtinfo *info = par->matchinfo;
	const struct saru_rule *rule = info->rule;
	const struct saru_table *table = rcu_dereference(rule->id->table);
	int block;

	if (unlikely(!table))
		return judge_without_table(rule);
	if (rule->key.port_range) {
		block = saru_key_block_short(&rule->key, &table->division, skb,
					     skb_network_offset(skb) + sizeof(struct ipv6hdr),
					     ipv6_hdr(skb)->nexthdr);
		if (likely(block >= 0))
			return judge_block(rule->id, table, block, skb, true) ^ rule->invert;
	}
	return judge_packet(skb, par, rule, table, true);
}

static int check_info(const struct xt_mtchk_param *par)
{
	const struct xt_saru_mtinfo *info = par->matchinfo;

	if (info->id < SARU_ID_MIN) {
		pr_info_ratelimited("id %u is not from %u to %u\n", info->id, SARU_ID_MIN,
				    SARU_ID_MAX);
		return -ERANGE;
	}
	if (!info->sense || info->sense & ~SARU_SENSE_ALL) {
		pr_info_ratelimited("sense 0x%x names no fields, or unknown ones\n", info->sense);
		return -EINVAL;
	}
	if (info->map > SARU_MAP_RANGE) {
		pr_info_ratelimited("map %u is unknown\n", info->map);
		return -EINVAL;
	}
	if (info->flags & ~SARU_FLAG_ALL) {
		pr_info_ratelimited("flags 0x%x are unknown\n", info->flags & ~SARU_FLAG_ALL);
		return -EINVAL;
	}
	if (info->map != SARU_MAP_RANGE)
		return 0;
	if (!is_power_of_2(info->sense)) {
		pr_info_ratelimited("map range divides one field, sense 0x%x names several\n",
				    info->sense);
		return -EDOM;
	}
	if (par->family == NFPROTO_IPV6 && !(info->sense & SARU_SENSE_PORTS)) {
		pr_info_ratelimited("map range cannot divide IPv6 addresses\n");
		return -EAFNOSUPPORT;
	}
	return 0;
}

/* Only the first fragment has ports. This needs no connection tracking. */
static int defrag_enable(const struct saru_key *key, struct net *net, u8 family)
{
	if (!(key->sense & SARU_SENSE_PORTS))
		return 0;
	return family == NFPROTO_IPV6 ? nf_defrag_ipv6_enable(net) : nf_defrag_ipv4_enable(net);
}

static void defrag_disable(const struct saru_key *key, struct net *net, u8 family)
{
	if (!(key->sense & SARU_SENSE_PORTS))
		return;
	if (family == NFPROTO_IPV6)
		nf_defrag_ipv6_disable(net);
	else
		nf_defrag_ipv4_disable(net);
}

static int saru_match_check(const struct xt_mtchk_param *par)
{
	struct xt_saru_mtinfo *info = par->matchinfo;
	struct saru_rule *rule;
	int err;

	err = check_info(par);
	if (err)
		return err;
	rule = kzalloc(sizeof(*rule), GFP_KERNEL_ACCOUNT);
	if (!rule)
		return -ENOMEM;
	saru_key_init(&rule->key, info->sense, info->map);
	rule->invert = info->flags & SARU_FLAG_INVERT;
	err = defrag_enable(&rule->key, par->net, par->family);
	if (err) {
		pr_info_ratelimited("defragmentation cannot be turned on: error %d\n", err);
		goto err_free;
	}
	rule->id = saru_id_use(par->net, info->id);
	if (IS_ERR(rule->id)) {
		err = PTR_ERR(rule->id);
		goto err_defrag;
	}
	info->rule = rule;
	return 0;

err_defrag:
	defrag_disable(&rule->key, par->net, par->family);
err_free:
	kfree(rule);
	return err;
}

static void saru_match_destroy(const struct xt_mtdtor_param *par)
{
	struct xt_saru_mtinfo *info = par->matchinfo;
	struct saru_rule *rule = info->rule;

	saru_id_unuse(rule->id);
	defrag_disable(&rule->key, par->net, par->family);
	kfree(rule);
}

static struct xt_match saru_matches[] __read_mostly = {
	{
		.name		= "saru",
		.revision	= 0,
		.family		= NFPROTO_IPV4,
		.match		= saru_match_ipv4,
		.checkentry	= saru_match_check,
		.destroy	= saru_match_destroy,
		.matchsize	= sizeof(struct xt_saru_mtinfo),
		.usersize	= offsetof(struct xt_saru_mtinfo, rule),
		.me		= THIS_MODULE,
	},
	{
		.name		= "saru",
		.revision	= 0,
		.family		= NFPROTO_IPV6,
		.match		= saru_match_ipv6,
		.checkentry	= saru_match_check,
		.destroy	= saru_match_destroy,
		.matchsize	= sizeof(struct xt_saru_mtinfo),
		.usersize	= offsetof(struct xt_saru_mtinfo, rule),
		.me		= THIS_MODULE,
	},
};

int saru_match_register(void)
{
	return xt_register_matches(saru_matches, ARRAY_SIZE(saru_matches));
}

void saru_match_unregister(void)
{
	xt_unregister_matches(saru_matches, ARRAY_SIZE(saru_matches));
}
