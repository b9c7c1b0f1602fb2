/* A disk that fails on command. The file named by DISK_FAULT says how: "WHAT MILLISECONDS PREFIX", one a line. WHAT is sync
   (fdatasync), fsync, write or short; with 0 milliseconds the call fails with EIO, else it waits that long first. It holds for files whose path
   begins with PREFIX. A short write takes half of what it is given, and of the last byte nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(const char *what, int fd) {
  char link[32], path[4096], line[4200], kind[16], prefix[4096];
  const char *name = getenv("DISK_FAULT");
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  FILE *file = length > 0 && name ? fopen(name, "r") : NULL;
  if (!file) return 0;
  path[length] = 0;
  int failed = 0, pause;
  while (!failed && fgets(line, sizeof line, file))
    if (sscanf(line, "%15s %d %4095s", kind, &pause, prefix) == 3 && !strcmp(kind, what) &&
        !strncmp(path, prefix, strlen(prefix))) {
      if (pause)
        usleep(pause * 1000);
      else
        failed = 1;
    }
  fclose(file);
  return failed;
}

int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  if (fails("fsync", fd)) {
    errno = EIO;
    return -1;
  }
  return real(fd);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  if (fails("write", fd)) {
    errno = EIO;
    return -1;
  }
  return fails("short", fd) ? (count > 1 ? real(fd, bytes, count / 2) : 0) : real(fd, bytes, count);
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  if (fails("sync", fd)) {
    errno = EIO;
    return -1;
  }
  return real(fd);
}
