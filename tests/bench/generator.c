/* Sends numbered RFC 5424 messages, or the lines of a file, and prints what it did as one line of
 * JSON.
 *
 *   generator protocol=lines|counted|relp|udp port=N count=N [connections=1] [bytes=256]
 *             [rate=0] [window=5000] [corpus=FILE] [settle=0]
 *
 * The lines of the file `corpus` are sent as they are, over and over until there are `count`; each
 * connection begins at another one.  Empty lines are left out, `bytes` does not matter.  `checksum`
 * in the report is the sum of the hashes of all messages of the corpus that were sent.
 * `count` is of all connections together, `rate` messages a second of all (0 = as fast as they
 * are taken), `window` RELP's messages without an answer.  Each connection comes from an address
 * of its own, 127.0.1.1 to 127.0.1.250, then 127.0.2.1 and so on.  When all are there it says so,
 * and waits `settle` milliseconds before the first message.
 *
 * With a rate, and over UDP, each message goes out in a write of its own, on the next connection in
 * turn; RELP alone writes together what is due.  A latency is the time from when a message was due,
 * not from when it could be sent, to its answer: a receiver that stalls makes all that were due
 * meanwhile late.  Message n (from 0 on) is due n / rate seconds after `began_us`.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_BYTES (256 * 1024)
#define IN_BYTES (64 * 1024)
#define HEAD_BYTES 64 /* of a frame, before the message */
#define PAUSE_US_MIN 100
#define PEERS_OF_NET 250
#define OFFERS "relp_version=0\nrelp_software=generator\ncommands=syslog"
#define HEADER "<165>1 2026-11-21T05:00:00.000003Z web-1 app 123 ID47 - load" MARK
#define STAMP_AT 27 /* its microseconds */

enum protocol { LINES, COUNTED, RELP, UDP };

struct connection {
    int fd, is_open, is_closing, is_over;
    char *out, *in, *message;
    size_t out_start, out_end, in_end;
    uint64_t count, sent, answered; /* messages */
    uint64_t first_line;            /* of the corpus */
    uint64_t *due;                  /* of those without an answer, by number */
};

static enum protocol protocol;
static struct connection *connections;
static long connection_count, message_bytes, rate, window;
static uint64_t began_us;
static struct latencies latencies;
static struct corpus corpus; /* without lines messages are made here */
static uint64_t checksum;

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

static int connected(long index, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)}, from = to;
    int size = 4 << 20, on = 1;
    int fd = socket(AF_INET, protocol == UDP ? SOCK_DGRAM : SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_port = 0;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + ((index / PEERS_OF_NET + 1) << 8) +
                                 index % PEERS_OF_NET);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) ||
        connect(fd, (struct sockaddr *)&to, sizeof to))
        die("connect");
    if (protocol == UDP)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    else
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void open_connection(struct connection *it, long index, int port, uint64_t count)
{
    it->fd = connected(index, port);
    it->count = count;
    it->out = allocate(1, OUT_BYTES);
    it->in = allocate(1, IN_BYTES);
    it->due = allocate(window, sizeof *it->due);
    it->is_open = protocol != RELP;
    if (protocol == RELP)
        it->out_end = sprintf(it->out, "1 open %zu %s\n", sizeof OFFERS - 1, OFFERS);
    it->first_line = corpus.count * index / connection_count;
    if (corpus.lines)
        return;
    it->message = allocate(1, message_bytes + 1);
    memset(it->message, 'x', message_bytes);
    memcpy(it->message, HEADER "00000 n=0000000000 ",
           sizeof HEADER - 1 + MARKED_BYTES - MARK_BYTES);
    put_digits(it->message + sizeof HEADER - 1, 5, index);
    it->message[message_bytes] = '\n';
}

/* The message `number` of a connection, with LF after it. */
static struct line message_of(struct connection *it, uint64_t number)
{
    if (corpus.lines)
        return corpus.lines[(it->first_line + number) % corpus.count];
    char *mark = it->message + sizeof HEADER - 1 - MARK_BYTES;
    put_digits(it->message + STAMP_AT, 6, number % 1000000);
    put_digits(mark + NUMBER_AT, 10, number);
    return (struct line){it->message, message_bytes, 0};
}

/* The next message of a connection into `to`, with its frame; returns the octets. */
static size_t write_message(struct connection *it, char *to)
{
    uint64_t number = it->sent++;
    struct line message = message_of(it, number);
    char *start = to;
    if (protocol == COUNTED)
        to += sprintf(to, "%zu ", message.size);
    else if (protocol == RELP)
        to += sprintf(to, "%lu syslog %zu ", number + 2, message.size);
    memcpy(to, message.start, message.size + 1);
    to += message.size + (protocol == LINES || protocol == RELP);
    checksum += message.hash;
    return to - start;
}

/* When the next message of a connection is due; `now_us` if there is no rate. */
static uint64_t next_due(const struct connection *it, uint64_t now_us)
{
    if (!rate)
        return now_us;
    uint64_t overall = it->sent * connection_count + (it - connections);
    return began_us + overall * 1000000 / rate;
}

static int may_send(const struct connection *it)
{
    return it->is_open && it->sent < it->count &&
           (protocol != RELP || it->sent - it->answered < (uint64_t)window);
}

/* Fill the output as far as messages are due and there is room. */
static void fill(struct connection *it, uint64_t now)
{
    if (it->out_start == it->out_end)
        it->out_start = it->out_end = 0;
    while (may_send(it) && it->out_end + message_bytes + HEAD_BYTES < OUT_BYTES) {
        uint64_t due = next_due(it, now);
        if (due > now)
            return;
        it->due[it->sent % window] = due;
        it->out_end += write_message(it, it->out + it->out_end);
    }
    if (protocol == RELP && it->is_open && it->answered == it->count && !it->is_closing) {
        it->out_end += sprintf(it->out + it->out_end, "%lu close 0\n", it->count + 2);
        it->is_closing = 1;
    }
}

static void flush(struct connection *it)
{
    while (it->out_start < it->out_end) {
        ssize_t done = write(it->fd, it->out + it->out_start, it->out_end - it->out_start);
        if (done < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (done < 0)
            die("write");
        it->out_start += done;
    }
    if (protocol != RELP && it->sent == it->count)
        it->is_over = 1;
}

/* Write a whole message; a datagram that the kernel refuses is not sent again. */
static void send_whole(int fd, const char *from, size_t size)
{
    struct pollfd polled = {fd, POLLOUT, 0};
    while (size) {
        ssize_t done = send(fd, from, size, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EAGAIN && protocol != UDP) {
            if (poll(&polled, 1, -1) < 0 && errno != EINTR)
                die("poll");
            continue;
        }
        if (protocol == UDP && (done >= 0 || errno == EAGAIN || errno == ECONNREFUSED ||
                                errno == ENOBUFS))
            return;
        if (done < 0)
            die("send");
        from += done;
        size -= done;
    }
}

static void sleep_us(uint64_t time)
{
    nanosleep(&(struct timespec){time / 1000000, time % 1000000 * 1000}, NULL);
}

/* Each message at its time, on the next connection in turn, in a write of its own. */
static void run_in_turn(uint64_t count)
{
    for (uint64_t overall = 0; overall < count; overall++) {
        uint64_t due = rate ? began_us + overall * 1000000 / rate : 0;
        for (uint64_t now = now_us(); due > now; now = now_us())
            sleep_us(due - now > PAUSE_US_MIN ? due - now : PAUSE_US_MIN);
        struct connection *it = &connections[overall % connection_count];
        send_whole(it->fd, it->out, write_message(it, it->out));
    }
}

static void take_answer(struct connection *it, uint64_t txnr, const char *data, size_t size,
                        uint64_t now)
{
    errno = 0;
    if (txnr == 1 && !it->is_open && size >= 3 && !memcmp(data, "200", 3)) {
        it->is_open = 1;
    } else if (it->is_closing) {
        it->is_over = 1;
    } else {
        if (txnr != it->answered + 2 || it->answered >= it->sent || size < 3 ||
            memcmp(data, "200", 3))
            die("an answer that is not 200, or not in order");
        add_latency(&latencies, now - it->due[it->answered++ % window]);
    }
}

/* One frame at `at`; returns its end, or NULL if it is not there yet. */
static char *take_frame(struct connection *it, char *at, char *end, uint64_t now)
{
    uint64_t txnr = 0, size = 0;
    while (at < end && *at >= '0' && *at <= '9')
        txnr = txnr * 10 + (*at++ - '0');
    while (at < end && (*at == ' ' || (*at >= 'a' && *at <= 'z')))
        at++;
    while (at < end && *at >= '0' && *at <= '9')
        size = size * 10 + (*at++ - '0');
    if (at == end || size > IN_BYTES / 2 || (uint64_t)(end - at) < size + (size ? 2 : 1))
        return NULL;
    at += size ? 1 : 0;
    take_answer(it, txnr, at, size, now);
    return at + size + 1;
}

static void receive(struct connection *it)
{
    ssize_t done = read(it->fd, it->in + it->in_end, IN_BYTES - it->in_end);
    if (done < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (done <= 0) {
        errno = done ? errno : ECONNRESET;
        if (!it->is_closing)
            die("read");
        it->is_over = 1;
        return;
    }
    it->in_end += done;
    char *at = it->in, *next, *end = it->in + it->in_end;
    uint64_t now = now_us();
    while (!it->is_over && (next = take_frame(it, at, end, now)))
        at = next;
    it->in_end = end - at;
    memmove(it->in, at, it->in_end);
}

/* Microseconds until something is due; -1 = only sockets matter. */
static long wait_us(uint64_t now)
{
    uint64_t first = UINT64_MAX;
    for (long index = 0; index < connection_count; index++) {
        struct connection *it = &connections[index];
        if (may_send(it) && it->out_start == it->out_end) {
            uint64_t due = next_due(it, now);
            first = due < first ? due : first;
        }
    }
    return first == UINT64_MAX ? -1 : first > now ? (long)(first - now) : 0;
}

/* As much as is due and taken, in large writes. */
static void run(void)
{
    struct pollfd polled[CONNECTIONS_MAX];
    for (long left = connection_count; left;) {
        uint64_t now = now_us();
        for (long index = 0; index < connection_count; index++) {
            struct connection *it = &connections[index];
            if (it->is_over)
                continue;
            fill(it, now);
            flush(it);
        }
        left = 0;
        for (long index = 0; index < connection_count; index++) {
            struct connection *it = &connections[index];
            polled[index] = (struct pollfd){it->is_over ? -1 : it->fd, 0, 0};
            /* What is full waits for the socket, what is paced for its time. */
            polled[index].events = (protocol == RELP ? POLLIN : 0) |
                                   (it->out_start < it->out_end ? POLLOUT : 0);
            left += !it->is_over;
        }
        long pause = wait_us(now);
        struct timespec time = {pause / 1000000, pause % 1000000 * 1000};
        if (left && ppoll(polled, connection_count, pause < 0 ? NULL : &time, NULL) < 0)
            die("ppoll");
        for (long index = 0; index < connection_count; index++)
            if (polled[index].revents & (POLLIN | POLLERR | POLLHUP))
                receive(&connections[index]);
    }
}

int main(int argc, char **arguments)
{
    const char *name = argument(arguments, "protocol", "");
    const char *names[] = {"lines", "counted", "relp", "udp"};
    (void)argc;
    for (protocol = LINES; protocol <= UDP && strcmp(name, names[protocol]); protocol++)
        ;
    if (protocol > UDP) {
        fprintf(stderr, "protocol: found '%s', allowed lines, counted, relp, udp\n", name);
        return 2;
    }
    int port = number(arguments, "port", 0, 1, 65535);
    uint64_t count = number(arguments, "count", 0, 1, 1000000000), acknowledged = 0;
    connection_count = number(arguments, "connections", 1, 1, CONNECTIONS_MAX);
    long bytes_max = protocol == UDP ? 60000 : LINE_BYTES_MAX;
    message_bytes = number(arguments, "bytes", 256, 128, bytes_max);
    corpus = read_corpus(arguments, bytes_max);
    if (corpus.lines)
        message_bytes = corpus.longest;
    rate = number(arguments, "rate", 0, 0, 10000000);
    window = number(arguments, "window", 5000, 1, 1000000);
    uint64_t settle_ms = number(arguments, "settle", 0, 0, 60000);
    connections = allocate(connection_count, sizeof *connections);
    for (long index = 0; index < connection_count; index++)
        open_connection(&connections[index], index, port,
                        count / connection_count + (index < (long)(count % connection_count)));
    printf("connected\n");
    fflush(stdout);
    sleep_us(settle_ms * 1000);
    began_us = now_us();
    if (protocol == UDP || (rate && protocol != RELP))
        run_in_turn(count);
    else
        run();
    uint64_t ended_us = now_us();
    for (long index = 0; index < connection_count; index++) {
        acknowledged += connections[index].answered;
        close(connections[index].fd);
    }
    printf("{\"sent\": %lu, \"answered\": %lu, \"began_us\": %lu, \"ended_us\": %lu, "
           "\"checksum\": %lu, ", count, acknowledged, began_us, ended_us, checksum);
    print_latencies(&latencies);
    printf("}\n");
    return 0;
}
