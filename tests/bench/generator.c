/* Sends numbered RFC 5424 messages, or the lines of a file, and prints what it did as one line of
 * JSON.
 *
 *   generator protocol=lines|counted|relp|udp port=N count=N [connections=1] [bytes=256]
 *             [rate=0] [window=5000] [corpus=FILE]
 *
 * The lines of the file `corpus` are sent as they are, over and over until there are `count`; each
 * connection begins at another one.  Empty lines are left out, `bytes` does not matter.
 * `count` is of all connections together, `rate` messages a second of all (0 = as fast as they
 * are taken), `window` RELP's messages without an answer.  A latency is the time from when a
 * message was due, not from when it could be sent, to its answer: a receiver that stalls makes
 * all that were due meanwhile late.
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
#define DATAGRAMS 64
#define OFFERS "relp_version=0\nrelp_software=generator\ncommands=syslog"
#define HEADER "<165>1 2026-11-21T05:00:00.000003Z web-1 app 123 ID47 - load" MARK
#define STAMP_AT 27 /* its microseconds */

struct line {
    const char *start;
    size_t size;
};

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
static struct line *lines; /* of the corpus; NULL = messages are made here */
static uint64_t line_count;

/* Read the corpus; `message_bytes` is then its longest line. */
static void read_corpus(const char *path, long bytes_max)
{
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
    lines = allocate(room, sizeof *lines);
    message_bytes = 1;
    for (char *at = text, *newline; at < end; at = newline + 1) {
        newline = memchr(at, '\n', end + 1 - at);
        if (newline == at)
            continue;
        lines[line_count++] = (struct line){at, newline - at};
        if (newline - at > message_bytes)
            message_bytes = newline - at;
    }
    if (!line_count || message_bytes > bytes_max) {
        fprintf(stderr, "corpus: found %lu lines, the longest of %ld bytes in %s; allowed 1 or "
                "more lines of at most %ld bytes\n", line_count, message_bytes, path, bytes_max);
        exit(2);
    }
}

static int connected(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int size = 4 << 20, on = 1;
    int fd = socket(AF_INET, protocol == UDP ? SOCK_DGRAM : SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
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
    it->fd = connected(port);
    it->count = count;
    it->out = allocate(1, OUT_BYTES);
    it->in = allocate(1, IN_BYTES);
    it->due = allocate(window, sizeof *it->due);
    it->is_open = protocol != RELP;
    if (protocol == RELP)
        it->out_end = sprintf(it->out, "1 open %zu %s\n", sizeof OFFERS - 1, OFFERS);
    it->first_line = line_count * index / connection_count;
    if (lines)
        return;
    it->message = allocate(1, message_bytes + 1);
    memset(it->message, 'x', message_bytes);
    memcpy(it->message, HEADER "00000 n=0000000000 t=0000000000000000 ",
           sizeof HEADER - 1 + MARKED_BYTES - MARK_BYTES);
    put_digits(it->message + sizeof HEADER - 1, 5, index);
    it->message[message_bytes] = '\n';
}

/* The message `number` of a connection, with LF after it. */
static struct line message_of(struct connection *it, uint64_t number, uint64_t due_us)
{
    if (lines)
        return lines[(it->first_line + number) % line_count];
    char *mark = it->message + sizeof HEADER - 1 - MARK_BYTES;
    put_digits(it->message + STAMP_AT, 6, number % 1000000);
    put_digits(mark + NUMBER_AT, 10, number);
    put_digits(mark + DUE_AT, 16, due_us);
    return (struct line){it->message, message_bytes};
}

/* The message `number` of a connection into `to`, with its frame; returns the octets. */
static size_t write_message(struct connection *it, char *to, uint64_t number, uint64_t due_us)
{
    struct line message = message_of(it, number, due_us);
    char *start = to;
    if (protocol == COUNTED)
        to += sprintf(to, "%zu ", message.size);
    else if (protocol == RELP)
        to += sprintf(to, "%lu syslog %zu ", number + 2, message.size);
    memcpy(to, message.start, message.size + 1);
    to += message.size + (protocol == LINES || protocol == RELP);
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
        it->out_end += write_message(it, it->out + it->out_end, it->sent++, due);
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

/* Messages that are due, in datagrams; what the kernel refuses is not sent again. */
static void send_datagrams(struct connection *it, uint64_t now)
{
    struct mmsghdr headers[DATAGRAMS] = {0};
    struct iovec parts[DATAGRAMS];
    int filled = 0, done = 0;
    size_t at = 0;
    uint64_t due;
    while (filled < DATAGRAMS && it->sent < it->count && (due = next_due(it, now)) <= now &&
           at + message_bytes < OUT_BYTES) {
        size_t size = write_message(it, it->out + at, it->sent++, due);
        parts[filled] = (struct iovec){it->out + at, size};
        headers[filled].msg_hdr.msg_iov = &parts[filled];
        headers[filled++].msg_hdr.msg_iovlen = 1;
        at += size;
    }
    while (done < filled) {
        int sent = sendmmsg(it->fd, headers + done, filled - done, 0);
        if (sent < 0 && errno != EAGAIN && errno != ECONNREFUSED && errno != ENOBUFS)
            die("sendmmsg");
        done += sent > 0 ? sent : 0;
    }
    it->is_over = it->sent == it->count;
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

static void run(void)
{
    struct pollfd polled[CONNECTIONS_MAX];
    for (long left = connection_count; left;) {
        uint64_t now = now_us();
        for (long index = 0; index < connection_count; index++) {
            struct connection *it = &connections[index];
            if (it->is_over)
                continue;
            if (protocol == UDP) {
                send_datagrams(it, now);
                continue;
            }
            fill(it, now);
            flush(it);
        }
        left = 0;
        for (long index = 0; index < connection_count; index++) {
            struct connection *it = &connections[index];
            polled[index] = (struct pollfd){it->is_over || protocol == UDP ? -1 : it->fd, 0, 0};
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
    long bytes_max = protocol == UDP ? 60000 : 200000;
    message_bytes = number(arguments, "bytes", 256, 128, bytes_max);
    if (argument(arguments, "corpus", NULL))
        read_corpus(argument(arguments, "corpus", NULL), bytes_max);
    rate = number(arguments, "rate", 0, 0, 10000000);
    window = number(arguments, "window", 5000, 1, 1000000);
    connections = allocate(connection_count, sizeof *connections);
    for (long index = 0; index < connection_count; index++)
        open_connection(&connections[index], index, port,
                        count / connection_count + (index < (long)(count % connection_count)));
    began_us = now_us();
    run();
    for (long index = 0; index < connection_count; index++) {
        acknowledged += connections[index].answered;
        close(connections[index].fd);
    }
    printf("{\"sent\": %lu, \"answered\": %lu, \"began_us\": %lu, \"ended_us\": %lu, ", count,
           acknowledged, began_us, now_us());
    print_latencies(&latencies);
    printf("}\n");
    return 0;
}
