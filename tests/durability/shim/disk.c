/* Stands between the server and its disk: preloaded, it delays, refuses, cuts short, blocks or records the
 * calls on files under one folder, or kills the process at one of them.
 *
 *   DISK_FOLDER   absolute path; calls on anything else pass through
 *   DISK_CONTROL  a file of sizeof(struct control) bytes that the test writes and this reads, at any time
 *   DISK_LOG      optional: every change is appended here, with its bytes, in the order in which it happened
 *
 * tests/durability/lib/disk.js knows the same layouts. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, UNLINK = 16, TRUNCATE = 32, FOLDER_SYNC = 64, READ = 128 };
enum action { PASS, FAIL_ONCE, FAIL_FROM, KILL_BEFORE, KILL_AFTER, BLOCK };
enum op { CREATED = 1, WROTE, TRUNCATED, SYNCED, RENAMED, UNLINKED, MADE_FOLDER, REMOVED_FOLDER, SYNCED_FOLDER };

struct control {
    uint32_t sync_delay_ms;
    uint32_t action;
    uint32_t kinds;      /* which calls count, a sum of enum kind */
    uint32_t error;      /* errno of those that fail */
    uint64_t n;          /* the call that is meant; 1 is the first */
    uint64_t count;      /* calls so far, counted here */
    uint64_t fired;      /* calls that were meddled with */
    uint32_t per_mille;  /* of a write that fails or is killed at: how much of it is written all the same */
    uint32_t reserved;
    char part[64];       /* only paths that contain this; empty: all */
};

static struct control *control;
static char folder[PATH_MAX];
static size_t folder_length;
static int log_fd = -1;
static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;


__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_FOLDER"), *file = getenv("DISK_CONTROL"), *log = getenv("DISK_LOG");
    if (!path || !file) return;
    snprintf(folder, sizeof folder, "%s", path);
    folder_length = strlen(folder);
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) { fprintf(stderr, "DISK_CONTROL cannot be mapped\n"); _exit(99); }
    control = map;
    if (log) log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static int is_inside(const char *path) {
    return control && strncmp(path, folder, folder_length) == 0 && (path[folder_length] == '/' || !path[folder_length]);
}

static int path_of_fd(int fd, char *path) {
    char link[64];
    if (!control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_inside(path);
}

static int path_at(int dirfd, const char *name, char *path) {
    if (!control || !name) return 0;
    if (name[0] == '/' || dirfd == AT_FDCWD) {
        snprintf(path, PATH_MAX, "%s", name);
        return is_inside(path);
    }
    if (!path_of_fd(dirfd, path)) return 0;
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "/%s", name);
    return 1;
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* What is to be done with this call. */
static enum action verdict(enum kind kind, const char *path) {
    if (!(control->kinds & kind) || control->action == PASS) return PASS;
    if (control->part[0] && !strstr(path, control->part)) return PASS;
    uint64_t n = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    enum action action = control->action;
    int meant = action == FAIL_FROM || action == BLOCK ? n >= control->n : n == control->n;
    if (!meant) return PASS;
    __atomic_add_fetch(&control->fired, 1, __ATOMIC_SEQ_CST);
    while (control->action == BLOCK) usleep(1000);
    return action == BLOCK ? PASS : action;
}

static int fails(enum action action) { return action == FAIL_ONCE || action == FAIL_FROM; }

/* Log records: total bytes (4), op (1), inode (8), offset or length (8), length of both paths and of the data
 * (4 each), then those. All little-endian. The mutex makes the order that of the calls. */
static void record(enum op op, uint64_t inode, uint64_t at, const char *one, const char *two, const void *data, size_t bytes) {
    uint32_t lengths[3] = { one ? strlen(one) : 0, two ? strlen(two) : 0, bytes };
    uint32_t total = 33 + lengths[0] + lengths[1] + lengths[2];
    unsigned char head[33];
    memcpy(head, &total, 4);
    head[4] = op;
    memcpy(head + 5, &inode, 8);
    memcpy(head + 13, &at, 8);
    memcpy(head + 21, lengths, 12);
    struct iovec parts[4] = { { head, 33 }, { (void *)one, lengths[0] }, { (void *)two, lengths[1] }, { (void *)data, bytes } };
    if (syscall(SYS_writev, log_fd, parts, 4) != (long)total) { fprintf(stderr, "DISK_LOG is cut\n"); _exit(99); }
}

static uint64_t inode_of(int fd) {
    struct stat about;
    return fstat(fd, &about) == 0 ? about.st_ino : 0;
}

#define LOCK() do { if (log_fd >= 0) pthread_mutex_lock(&log_mutex); } while (0)
#define UNLOCK() do { if (log_fd >= 0) { int kept = errno; pthread_mutex_unlock(&log_mutex); errno = kept; } } while (0)
#define RECORD(...) do { if (log_fd >= 0) { int kept = errno; record(__VA_ARGS__); errno = kept; } } while (0)

static int opened(int dirfd, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    if (!path_at(dirfd, name, path)) return syscall(SYS_openat, dirfd, name, flags, mode);
    enum action action = verdict(writes ? OPEN : READ, path);
    if (fails(action)) { errno = control->error; return -1; }
    if (action == KILL_BEFORE) die();
    LOCK();
    struct stat before;
    int is_new = fstatat(AT_FDCWD, path, &before, 0) != 0;
    int fd = syscall(SYS_openat, dirfd, name, flags, mode);
    if (fd >= 0 && is_new && (flags & O_CREAT)) RECORD(CREATED, inode_of(fd), 0, path, NULL, NULL, 0);
    if (fd >= 0 && !is_new && (flags & O_TRUNC)) RECORD(TRUNCATED, inode_of(fd), 0, NULL, NULL, NULL, 0);
    UNLOCK();
    if (action == KILL_AFTER) die();
    return fd;
}

#define MODE(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); }

int open(const char *name, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, name, flags, mode); }
int openat(int dirfd, const char *name, int flags, ...) { MODE(flags, mode) return opened(dirfd, name, flags, mode); }
int openat64(int dirfd, const char *name, int flags, ...) { MODE(flags, mode) return opened(dirfd, name, flags, mode); }

/* `at` is -1 when the file's cursor says where. */
static ssize_t written(int fd, const struct iovec *parts, int count, off_t at) {
    char path[PATH_MAX];
    if (!path_of_fd(fd, path)) {
        return at < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, at, 0L);
    }
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    enum action action = verdict(WRITE, path);
    size_t goes = action == PASS || action == KILL_AFTER ? bytes : bytes * control->per_mille / 1000;
    if (goes == 0 && bytes > 0) {
        if (action == KILL_BEFORE) die();
        errno = control->error;
        return -1;
    }
    char *whole = malloc(bytes + 1);
    size_t filled = 0;
    for (int i = 0; i < count; i++) {
        memcpy(whole + filled, parts[i].iov_base, parts[i].iov_len);
        filled += parts[i].iov_len;
    }
    LOCK();
    off_t from = at;
    if (at < 0) {
        int flags = fcntl(fd, F_GETFL);
        struct stat about;
        from = (flags & O_APPEND) && fstat(fd, &about) == 0 ? about.st_size : lseek(fd, 0, SEEK_CUR);
    }
    ssize_t done = at < 0 ? syscall(SYS_write, fd, whole, goes) : syscall(SYS_pwrite64, fd, whole, goes, at);
    if (done > 0) RECORD(WROTE, inode_of(fd), from, NULL, NULL, whole, done);
    UNLOCK();
    int kept = errno;
    free(whole);
    errno = kept;
    if (action == KILL_BEFORE || action == KILL_AFTER) die();
    if (fails(action)) { errno = control->error; return -1; }
    return done;
}

ssize_t write(int fd, const void *data, size_t bytes) {
    struct iovec part = { (void *)data, bytes };
    char path[PATH_MAX];
    if (!path_of_fd(fd, path)) return syscall(SYS_write, fd, data, bytes);
    return written(fd, &part, 1, -1);
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) {
    struct iovec part = { (void *)data, bytes };
    return written(fd, &part, 1, at);
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t at) { return pwrite(fd, data, bytes, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return written(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return written(fd, parts, count, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) { return written(fd, parts, count, at); }

static ssize_t got(int fd, void *into, size_t bytes, off_t at) {
    char path[PATH_MAX];
    if (control && (control->kinds & READ) && control->action != PASS && path_of_fd(fd, path)) {
        enum action action = verdict(READ, path);
        if (fails(action)) { errno = control->error; return -1; }
        if (action == KILL_BEFORE || action == KILL_AFTER) die();
    }
    return at < 0 ? syscall(SYS_read, fd, into, bytes) : syscall(SYS_pread64, fd, into, bytes, at);
}
ssize_t read(int fd, void *into, size_t bytes) { return got(fd, into, bytes, -1); }
ssize_t pread(int fd, void *into, size_t bytes, off_t at) { return got(fd, into, bytes, at); }
ssize_t pread64(int fd, void *into, size_t bytes, off_t at) { return got(fd, into, bytes, at); }

static void wait_like_a_slow_disk(void) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t ms = (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
        if (ms >= control->sync_delay_ms) return;
        usleep(1000);
    }
}

static int synced(int fd, long call) {
    char path[PATH_MAX];
    if (!path_of_fd(fd, path)) return syscall(call, fd);
    struct stat about;
    int is_folder = fstat(fd, &about) == 0 && S_ISDIR(about.st_mode);
    wait_like_a_slow_disk();
    enum action action = verdict(is_folder ? FOLDER_SYNC : SYNC, path);
    if (fails(action)) { errno = control->error; return -1; }
    if (action == KILL_BEFORE) die();
    LOCK();
    int answer = syscall(call, fd);
    if (answer == 0) RECORD(is_folder ? SYNCED_FOLDER : SYNCED, about.st_ino, 0, is_folder ? path : NULL, NULL, NULL, 0);
    UNLOCK();
    if (action == KILL_AFTER) die();
    return answer;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

/* Makes nothing durable that can be relied on, so it is not recorded. */
int sync_file_range(int fd, off64_t at, off64_t bytes, unsigned int flags) {
    char path[PATH_MAX];
    if (path_of_fd(fd, path)) {
        wait_like_a_slow_disk();
        enum action action = verdict(SYNC, path);
        if (fails(action)) { errno = control->error; return -1; }
        if (action == KILL_BEFORE || action == KILL_AFTER) die();
    }
    return syscall(SYS_sync_file_range, fd, at, bytes, flags);
}

static int cut(int fd, off_t bytes) {
    char path[PATH_MAX];
    if (!path_of_fd(fd, path)) return syscall(SYS_ftruncate, fd, bytes);
    enum action action = verdict(TRUNCATE, path);
    if (fails(action)) { errno = control->error; return -1; }
    if (action == KILL_BEFORE) die();
    LOCK();
    int answer = syscall(SYS_ftruncate, fd, bytes);
    if (answer == 0) RECORD(TRUNCATED, inode_of(fd), bytes, NULL, NULL, NULL, 0);
    UNLOCK();
    if (action == KILL_AFTER) die();
    return answer;
}
int ftruncate(int fd, off_t bytes) { return cut(fd, bytes); }
int ftruncate64(int fd, off64_t bytes) { return cut(fd, bytes); }

static int renamed(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags) {
    char one[PATH_MAX], two[PATH_MAX];
    if (!path_at(from_fd, from, one) || !path_at(to_fd, to, two)) {
        return syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    }
    enum action action = verdict(RENAME, one);
    if (fails(action)) { errno = control->error; return -1; }
    if (action == KILL_BEFORE) die();
    LOCK();
    int answer = syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    if (answer == 0) RECORD(RENAMED, 0, 0, one, two, NULL, 0);
    UNLOCK();
    if (action == KILL_AFTER) die();
    return answer;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_fd, const char *from, int to_fd, const char *to) { return renamed(from_fd, from, to_fd, to, 0); }
int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags) {
    return renamed(from_fd, from, to_fd, to, flags);
}

static int unlinked(int dirfd, const char *name, int flags) {
    char path[PATH_MAX];
    if (!path_at(dirfd, name, path)) return syscall(SYS_unlinkat, dirfd, name, flags);
    enum action action = verdict(UNLINK, path);
    if (fails(action)) { errno = control->error; return -1; }
    if (action == KILL_BEFORE) die();
    LOCK();
    int answer = syscall(SYS_unlinkat, dirfd, name, flags);
    if (answer == 0) RECORD(flags & AT_REMOVEDIR ? REMOVED_FOLDER : UNLINKED, 0, 0, path, NULL, NULL, 0);
    UNLOCK();
    if (action == KILL_AFTER) die();
    return answer;
}
int unlink(const char *name) { return unlinked(AT_FDCWD, name, 0); }
int unlinkat(int dirfd, const char *name, int flags) { return unlinked(dirfd, name, flags); }
int rmdir(const char *name) { return unlinked(AT_FDCWD, name, AT_REMOVEDIR); }

static int made(int dirfd, const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (!path_at(dirfd, name, path)) return syscall(SYS_mkdirat, dirfd, name, mode);
    enum action action = verdict(OPEN, path);
    if (fails(action)) { errno = control->error; return -1; }
    if (action == KILL_BEFORE) die();
    LOCK();
    int answer = syscall(SYS_mkdirat, dirfd, name, mode);
    if (answer == 0) RECORD(MADE_FOLDER, 0, 0, path, NULL, NULL, 0);
    UNLOCK();
    if (action == KILL_AFTER) die();
    return answer;
}
int mkdir(const char *name, mode_t mode) { return made(AT_FDCWD, name, mode); }
int mkdirat(int dirfd, const char *name, mode_t mode) { return made(dirfd, name, mode); }
