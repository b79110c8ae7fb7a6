// SPDX-License-Identifier: GPL-2.0-or-later
/* Loading and unloading. */
#include <linux/module.h>
#include <net/genetlink.h>

#include "match.h"
#include "netlink.h"
#include "table.h"

static int __init saru_init(void)
{
	int err;

	err = saru_net_register();
	if (err)
		return err;
	err = saru_netlink_register();
	if (err)
		goto err_net;
	err = saru_match_register();
	if (err)
		goto err_netlink;
	return 0;

err_netlink:
	saru_netlink_unregister();
err_net:
	saru_net_unregister();
	return err;
}

/* No rule is left, or the module would still be in use. */
static void __exit saru_exit(void)
{
	saru_match_unregister();
	saru_netlink_unregister();
	saru_net_unregister();
}

module_init(saru_init);
module_exit(saru_exit);

MODULE_DESCRIPTION("Saru: accept the packets whose block this director holds");
MODULE_AUTHOR("The Saru authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
MODULE_ALIAS("ipt_saru");
MODULE_ALIAS("ip6t_saru");
MODULE_ALIAS_GENL_FAMILY(SARU_GENL_NAME);
