// SPDX-License-Identifier: GPL-2.0-or-later
/* The match "saru": what rules look at, and the verdict. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/module.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <net/ipv6.h>
#include <net/netfilter/ipv4/nf_defrag_ipv4.h>
#include <net/netfilter/ipv6/nf_defrag_ipv6.h>

#include "key.h"
#include "match.h"
#include "table.h"

/* A frame to a multicast MAC: TCP would refuse what this director has accepted. */
static noinline void mark_for_this_host(const struct sk_buff *skb, bool ipv6)
{
	if (ipv6 ? ipv6_addr_is_multicast(&ipv6_hdr(skb)->daddr) :
		   ipv4_is_multicast(ip_hdr(skb)->daddr))
		return;
	((struct sk_buff *)skb)->pkt_type = PACKET_HOST;
}

/*
 * A constant that the compiler takes from nowhere else: it would keep what the test of
 * the block's bit has found for it, over the clock's call.
 */
static __always_inline bool only(bool constant)
{
	OPTIMIZER_HIDE_VAR(constant);
	return constant;
}

static noinline bool judge_expired(const struct saru_table *table)
{
	this_cpu_inc(table->counters->expired);
	return false;
}

/*
 * Whether a held block, counted already, is accepted: nothing but the table is kept
 * over the clock's call.
 */
static __always_inline bool judge_deadline(const struct saru_table *table)
{
	if (unlikely(saru_table_expired(table)))
		return judge_expired(table);
	return only(true);
}

static __always_inline bool reject(const struct xt_saru_mtinfo *info)
{
	this_cpu_inc(info->state->counters->rejected);
	return !info->verdict;
}

/* The long way: any rule, any packet. */
static noinline bool judge_packet(const struct sk_buff *skb, struct xt_action_param *par,
				  bool ipv6)
{
	const struct xt_saru_mtinfo *info = par->matchinfo;
	const struct saru_table *table = rcu_dereference(info->state->table);
	bool accepted;
	int block;

	if (!table)
		return reject(info);
	block = saru_key_block(info, &table->division, skb, skb_network_offset(skb), ipv6);
	if (block < 0) {
		this_cpu_inc(info->state->counters->no_key);
		par->hotdrop = block == SARU_KEY_TRUNCATED;
		return !par->hotdrop && !info->verdict;
	}
	if (!saru_table_holds(table, block))
		return reject(info);
	if (table->packets)
		this_cpu_inc(table->packets[block]);
	else
		this_cpu_inc(info->state->counters->held);
	accepted = judge_deadline(table);
	if (accepted && skb->pkt_type == PACKET_MULTICAST)
		mark_for_this_host(skb, ipv6);
	return accepted == info->verdict;
}

/*
 * The short way: by source port and range, not inverted, to this host's MAC. It is for
 * rules that ask for the protocol: par->thoff and par->fragoff are right in IPv6 too.
 */
static __always_inline bool judge(const struct sk_buff *skb, struct xt_action_param *par,
				  bool ipv6)
{
	const struct xt_saru_mtinfo *info = par->matchinfo;
	const struct saru_table *table = rcu_dereference(info->short_state->short_table);
	unsigned long block;

	if (par->fragoff || skb->pkt_type != PACKET_HOST || !saru_key_is_short(skb, par->thoff))
		return judge_packet(skb, par, ipv6);
	block = saru_key_block_short(&table->division, skb, par->thoff);
	if (!saru_table_holds(table, block)) {
		if (table == &saru_table_closed)
			return judge_packet(skb, par, ipv6);
		this_cpu_inc(table->counters->rejected);
		return only(false);
	}
	this_cpu_inc(table->packets[block]);
	return judge_deadline(table);
}

static bool saru_match_ipv4(const struct sk_buff *skb, struct xt_action_param *par)
{
	return judge(skb, par, false);
}

static bool saru_match_ipv6(const struct sk_buff *skb, struct xt_action_param *par)
{
	return judge(skb, par, true);
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

/* The protocol that every packet has that gets as far as the match, or 0. */
static u8 protocol_of_rule(const struct xt_mtchk_param *par)
{
	const struct ip6t_ip6 *ipv6 = par->entryinfo;
	const struct ipt_ip *ipv4 = par->entryinfo;

	if (par->family == NFPROTO_IPV4)
		return ipv4->invflags & IPT_INV_PROTO ? 0 : ipv4->proto;
	if (!(ipv6->flags & IP6T_F_PROTO) || ipv6->invflags & IP6T_INV_PROTO)
		return 0;
	return ipv6->proto;
}

/* Only the first fragment has ports. In INPUT all IPv4 packets are whole anyway. */
static bool needs_defrag(const struct xt_saru_mtinfo *info, const struct xt_mtchk_param *par)
{
	if (par->family == NFPROTO_IPV4 && par->hook_mask == BIT(NF_INET_LOCAL_IN))
		return false;
	return info->sense & SARU_SENSE_PORTS;
}

/* This needs no connection tracking. */
static int defrag_enable(struct net *net, u8 family)
{
	return family == NFPROTO_IPV6 ? nf_defrag_ipv6_enable(net) : nf_defrag_ipv4_enable(net);
}

static void defrag_disable(struct net *net, u8 family)
{
	if (family == NFPROTO_IPV6)
		nf_defrag_ipv6_disable(net);
	else
		nf_defrag_ipv4_disable(net);
}

static int saru_match_check(const struct xt_mtchk_param *par)
{
	struct xt_saru_mtinfo *info = par->matchinfo;
	struct saru_id *id;
	int err;

	err = check_info(par);
	if (err)
		return err;
	info->defrag = needs_defrag(info, par);
	err = info->defrag ? defrag_enable(par->net, par->family) : 0;
	if (err) {
		pr_info_ratelimited("defragmentation cannot be turned on: error %d\n", err);
		return err;
	}
	id = saru_id_use(par->net, info->id);
	if (IS_ERR(id)) {
		if (info->defrag)
			defrag_disable(par->net, par->family);
		return PTR_ERR(id);
	}
	info->resolved_map = saru_map_resolve(info->map, info->sense);
	info->verdict = !(info->flags & SARU_FLAG_INVERT);
	info->state = id;
	info->short_state = saru_key_has_short_way(info, protocol_of_rule(par)) ? id :
										   &saru_id_closed;
	return 0;
}

static void saru_match_destroy(const struct xt_mtdtor_param *par)
{
	const struct xt_saru_mtinfo *info = par->matchinfo;

	saru_id_unuse(info->state);
	if (info->defrag)
		defrag_disable(par->net, par->family);
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
		.usersize	= offsetof(struct xt_saru_mtinfo, resolved_map),
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
		.usersize	= offsetof(struct xt_saru_mtinfo, resolved_map),
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
