/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_BITOPS_H
#define _SHIM_BITOPS_H

#include <stdbool.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define fallthrough __attribute__((fallthrough))
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

static inline u32 rol32(u32 word, unsigned int shift)
{
	return word << (shift & 31) | word >> (-shift & 31);
}

#endif
