// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lets one frame come in over and over and tells the shortest time that a run of
 * them took. In a guest whose clock counts instructions that is their number, and
 * the shortest run is the one without a timer's interrupt.
 *
 * usage: pump INTERFACE RUNS FRAMES-PER-RUN < FRAME
 */
#include <err.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static int open_tap(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int file = open("/dev/net/tun", O_RDWR);

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (file < 0 || ioctl(file, TUNSETIFF, &request))
		err(1, "%s", name);
	return file;
}

static unsigned long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

int main(int argc, char **argv)
{
	unsigned long long shortest = ~0ULL;
	char frame[2048];
	int file, run, runs, count, i;
	ssize_t length;

	if (argc != 4)
		errx(2, "usage: pump INTERFACE RUNS FRAMES-PER-RUN < FRAME");
	file = open_tap(argv[1]);
	runs = atoi(argv[2]);
	count = atoi(argv[3]);
	length = read(STDIN_FILENO, frame, sizeof(frame));
	if (length <= 0)
		errx(2, "no frame");
	for (run = 0; run < runs; run++) {
		unsigned long long start = now(), took;

		for (i = 0; i < count; i++)
			if (write(file, frame, length) != length)
				err(1, "write");
		took = now() - start;
		if (took < shortest)
			shortest = took;
	}
	printf("%.2f\n", (double)shortest / count);
	return 0;
}
