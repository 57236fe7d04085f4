/* Takes messages of the generator over RELP or TCP and looks whether all are there.
 *
 *   sink protocol=relp|syslog port=N count=N [connections=1] [corpus=FILE [ordered=0]]
 *        [arrivals=FILE]
 *
 * `count`, `connections` and `corpus` are the generator's.  A RELP server that answers each message
 * as soon as it has come; over TCP octet counting and lines.  Prints a line of JSON when `count`
 * different messages have come, and one with everything at SIGTERM.
 *
 * The messages of a corpus carry no mark.  They are counted: what comes above `count` is a
 * duplicate, and `checksum` is the sum of the hashes of the others.  With ordered=1 they have to
 * come in the order of the file, each with the last word of its text, whatever was made of the
 * rest; any other is unknown.  `compared` had such a word.  Into `arrivals` goes when each of them came, 64 bits each, in their order.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES (512 * 1024)
#define OUT_BYTES (1024 * 1024)
#define WORD_BYTES_MIN 4
#define WORD_BYTES_MAX 16
#define HEADER_BYTES 88
#define OFFERS "200 OK\nrelp_version=0\nrelp_software=sink\ncommands=syslog"

struct connection {
    int fd, ends; /* ends: close when everything is written */
    char *in, *out;
    size_t in_start, in_end, out_start, out_end;
};

/* What has come of one connection of the generator. */
struct stream {
    uint64_t count, next;
    unsigned char *seen; /* a bit for each message */
};

/* The end of the last long word of a line's text, which is in all forms of the message. */
struct word {
    char text[WORD_BYTES_MAX];
    size_t size, tail; /* tail: octets of the line behind it */
};

static int is_relp, poller, is_reported;
static struct corpus corpus; /* without lines messages carry marks */
static struct word *words;   /* of its lines, if messages have to come in their order */
static size_t tail_grown;    /* octets behind the last word that the line does not have */
static uint64_t checksum, compared, *arrivals;
static struct stream *streams;
static long stream_count;
static uint64_t wanted, unique, duplicates, out_of_order, unknown, octets;
static uint64_t first_us, last_us, read_us, accepted, closed;
static size_t mark_at; /* where the last message had it */
static volatile sig_atomic_t is_ending;

static void end(int number)
{
    (void)number;
    is_ending = 1;
}

static int watch(int operation, int fd, uint32_t events, void *with)
{
    struct epoll_event event = {.events = events, .data.ptr = with};
    return epoll_ctl(poller, operation, fd, &event);
}

static const char *find_mark(const char *message, size_t size)
{
    if (mark_at + MARKED_BYTES <= size && !memcmp(message + mark_at, MARK, MARK_BYTES))
        return message + mark_at;
    const char *found = memmem(message, size, MARK, MARK_BYTES);
    if (found && (size_t)(found - message) + MARKED_BYTES <= size) {
        mark_at = found - message;
        return found;
    }
    return NULL;
}

static void count_one(void)
{
    if (!unique++)
        first_us = read_us;
    last_us = read_us;
}

static int is_word(char octet)
{
    return (octet >= '0' && octet <= '9') || (octet >= 'A' && octet <= 'Z') ||
           (octet >= 'a' && octet <= 'z');
}

/* Where the text of a line begins that all forms pass on: behind header and STRUCTURED-DATA; NULL =
 * an element is not closed. */
static const char *text_of(struct line line)
{
    const char *header = line.start + (line.size < HEADER_BYTES ? line.size : HEADER_BYTES);
    const char *opened = memrchr(line.start, '[', line.size);
    const char *closed = memrchr(line.start, ']', line.size);
    if (opened && (!closed || closed < opened))
        return NULL;
    return closed && closed + 1 > header ? closed + 1 : header;
}

/* The last long word of a line; empty = there is none that is sure to be passed on. */
static struct word last_word(struct line line)
{
    const char *end = line.start + line.size, *text = text_of(line);
    struct word word = {0};
    if (!text)
        return word;
    for (const char *at = end; at > text && !word.size; at--) {
        const char *start = at;
        while (start > text && at - start < WORD_BYTES_MAX && is_word(start[-1]))
            start--;
        if (at - start >= WORD_BYTES_MIN) {
            word.size = at - start;
            word.tail = end - at;
            memcpy(word.text, start, word.size);
        } else {
            at = start > text ? start : text + 1;
        }
    }
    return word;
}

static int has_word(const char *message, size_t size, const struct word *word)
{
    size_t behind = word->size + word->tail + tail_grown;
    if (behind <= size && !memcmp(message + size - behind, word->text, word->size))
        return 1;
    const char *found = memmem(message, size, word->text, word->size);
    if (found && (size_t)(message + size - found) >= word->size + word->tail)
        tail_grown = message + size - found - word->size - word->tail;
    return found != NULL;
}

static void take_line(const char *message, size_t size)
{
    if (unique == wanted) {
        duplicates++;
        return;
    }
    checksum += hash_of(message, size);
    if (words) {
        const struct word *word = &words[unique % corpus.count];
        compared += word->size > 0;
        unknown += !has_word(message, size, word);
    }
    if (arrivals)
        arrivals[unique] = read_us;
    count_one();
}

static void take_message(const char *message, size_t size)
{
    octets += size;
    if (corpus.lines) {
        take_line(message, size);
        return;
    }
    const char *mark = find_mark(message, size);
    uint64_t from = mark ? get_digits(mark + MARK_BYTES, 5) : 0;
    uint64_t at = mark ? get_digits(mark + NUMBER_AT, 10) : 0;
    if (!mark || from >= (uint64_t)stream_count || at >= streams[from].count) {
        unknown++;
        return;
    }
    struct stream *stream = &streams[from];
    unsigned char bit = 1 << (at & 7);
    if (stream->seen[at / 8] & bit) {
        duplicates++;
        return;
    }
    stream->seen[at / 8] |= bit;
    if (at < stream->next)
        out_of_order++;
    else
        stream->next = at + 1;
    count_one();
}

/* Octets of a whole frame of octet counting or of a line at `at`; 0 = not there yet. */
static size_t take_syslog(const char *at, size_t size)
{
    uint64_t length = 0;
    const char *message = at;
    while (message < at + size && *message >= '0' && *message <= '9')
        length = length * 10 + (*message++ - '0');
    if (message == at + size)
        return 0;
    if (message > at && *message == ' ') {
        if (length > IN_BYTES / 2)
            die("a frame that is too long");
        if ((uint64_t)(at + size - ++message) < length)
            return 0;
        take_message(message, length);
        return message + length - at;
    }
    const char *newline = memchr(at, '\n', size);
    if (!newline)
        return 0;
    take_message(at, newline - at);
    return newline + 1 - at;
}

static void answer(struct connection *it, uint64_t txnr, const char *data)
{
    char *to = it->out + it->out_end, digits[21];
    int at = 20;
    do
        digits[--at] = '0' + txnr % 10;
    while (txnr /= 10);
    memcpy(to, digits + at, 20 - at);
    to += 20 - at;
    size_t length = strlen(data);
    memcpy(to, data, length);
    it->out_end = to + length - it->out;
}

/* Octets of a whole RELP frame at `at`; 0 = not there yet. */
static size_t take_relp(struct connection *it, const char *at, size_t size)
{
    const char *start = at, *stop = at + size, *command;
    uint64_t txnr = 0, length = 0;
    char opened[128];
    while (at < stop && *at >= '0' && *at <= '9')
        txnr = txnr * 10 + (*at++ - '0');
    for (command = ++at; at < stop && *at >= 'a' && *at <= 'z';)
        at++;
    for (at++; at < stop && *at >= '0' && *at <= '9';)
        length = length * 10 + (*at++ - '0');
    if (length > IN_BYTES / 2)
        die("a frame that is too long");
    if (at >= stop || (uint64_t)(stop - at) < length + (length ? 2 : 1))
        return 0;
    at += length ? 1 : 0;
    errno = EPROTO;
    if (at[length] != '\n')
        die("a frame without LF");
    if (*command == 's') {
        take_message(at, length);
        answer(it, txnr, " rsp 6 200 OK\n");
    } else if (*command == 'o') {
        snprintf(opened, sizeof opened, " rsp %zu %s\n", sizeof OFFERS - 1, OFFERS);
        answer(it, txnr, opened);
    } else if (*command == 'c') {
        answer(it, txnr, " rsp 0\n0 serverclose 0\n");
        it->ends = 1;
    } else {
        die("a command that is unknown");
    }
    return at + length + 1 - start;
}

static void take_frames(struct connection *it)
{
    size_t taken = 1;
    while (taken && it->in_start < it->in_end && it->out_end + 256 < OUT_BYTES) {
        const char *at = it->in + it->in_start;
        size_t size = it->in_end - it->in_start;
        taken = is_relp ? take_relp(it, at, size) : take_syslog(at, size);
        it->in_start += taken;
    }
    if (it->in_start) {
        it->in_end -= it->in_start;
        memmove(it->in, it->in + it->in_start, it->in_end);
        it->in_start = 0;
    }
}

static void drop(struct connection *it)
{
    close(it->fd);
    free(it->in);
    free(it->out);
    free(it);
    closed++;
}

/* Write the answers; false = the connection is over. */
static int flush(struct connection *it)
{
    while (it->out_start < it->out_end) {
        ssize_t done = write(it->fd, it->out + it->out_start, it->out_end - it->out_start);
        if (done < 0 && errno != EAGAIN && errno != EINTR)
            return 0;
        if (done < 0)
            break;
        it->out_start += done;
    }
    if (it->out_start == it->out_end)
        it->out_start = it->out_end = 0;
    /* Whoever does not take answers is not read. */
    watch(EPOLL_CTL_MOD, it->fd, it->out_end ? EPOLLOUT : EPOLLIN, it);
    return !(it->ends && !it->out_end);
}

static int serve(struct connection *it, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t done = read(it->fd, it->in + it->in_end, IN_BYTES - it->in_end);
        if (done < 0 && (errno == EAGAIN || errno == EINTR))
            return 1;
        if (done <= 0)
            return 0;
        it->in_end += done;
    }
    read_us = now_us();
    take_frames(it);
    if (!is_relp)
        return 1;
    return flush(it);
}

static void accept_one(int listener)
{
    struct connection *it = allocate(1, sizeof *it);
    it->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (it->fd < 0) {
        free(it);
        return;
    }
    it->in = allocate(1, IN_BYTES);
    it->out = allocate(1, OUT_BYTES);
    if (watch(EPOLL_CTL_ADD, it->fd, EPOLLIN, it))
        die("epoll_ctl");
    accepted++;
}

static int listening(int port)
{
    struct sockaddr_in on = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    on.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, (struct sockaddr *)&on, sizeof on) || listen(fd, 128))
        die("listen");
    return fd;
}

static void report(int is_reached)
{
    printf("{\"reached\": %s, \"unique\": %lu, \"missing\": %lu, \"duplicates\": %lu, "
           "\"out_of_order\": %lu, \"unknown\": %lu, \"octets\": %lu, \"accepted\": %lu, "
           "\"closed\": %lu, \"first_us\": %lu, \"last_us\": %lu, \"checksum\": %lu, "
           "\"compared\": %lu}\n",
           is_reached ? "true" : "false", unique, wanted - unique, duplicates, out_of_order,
           unknown, octets, accepted, closed, first_us, last_us, checksum, compared);
    fflush(stdout);
}

static void write_arrivals(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(arrivals, sizeof *arrivals, unique, file) != unique || fclose(file))
        die(path);
}

int main(int argc, char **arguments)
{
    struct epoll_event events[64];
    struct sigaction action = {.sa_handler = end};
    (void)argc;
    is_relp = !strcmp(argument(arguments, "protocol", "relp"), "relp");
    int port = number(arguments, "port", 0, 1, 65535);
    wanted = number(arguments, "count", 0, 1, 1000000000);
    corpus = read_corpus(arguments, LINE_BYTES_MAX);
    if (number(arguments, "ordered", 0, 0, 1)) {
        words = allocate(corpus.count, sizeof *words);
        for (uint64_t at = 0; at < corpus.count; at++)
            words[at] = last_word(corpus.lines[at]);
    }
    const char *arrivals_path = argument(arguments, "arrivals", NULL);
    if (arrivals_path)
        arrivals = allocate(wanted, sizeof *arrivals);
    stream_count = number(arguments, "connections", 1, 1, CONNECTIONS_MAX);
    streams = allocate(stream_count, sizeof *streams);
    for (long index = 0; index < stream_count; index++) {
        streams[index].count =
            wanted / stream_count + (index < (long)(wanted % stream_count));
        streams[index].seen = allocate(streams[index].count / 8 + 1, 1);
    }
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    int listener = listening(port);
    if (watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL))
        die("epoll_ctl");
    while (!is_ending) {
        int ready = epoll_wait(poller, events, 64, -1);
        for (int at = 0; at < ready; at++) {
            struct connection *it = events[at].data.ptr;
            if (!it)
                accept_one(listener);
            else if (!serve(it, events[at].events))
                drop(it);
        }
        if (unique == wanted && !is_reported) {
            is_reported = 1;
            report(1);
        }
    }
    if (arrivals)
        write_arrivals(arrivals_path);
    report(unique == wanted);
    return 0;
}
