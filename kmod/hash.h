/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the fields that a rule looks at to a block.
 *
 * Pure: no packet, no table, no state. tests/unit compiles this very file in
 * userspace and holds Python's twin and nftables' own jhash against it.
 */
#ifndef _SARU_HASH_H
#define _SARU_HASH_H

#include <linux/jhash.h>
#include <linux/log2.h>
#include <linux/string.h>
#include <linux/types.h>

#include "uapi/xt_saru.h"

/* Two IPv6 addresses and two ports, each padded to whole words. */
#define SARU_HASH_WORDS_MAX	10

/* How a table divides the space of a sense's values. */
struct saru_division {
	u32 seed;
	u8 shift;	/* 32 - log2(blocks): 16 to 31 */
};

/* The fields of one packet; what a sense does not ask for may be unset. */
struct saru_fields {
	const __be32 *src_addr;
	const __be32 *dst_addr;
	u8 addr_words;	/* 1: IPv4, 4: IPv6 */
	__be16 src_port;
	__be16 dst_port;
};

static inline void saru_division_init(struct saru_division *division, u32 blocks, u32 seed)
{
	division->seed = seed;
	division->shift = 32 - ilog2(blocks);
}

/* jhash reads the last words byte by byte, as little-endian: on such a host jhash2 is its equal. */
static inline u32 saru_hash_words(const u32 *words, u32 count, u32 seed)
{
#ifdef __LITTLE_ENDIAN
	return jhash2(words, count, seed);
#else
	return jhash(words, count * sizeof(*words), seed);
#endif
}

static inline u32 saru_hash_add_port(u32 *words, u32 count, __be16 port)
{
	words[count] = 0;
	memcpy(&words[count], &port, sizeof(port));
	return count + 1;
}

static inline u32 saru_hash_add_addr(u32 *words, u32 count, const __be32 *addr, u8 addr_words)
{
	memcpy(&words[count], addr, addr_words * sizeof(*words));
	return count + addr_words;
}

/*
 * nftables' "jhash FIELD . FIELD … seed SEED": a lone field is hashed at its own
 * length, each field of a concatenation is padded with zeros to whole words.
 */
static inline u32 saru_hash_fields(const struct saru_fields *fields, u8 sense, u32 seed)
{
	u32 words[SARU_HASH_WORDS_MAX];
	u32 count = 0;

	if (sense == SARU_SENSE_SRC_PORT)
		return jhash(&fields->src_port, sizeof(fields->src_port), seed);
	if (sense == SARU_SENSE_DST_PORT)
		return jhash(&fields->dst_port, sizeof(fields->dst_port), seed);

	if (sense & SARU_SENSE_SRC_ADDR)
		count = saru_hash_add_addr(words, count, fields->src_addr, fields->addr_words);
	if (sense & SARU_SENSE_DST_ADDR)
		count = saru_hash_add_addr(words, count, fields->dst_addr, fields->addr_words);
	if (sense & SARU_SENSE_SRC_PORT)
		count = saru_hash_add_port(words, count, fields->src_port);
	if (sense & SARU_SENSE_DST_PORT)
		count = saru_hash_add_port(words, count, fields->dst_port);
	return saru_hash_words(words, count, seed);
}

/* This shift is reciprocal_scale(hash, blocks), because blocks is a power of two. */
static inline u32 saru_block_of_hash(const struct saru_fields *fields, u8 sense,
				     const struct saru_division *division)
{
	return saru_hash_fields(fields, sense, division->seed) >> division->shift;
}

/* A lone field as a number of 32 bits: a port is its upper half. */
static inline u32 saru_field_value(const struct saru_fields *fields, u8 sense)
{
	switch (sense) {
	case SARU_SENSE_SRC_ADDR:
		return be32_to_cpu(*fields->src_addr);
	case SARU_SENSE_DST_ADDR:
		return be32_to_cpu(*fields->dst_addr);
	case SARU_SENSE_SRC_PORT:
		return (u32)be16_to_cpu(fields->src_port) << 16;
	default:
		return (u32)be16_to_cpu(fields->dst_port) << 16;
	}
}

/* Blocks of equal width; checkentry has refused all that this cannot divide. */
static inline u32 saru_block_of_range(const struct saru_fields *fields, u8 sense,
				      const struct saru_division *division)
{
	return saru_field_value(fields, sense) >> division->shift;
}

#endif /* _SARU_HASH_H */
