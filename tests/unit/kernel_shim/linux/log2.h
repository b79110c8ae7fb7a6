/* SPDX-License-Identifier: GPL-2.0-or-later */
#define ilog2(number) (31 - __builtin_clz(number))
