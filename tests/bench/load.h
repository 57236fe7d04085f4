/* What generator and sink share: time, arguments, corpora, the mark in a message.
 *
 * A message that the generator makes carries  " SEQ c=CCCCC n=NNNNNNNNNN "  in its MSG: the number
 * of its connection, and its own number there from 0 on.  Times are microseconds of
 * CLOCK_MONOTONIC, which all processes of a machine share.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MARK " SEQ c="
#define MARK_BYTES 7
#define NUMBER_AT (MARK_BYTES + 5 + 3)
#define MARKED_BYTES (NUMBER_AT + 10 + 1)
#define CONNECTIONS_MAX 1024
#define LINE_BYTES_MAX 200000

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "not possible");
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        die("memory");
    return memory;
}

/* The value of "name=value" among the arguments, or `fallback`. */
static const char *argument(char **arguments, const char *name, const char *fallback)
{
    size_t length = strlen(name);
    for (; *arguments; arguments++)
        if (!strncmp(*arguments, name, length) && (*arguments)[length] == '=')
            return *arguments + length + 1;
    return fallback;
}

static long number(char **arguments, const char *name, long fallback, long min, long max)
{
    const char *text = argument(arguments, name, NULL);
    char *end = NULL;
    long value = text ? strtol(text, &end, 10) : fallback;
    if ((text && (*end || end == text)) || value < min || value > max) {
        fprintf(stderr, "%s: found %s, allowed %ld to %ld\n", name, text ? text : "nothing", min,
                max);
        exit(2);
    }
    return value;
}

static inline void put_digits(char *to, int digits, uint64_t value)
{
    while (digits--) {
        to[digits] = '0' + value % 10;
        value /= 10;
    }
}

static inline uint64_t get_digits(const char *from, int digits)
{
    uint64_t value = 0;
    while (digits--)
        value = value * 10 + (*from++ - '0');
    return value;
}

/* A sum of these over messages depends on which messages they are, not on their order. */
static inline uint64_t hash_of(const char *text, size_t size)
{
    uint64_t hash = size, word;
    for (; size >= sizeof word; text += sizeof word, size -= sizeof word) {
        memcpy(&word, text, sizeof word);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    word = 0;
    memcpy(&word, text, size);
    hash = (hash ^ word) * 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 32;
}

/* The lines of a file; empty ones are left out. */
struct line {
    const char *start;
    size_t size;
    uint64_t hash;
};

struct corpus {
    struct line *lines;
    uint64_t count;
    size_t longest;
};

static void add_line(struct corpus *corpus, const char *start, size_t size)
{
    if (!size)
        return;
    corpus->lines[corpus->count++] = (struct line){start, size, hash_of(start, size)};
    if (size > corpus->longest)
        corpus->longest = size;
}

/* The corpus that the argument "corpus" names; without one its `lines` are NULL. */
static struct corpus read_corpus(char **arguments, size_t bytes_max)
{
    struct corpus corpus = {0};
    const char *path = argument(arguments, "corpus", NULL);
    if (!path)
        return corpus;
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        die(path);
    long size = ftell(file);
    char *text = allocate(size + 1, 1), *end = text + size;
    rewind(file);
    if (size < 0 || fread(text, 1, size, file) != (size_t)size)
        die(path);
    fclose(file);
    *end = '\n';
    uint64_t room = 1;
    for (char *at = text; at < end; at++)
        room += *at == '\n';
    corpus.lines = allocate(room, sizeof *corpus.lines);
    for (char *at = text, *newline; at < end; at = newline + 1) {
        newline = memchr(at, '\n', end + 1 - at);
        add_line(&corpus, at, newline - at);
    }
    if (!corpus.count || corpus.longest > bytes_max) {
        fprintf(stderr, "corpus: found %lu lines, the longest of %zu bytes in %s; allowed 1 or "
                "more lines of at most %zu bytes\n", corpus.count, corpus.longest, path, bytes_max);
        exit(2);
    }
    return corpus;
}
