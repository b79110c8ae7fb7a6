// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The blocks of packets, by the very headers that the module compiles.
 *
 * Reads records from standard input: struct record and the packet. Writes an int
 * for each: its block, or the negative number that says why it has none. With
 * `shortly` it goes the short way where saru_key_is_short() lets it.
 */
#include "key.h"

#include <err.h>
#include <stdio.h>

struct record {
	u32 blocks;
	u32 seed;
	u32 length;
	u32 linear;	/* bytes of the packet in the skb's linear part */
	u32 transport;	/* where the short way finds the ports */
	u8 sense;
	u8 map;
	u8 ipv6;
	u8 shortly;
};

static int block_of(const struct record *record, const unsigned char *packet)
{
	struct sk_buff skb = {
		.data = packet,
		.len = record->length,
		.data_len = record->length - record->linear,
	};
	struct xt_saru_mtinfo info = { .sense = record->sense };
	struct saru_division division;

	info.resolved_map = saru_map_resolve(record->map, record->sense);
	saru_division_init(&division, record->blocks, record->seed);
	if (record->shortly && saru_key_has_short_way(&info, IPPROTO_TCP) &&
	    saru_key_is_short(&skb, record->transport))
		return saru_key_block_short(&division, &skb, record->transport);
	return saru_key_block(&info, &division, &skb, 0, record->ipv6);
}

int main(void)
{
	static unsigned char packet[65536];
	struct record record;

	while (fread(&record, sizeof(record), 1, stdin) == 1) {
		int block;

		if (record.length > sizeof(packet) ||
		    fread(packet, 1, record.length, stdin) != record.length)
			errx(1, "a record is cut short");
		block = block_of(&record, packet);
		fwrite(&block, sizeof(block), 1, stdout);
	}
	return 0;
}
