/* Moves the wall clock of a process while it runs; the steady clock is left alone.
 *
 * To be named by LD_PRELOAD. HEROCTL_CLOCK_SKEW names a file of eight bytes, the nanoseconds to add
 * (native byte order); it is mapped, so that a change counts from the next look on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static const volatile int64_t *skew;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("HEROCTL_CLOCK_SKEW");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	if (file < 0)
		return;
	void *mapped = mmap(NULL, sizeof *skew, PROT_READ, MAP_SHARED, file, 0);
	if (mapped != MAP_FAILED)
		skew = mapped;
	close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	if (!real_clock_gettime)
		begin();
	int result = real_clock_gettime(clock, time);

	if (result == 0 && clock == CLOCK_REALTIME && skew) {
		int64_t now = time->tv_sec * SECOND + time->tv_nsec + *skew;
		time->tv_sec = now / SECOND;
		time->tv_nsec = now % SECOND;
	}
	return result;
}

time_t time(time_t *where)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (where)
		*where = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict where, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	where->tv_sec = now.tv_sec;
	where->tv_usec = now.tv_nsec / 1000;
	return 0;
}
