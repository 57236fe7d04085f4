/* What generator and sink share: time, arguments, latencies, the mark in a message.
 *
 * A message carries  " SEQ c=CCCCC n=NNNNNNNNNN t=TTTTTTTTTTTTTTTT "  in its MSG: the number of
 * its connection, its number there from 0 on, and when it was due, in microseconds of
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
#define DUE_AT (NUMBER_AT + 10 + 3)
#define MARKED_BYTES (DUE_AT + 16 + 1)
#define CONNECTIONS_MAX 1024

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

/* Latencies in microseconds, in steps of 1/32 of their size. */
#define STEPS 32
#define BUCKETS (64 * STEPS)

struct latencies {
    uint64_t count, largest, buckets[BUCKETS];
};

static void add_latency(struct latencies *all, uint64_t microseconds)
{
    int shift = 0;
    while (microseconds >> shift >= 2 * STEPS)
        shift++;
    all->buckets[shift * STEPS + (microseconds >> shift)]++;
    all->count++;
    if (microseconds > all->largest)
        all->largest = microseconds;
}

static uint64_t latency_at(const struct latencies *all, double share)
{
    uint64_t wanted = (uint64_t)(share * all->count), seen = 0;
    for (int at = 0; at < BUCKETS; at++) {
        seen += all->buckets[at];
        if (seen > wanted)
            return at < 2 * STEPS ? (uint64_t)at
                                  : (uint64_t)(at % STEPS + STEPS) << (at / STEPS - 1);
    }
    return all->largest;
}

static void print_latencies(const struct latencies *all)
{
    printf("\"latency_us\": {\"count\": %lu, \"p50\": %lu, \"p99\": %lu, \"p999\": %lu, "
           "\"max\": %lu}",
           all->count, latency_at(all, 0.5), latency_at(all, 0.99), latency_at(all, 0.999),
           all->largest);
}
