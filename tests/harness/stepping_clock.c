// For LD_PRELOAD: a wall clock that is ten years ahead, then ten years behind, then right, and so on, each time that it is read.
// The monotonic clocks are left alone.
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static atomic_int readings;
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (failed == 0 && clock == CLOCK_REALTIME) {
        static const long years[] = {10, -10, 0};
        now->tv_sec += years[atomic_fetch_add(&readings, 1) % 3] * 365 * 24 * 3600;
    }
    return (int)failed;
}
