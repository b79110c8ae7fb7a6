/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

static inline u32 __get_unaligned_cpu32(const void *from)
{
	u32 word;

	memcpy(&word, from, sizeof(word));
	return word;
}
