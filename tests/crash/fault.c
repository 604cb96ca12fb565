/* Loaded before the C library (LD_PRELOAD): counts the calls that touch files below one folder, and at the chosen one kills the
 * process, fails, writes half, or waits. A process arms itself with `fault_arm`; until then nothing is different. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { KILL = 1, KILL_HALFWAY = 2, FAIL = 3, SHORT = 4, WAIT = 5 };
enum { OPEN, WRITE, FSYNC, CLOSE, RENAME, UNLINK, MKDIR, RMDIR, LINK, TRUNCATE, KINDS };
#define DESCRIPTORS 65536
#define LOGGED 100000

static char folder[PATH_MAX];
static size_t folder_length;
static int operations, mode, code, forever;
static long strike_at, matching, calls;
static useconds_t pause_us;
static unsigned char below[DESCRIPTORS], kinds[LOGGED];
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

/* `ops`: a bit for each kind that counts; the `at`th such call, from 1, is struck, and with `always` all after it. */
void fault_arm(const char *where, int ops, long at, int how, int number, int always, long microseconds) {
  snprintf(folder, sizeof folder, "%s", where);
  folder_length = strlen(folder);
  operations = ops, strike_at = at, mode = how, code = number, forever = always, pause_us = microseconds;
  matching = calls = 0;
}
long fault_calls(void) { return calls; }
int fault_kind(long call) { return call >= 0 && call < LOGGED ? kinds[call] : -1; }

static int is_below(const char *path) {
  char whole[2 * PATH_MAX];
  if (!folder_length || !path) return 0;
  if (path[0] != '/') {
    char here[PATH_MAX];
    if (!getcwd(here, sizeof here)) return 0;
    snprintf(whole, sizeof whole, "%s/%s", here, path);
    path = whole;
  }
  return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}
static int is_ours(int descriptor) { return descriptor >= 0 && descriptor < DESCRIPTORS && below[descriptor]; }
static int at_is_below(int directory, const char *path) {
  return directory == AT_FDCWD || (path && path[0] == '/') ? is_below(path) : is_ours(directory);
}
static int opened(int descriptor, int ours) {
  if (descriptor >= 0 && descriptor < DESCRIPTORS) below[descriptor] = ours;
  return descriptor;
}

/* Count a call; returns what is to happen to it (0: nothing). Does not return where the process is killed. */
static int meet(int kind) {
  int strikes = 0;
  pthread_mutex_lock(&guard);
  if (calls < LOGGED) kinds[calls] = kind;
  calls++;
  if (operations >> kind & 1) {
    matching++;
    strikes = strike_at && (matching == strike_at || (forever && matching > strike_at));
  }
  pthread_mutex_unlock(&guard);
  if (!strikes) return 0;
  if (mode == KILL || (mode == KILL_HALFWAY && kind != WRITE)) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  if (mode == WAIT) usleep(pause_us);
  if (mode == FAIL) errno = code;
  return mode;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define GUARDED(kind, ours, failure) \
  if ((ours) && meet(kind) == FAIL) return failure

#define OPENER(name)                                    \
  int name(const char *path, int flags, ...) {          \
    va_list rest;                                       \
    va_start(rest, flags);                              \
    mode_t rights = va_arg(rest, mode_t);               \
    va_end(rest);                                       \
    int ours = is_below(path);                          \
    GUARDED(OPEN, ours, -1);                            \
    return opened(REAL(name)(path, flags, rights), ours); \
  }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name)                                        \
  int name(int directory, const char *path, int flags, ...) {  \
    va_list rest;                                              \
    va_start(rest, flags);                                     \
    mode_t rights = va_arg(rest, mode_t);                      \
    va_end(rest);                                              \
    int ours = at_is_below(directory, path);                   \
    GUARDED(OPEN, ours, -1);                                   \
    return opened(REAL(name)(directory, path, flags, rights), ours); \
  }
OPENER_AT(openat)
OPENER_AT(openat64)

static void die_after(ssize_t written) {
  (void)written;
  kill(getpid(), SIGKILL);
  for (;;) pause();
}
ssize_t write(int descriptor, const void *data, size_t size) {
  if (is_ours(descriptor)) {
    int what = meet(WRITE);
    if (what == FAIL) return -1;
    if (what == SHORT && size > 1) size = size / 2;
    if (what == KILL_HALFWAY) die_after(REAL(write)(descriptor, data, size / 2));
  }
  return REAL(write)(descriptor, data, size);
}
#define WRITER_AT(name, offset_type)                                                       \
  ssize_t name(int descriptor, const void *data, size_t size, offset_type offset) {        \
    if (is_ours(descriptor)) {                                                             \
      int what = meet(WRITE);                                                              \
      if (what == FAIL) return -1;                                                         \
      if (what == SHORT && size > 1) size = size / 2;                                      \
      if (what == KILL_HALFWAY) die_after(REAL(name)(descriptor, data, size / 2, offset)); \
    }                                                                                      \
    return REAL(name)(descriptor, data, size, offset);                                     \
  }
WRITER_AT(pwrite, off_t)
WRITER_AT(pwrite64, off64_t)

#define ON_DESCRIPTOR(name, kind)             \
  int name(int descriptor) {                  \
    GUARDED(kind, is_ours(descriptor), -1);   \
    return REAL(name)(descriptor);            \
  }
ON_DESCRIPTOR(fsync, FSYNC)
ON_DESCRIPTOR(fdatasync, FSYNC)

int close(int descriptor) {
  if (is_ours(descriptor)) {
    int what = meet(CLOSE), kept = errno;
    below[descriptor] = 0;
    int answer = REAL(close)(descriptor); /* the number is free afterwards, whatever close says */
    if (what == FAIL) {
      errno = kept;
      return -1;
    }
    return answer;
  }
  return REAL(close)(descriptor);
}
#define TRUNCATER(name, size_type)                \
  int name(int descriptor, size_type size) {      \
    GUARDED(TRUNCATE, is_ours(descriptor), -1);   \
    return REAL(name)(descriptor, size);          \
  }
TRUNCATER(ftruncate, off_t)
TRUNCATER(ftruncate64, off64_t)

int rename(const char *old, const char *new) {
  GUARDED(RENAME, is_below(new), -1);
  return REAL(rename)(old, new);
}
int renameat(int old_directory, const char *old, int new_directory, const char *new) {
  GUARDED(RENAME, at_is_below(new_directory, new), -1);
  return REAL(renameat)(old_directory, old, new_directory, new);
}
int link(const char *old, const char *new) {
  GUARDED(LINK, is_below(new), -1);
  return REAL(link)(old, new);
}
int linkat(int old_directory, const char *old, int new_directory, const char *new, int flags) {
  GUARDED(LINK, at_is_below(new_directory, new), -1);
  return REAL(linkat)(old_directory, old, new_directory, new, flags);
}
int unlink(const char *path) {
  GUARDED(UNLINK, is_below(path), -1);
  return REAL(unlink)(path);
}
int unlinkat(int directory, const char *path, int flags) {
  GUARDED(flags & AT_REMOVEDIR ? RMDIR : UNLINK, at_is_below(directory, path), -1);
  return REAL(unlinkat)(directory, path, flags);
}
int rmdir(const char *path) {
  GUARDED(RMDIR, is_below(path), -1);
  return REAL(rmdir)(path);
}
int mkdir(const char *path, mode_t rights) {
  GUARDED(MKDIR, is_below(path), -1);
  return REAL(mkdir)(path, rights);
}
