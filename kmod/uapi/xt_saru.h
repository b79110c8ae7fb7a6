/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * Saru: accept the packets whose block this director holds.
 *
 * Two interfaces stand here: what an iptables rule hands to the match, and the
 * generic netlink family that hands the match its tables. saru.yaml beside this
 * file describes the second in netlink's own notation.
 */
#ifndef _UAPI_XT_SARU_H
#define _UAPI_XT_SARU_H

#include <linux/types.h>

#define SARU_ID_MIN		1
#define SARU_ID_MAX		65535
#define SARU_BLOCKS_MIN		2
#define SARU_BLOCKS_MAX		65536
/* Packets are counted per block up to this many blocks. */
#define SARU_BLOCK_PACKETS_MAX	4096

/* The fields a rule looks at, in the order in which they are hashed. */
enum saru_sense {
	SARU_SENSE_SRC_ADDR	= 1 << 0,
	SARU_SENSE_DST_ADDR	= 1 << 1,
	SARU_SENSE_SRC_PORT	= 1 << 2,
	SARU_SENSE_DST_PORT	= 1 << 3,
};
#define SARU_SENSE_ALL	(SARU_SENSE_SRC_ADDR | SARU_SENSE_DST_ADDR | \
			 SARU_SENSE_SRC_PORT | SARU_SENSE_DST_PORT)

enum saru_map {
	SARU_MAP_AUTO,		/* range for one port field, else hash */
	SARU_MAP_HASH,
	SARU_MAP_RANGE,
};

#define SARU_FLAG_INVERT	(1 << 0)
#define SARU_FLAG_ALL		SARU_FLAG_INVERT

/* Revision 0 of the match "saru". */
struct xt_saru_mtinfo {
	__u16 id;
	__u8 sense;		/* enum saru_sense, or-ed */
	__u8 map;		/* enum saru_map */
	__u32 flags;

	/* The kernel's own, worked out when the rule is added; same layout on 32 bits. */
	__u8 resolved_map __attribute__((aligned(8)));	/* never SARU_MAP_AUTO */
	__u8 verdict;		/* what the match says of a packet that is accepted */
	__u8 defrag;		/* whether defragmentation is on for this rule */
	struct saru_id *state __attribute__((aligned(8)));
	struct saru_id *short_state __attribute__((aligned(8)));
};

#define SARU_GENL_NAME		"SARU"
#define SARU_GENL_VERSION	1
#define SARU_GENL_MCGRP_EVENTS	"events"

enum saru_cmd {
	SARU_CMD_UNSPEC,
	SARU_CMD_SET,
	SARU_CMD_RENEW,
	SARU_CMD_GET,
	SARU_CMD_DEL,
	SARU_CMD_EVENT,		/* from the kernel only, to the group "events" */
	__SARU_CMD_MAX,
};
#define SARU_CMD_MAX (__SARU_CMD_MAX - 1)

enum saru_attr {
	SARU_A_UNSPEC,
	SARU_A_PAD,
	SARU_A_ID,		/* u16 */
	SARU_A_BLOCKS,		/* u32, a power of two, 2 to 65536 */
	SARU_A_SEED,		/* u32 */
	SARU_A_TERM,		/* u64, the version's upper half */
	SARU_A_SERIAL,		/* u64, the version's lower half */
	SARU_A_DEADLINE,	/* u64, ns of CLOCK_BOOTTIME, absolute */
	SARU_A_LEASE_MAX,	/* u64, ns: no deadline further away than this */
	SARU_A_BITMAP,		/* binary, blocks / 8 bytes (at least 1); block b is bit b % 8 of byte b / 8 */
	SARU_A_HELD,		/* u32: how many bits are set */
	SARU_A_ACCEPTED,	/* u64, packets */
	SARU_A_REJECTED,	/* u64, packets */
	SARU_A_EXPIRED,		/* u64, packets of a held block after the deadline */
	SARU_A_NO_KEY,		/* u64, packets without the fields the rule looks at */
	SARU_A_USERS,		/* u32: how many rules name this id */
	SARU_A_PACKETS,		/* nest: SARU_PACKETS_*, may come several times; packets of held
				   blocks, accepted and expired; from 0 when blocks changes */
	SARU_A_EVENT,		/* u8, enum saru_event */
	__SARU_A_MAX,
};
#define SARU_A_MAX (__SARU_A_MAX - 1)

/* A run of per-block packet counters. */
enum saru_packets_attr {
	SARU_PACKETS_UNSPEC,
	SARU_PACKETS_FIRST,	/* u32, the run's first block */
	SARU_PACKETS_COUNTS,	/* binary: u64 a block, host byte order */
	__SARU_PACKETS_MAX,
};
#define SARU_PACKETS_MAX (__SARU_PACKETS_MAX - 1)

enum saru_event {
	SARU_EVENT_UNSPEC,
	SARU_EVENT_SET,
	SARU_EVENT_DELETED,
	SARU_EVENT_EXPIRED,
	SARU_EVENT_UNUSED,	/* the last rule that names the id is gone */
};

#endif /* _UAPI_XT_SARU_H */
