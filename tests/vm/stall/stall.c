// SPDX-License-Identifier: GPL-2.0-or-later
/* For tests: a CPU that takes no interrupt for a while. Loading does it, and returns after it. */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>

static int cpu;
module_param(cpu, int, 0);
MODULE_PARM_DESC(cpu, "which CPU");

static int milliseconds = 100;
module_param(milliseconds, int, 0);
MODULE_PARM_DESC(milliseconds, "for how long");

static unsigned long began, ended;
module_param(began, ulong, 0444);
MODULE_PARM_DESC(began, "when it was, in ns of CLOCK_BOOTTIME");
module_param(ended, ulong, 0444);
MODULE_PARM_DESC(ended, "until when");

/* Interrupts are off here. */
static void stall(void *unused)
{
	int most = 10 * milliseconds;	/* of them, whatever the clock says */

	began = ktime_get_boottime_ns();
	do {
		/* A guest that was kept waiting at its boot takes a millisecond for less. */
		mdelay(1);
		ended = ktime_get_boottime_ns();
	} while (ended < began + milliseconds * NSEC_PER_MSEC && --most);
}

static int __init stall_init(void)
{
	return smp_call_function_single(cpu, stall, NULL, true);
}

static void __exit stall_exit(void)
{
}

module_init(stall_init);
module_exit(stall_exit);
MODULE_DESCRIPTION("A CPU that takes no interrupt for a while");
MODULE_LICENSE("GPL");
