/* The wall clock jumps: a year on, a year back, at every 7th look at it. The monotonic clock is left alone. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    static int looks;
    static const long year = 365L * 24 * 3600;
    return ((looks++ / 7) % 3 - 1) * year;
}

int clock_gettime(clockid_t which, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(which, at);
    if (which == CLOCK_REALTIME) at->tv_sec += shift();
    return code;
}
