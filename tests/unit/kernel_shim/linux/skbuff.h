/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What kmod/key.h and kmod/hash.h take from the kernel, in userspace: a packet of
 * which the first bytes lie in the linear part, and a few words of the kernel's C.
 */
#ifndef _SHIM_SKBUFF_H
#define _SHIM_SKBUFF_H

#include <endian.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define cpu_to_be16(x) ((__be16)htobe16(x))
#define be16_to_cpu(x) be16toh(x)
#define be32_to_cpu(x) be32toh(x)

struct sk_buff {
	const unsigned char *data;
	unsigned int len;
	unsigned int data_len;	/* of len, not in the linear part */
};

static inline unsigned int skb_headlen(const struct sk_buff *skb)
{
	return skb->len - skb->data_len;
}

/* Always copies, so that whoever keeps the pointer for too long is found out. */
static inline void *skb_header_pointer(const struct sk_buff *skb, int offset, int length,
				       void *buffer)
{
	if (offset < 0 || (unsigned int)offset + length > skb->len)
		return NULL;
	memcpy(buffer, skb->data + offset, length);
	return buffer;
}

#endif
