/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a packet to the block that a rule judges it by.
 *
 * Pure: reads the packet and nothing else. tests/unit compiles this very file in
 * userspace, over a struct sk_buff of its own.
 */
#ifndef _SARU_KEY_H
#define _SARU_KEY_H

#include <linux/errno.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/skbuff.h>

#include "hash.h"

/* Why a packet has no block. */
#define SARU_KEY_NONE		(-ENODATA)	/* it lacks a field that the rule looks at */
#define SARU_KEY_TRUNCATED	(-EBADMSG)	/* a header of its own is cut short */

/* IPv6: who sends more extension headers than this wants to be slow, or to hide. */
#define SARU_EXTENSIONS_MAX	8

#define SARU_SENSE_PORTS	(SARU_SENSE_SRC_PORT | SARU_SENSE_DST_PORT)

/* One IP header, and where the transport header behind it begins. */
struct saru_header {
	const __be32 *src_addr;
	const __be32 *dst_addr;
	int transport;
	u8 protocol;
	bool later_fragment;	/* no transport header here */
	union {
		struct iphdr ipv4;
		struct ipv6hdr ipv6;
	} buffer;
};

/* All of these begin with the source port and the destination port. */
static inline bool saru_protocol_has_ports(u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_DCCP:
	case IPPROTO_SCTP:
	case IPPROTO_UDPLITE:
		return true;
	default:
		return false;
	}
}

static inline int saru_header_read_ipv4(struct saru_header *header, const struct sk_buff *skb,
					int at)
{
	const struct iphdr *ip;

	ip = skb_header_pointer(skb, at, sizeof(*ip), &header->buffer.ipv4);
	if (!ip || ip->version != 4 || ip->ihl < 5)
		return SARU_KEY_TRUNCATED;
	header->src_addr = &ip->saddr;
	header->dst_addr = &ip->daddr;
	header->transport = at + ip->ihl * 4;
	header->protocol = ip->protocol;
	header->later_fragment = ip->frag_off & cpu_to_be16(0x1fff);
	return 0;
}

static inline bool saru_protocol_is_extension(u8 protocol)
{
	switch (protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
		return true;
	default:
		return false;
	}
}

/* Steps over one extension header: all four kinds begin with the next protocol and a length. */
static inline int saru_header_skip_extension(struct saru_header *header, const struct sk_buff *skb)
{
	u8 buffer[4];
	const u8 *extension;

	extension = skb_header_pointer(skb, header->transport, sizeof(buffer), buffer);
	if (!extension)
		return SARU_KEY_TRUNCATED;
	switch (header->protocol) {
	case IPPROTO_FRAGMENT:
		/* 13 bits of offset, 2 reserved, 1 for "more follow" */
		header->later_fragment = extension[2] || (extension[3] & 0xf8);
		header->transport += 8;
		break;
	case IPPROTO_AH:
		header->transport += (extension[1] + 2) * 4;
		break;
	default:
		header->transport += (extension[1] + 1) * 8;
		break;
	}
	header->protocol = extension[0];
	return 0;
}

/* With more extension headers than are walked, the protocol is left at one that has no ports. */
static inline int saru_header_read_ipv6(struct saru_header *header, const struct sk_buff *skb,
					int at)
{
	const struct ipv6hdr *ip;
	int left, ret;

	ip = skb_header_pointer(skb, at, sizeof(*ip), &header->buffer.ipv6);
	if (!ip || ip->version != 6)
		return SARU_KEY_TRUNCATED;
	header->src_addr = (const __be32 *)&ip->saddr;
	header->dst_addr = (const __be32 *)&ip->daddr;
	header->transport = at + sizeof(*ip);
	header->protocol = ip->nexthdr;
	header->later_fragment = false;
	for (left = SARU_EXTENSIONS_MAX; left; left--) {
		if (!saru_protocol_is_extension(header->protocol) || header->later_fragment)
			break;
		ret = saru_header_skip_extension(header, skb);
		if (ret)
			return ret;
	}
	return 0;
}

static inline int saru_header_read(struct saru_header *header, const struct sk_buff *skb, int at,
				   bool ipv6)
{
	return ipv6 ? saru_header_read_ipv6(header, skb, at) :
		      saru_header_read_ipv4(header, skb, at);
}

static inline bool saru_icmp_is_error(u8 type, bool ipv6)
{
	if (ipv6)
		return type < ICMPV6_INFOMSG_MASK;
	switch (type) {
	case ICMP_DEST_UNREACH:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		return true;
	default:
		return false;
	}
}

/* Both families' ICMP headers are 8 bytes that begin with the type; an error's packet follows. */
#define SARU_ICMP_HEADER	8

/*
 * Returns 1 if header was an ICMP error and is now the packet that the error is
 * about, 0 if it is no ICMP error, or negative.
 */
static inline int saru_header_enter_error(struct saru_header *header, const struct sk_buff *skb,
					  bool ipv6)
{
	u8 buffer[SARU_ICMP_HEADER];
	const u8 *icmp;

	if (header->later_fragment || header->protocol != (ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return 0;
	icmp = skb_header_pointer(skb, header->transport, sizeof(buffer), buffer);
	if (!icmp)
		return SARU_KEY_TRUNCATED;
	if (!saru_icmp_is_error(icmp[0], ipv6))
		return 0;
	if (saru_header_read(header, skb, header->transport + SARU_ICMP_HEADER, ipv6))
		return SARU_KEY_NONE;
	return 1;
}

/* Reads what sense asks for. Returns 0, SARU_KEY_NONE or SARU_KEY_TRUNCATED. */
static inline int saru_fields_read(struct saru_fields *fields, struct saru_header *header,
				   const struct sk_buff *skb, int at, u8 sense, bool ipv6)
{
	__be16 buffer[2];
	const __be16 *ports;
	int error;

	if (saru_header_read(header, skb, at, ipv6))
		return SARU_KEY_TRUNCATED;
	error = saru_header_enter_error(header, skb, ipv6);
	if (error < 0)
		return error;

	/* Turned around, the answer that an error is about is a packet of its connection. */
	fields->src_addr = error ? header->dst_addr : header->src_addr;
	fields->dst_addr = error ? header->src_addr : header->dst_addr;
	fields->addr_words = ipv6 ? 4 : 1;
	if (!(sense & SARU_SENSE_PORTS))
		return 0;

	if (header->later_fragment || !saru_protocol_has_ports(header->protocol))
		return SARU_KEY_NONE;
	ports = skb_header_pointer(skb, header->transport, sizeof(buffer), buffer);
	if (!ports)
		return error ? SARU_KEY_NONE : SARU_KEY_TRUNCATED;
	fields->src_port = ports[error ? 1 : 0];
	fields->dst_port = ports[error ? 0 : 1];
	return 0;
}

static inline u8 saru_map_resolve(u8 map, u8 sense)
{
	if (map != SARU_MAP_AUTO)
		return map;
	return sense == SARU_SENSE_SRC_PORT || sense == SARU_SENSE_DST_PORT ? SARU_MAP_RANGE :
									       SARU_MAP_HASH;
}

/*
 * Whether the short way serves a rule. `protocol` is the one that the rule asks
 * for by itself, or 0.
 */
static inline bool saru_key_has_short_way(const struct xt_saru_mtinfo *info, u8 protocol)
{
	return info->sense == SARU_SENSE_SRC_PORT && info->resolved_map == SARU_MAP_RANGE &&
	       !(info->flags & SARU_FLAG_INVERT) && saru_protocol_has_ports(protocol);
}

/*
 * The block of any packet by any rule; its IP header begins at `at`. Returns 0 to
 * blocks - 1, SARU_KEY_NONE or SARU_KEY_TRUNCATED.
 */
static inline int saru_key_block(const struct xt_saru_mtinfo *info,
				 const struct saru_division *division,
				 const struct sk_buff *skb, int at, bool ipv6)
{
	struct saru_header header;
	struct saru_fields fields;
	int ret;

	ret = saru_fields_read(&fields, &header, skb, at, info->sense, ipv6);
	if (ret)
		return ret;
	if (info->resolved_map == SARU_MAP_RANGE)
		return saru_block_of_range(&fields, info->sense, division);
	return saru_block_of_hash(&fields, info->sense, division);
}

/*
 * The short way, where a rule has it: whether a transport header at `at`, in a
 * packet that is no later fragment, has its ports in the skb's linear part …
 */
static __always_inline bool saru_key_is_short(const struct sk_buff *skb, unsigned int at)
{
	return at + sizeof(__be32) <= skb_headlen(skb);
}

/* … and its block, which saru_key_block() would give too: both ports, the source's above. */
static __always_inline unsigned long saru_key_block_short(const struct saru_division *division,
							  const struct sk_buff *skb,
							  unsigned int at)
{
	return be32_to_cpu(*(const __be32 *)(skb->data + at)) >> division->shift;
}

#endif /* _SARU_KEY_H */
