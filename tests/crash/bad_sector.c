/* Make some bytes of one file unreadable: EIO for reads, SIGBUS in a memory map.
 *
 * For LD_PRELOAD.  BAD_INODE says which file, BAD_OFFSET and BAD_LENGTH (whole pages) which part.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static long long number(const char *name) {
    const char *text = getenv(name);
    return text ? atoll(text) : -1;
}

static int is_bad(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && (long long)found.st_ino == number("BAD_INODE");
}

static ssize_t read_at(const char *name, int fd, void *to, size_t count, off_t offset) {
    ssize_t (*original)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, name);
    long long start = number("BAD_OFFSET"), stop = start + number("BAD_LENGTH");
    if (offset < stop && offset + (long long)count > start && is_bad(fd)) {
        errno = EIO;
        return -1;
    }
    return original(fd, to, count, offset);
}

ssize_t pread(int fd, void *to, size_t count, off_t offset) {
    return read_at("pread", fd, to, count, offset);
}

ssize_t pread64(int fd, void *to, size_t count, off_t offset) {
    return read_at("pread64", fd, to, count, offset);
}

static void *map(const char *name, void *at, size_t length, int rights, int flags, int fd, off_t offset) {
    void *(*original)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, name);
    char *mapped = original(at, length, rights, flags, fd, offset);
    if (mapped != MAP_FAILED && fd >= 0 && is_bad(fd)) {
        /* Pages beyond the end of a file: touching one is SIGBUS, as with a bad sector. */
        int empty = memfd_create("bad", 0);
        original(mapped + number("BAD_OFFSET") - offset, number("BAD_LENGTH"), PROT_READ,
                 MAP_SHARED | MAP_FIXED, empty, 0);
        close(empty);
    }
    return mapped;
}

void *mmap(void *at, size_t length, int rights, int flags, int fd, off_t offset) {
    return map("mmap", at, length, rights, flags, fd, offset);
}

void *mmap64(void *at, size_t length, int rights, int flags, int fd, off_t offset) {
    return map("mmap64", at, length, rights, flags, fd, offset);
}
