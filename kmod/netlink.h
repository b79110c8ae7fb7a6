/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SARU_NETLINK_H
#define _SARU_NETLINK_H

#include <linux/gfp.h>

#include "table.h"

/*
 * Tells the group "events". `table` may be NULL. The caller keeps both alive: it
 * holds the net's lock or is in an RCU read-side section.
 */
void saru_netlink_tell(const struct saru_id *id, const struct saru_table *table,
		       enum saru_event event, gfp_t gfp);

int saru_netlink_register(void);
void saru_netlink_unregister(void);

#endif /* _SARU_NETLINK_H */
