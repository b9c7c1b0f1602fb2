/* Moves the wall clock that one process sees by the seconds in the file named by CLOCK_OFFSET. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  const char *path = getenv("CLOCK_OFFSET");
  if (clock == CLOCK_REALTIME && path) {
    char text[32] = {0};
    int file = open(path, O_RDONLY);
    if (file >= 0) {
      if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
      close(file);
    }
  }
  return result;
}
