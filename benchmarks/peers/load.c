// SPDX-License-Identifier: Apache-2.0
//
// A load from one thread that costs little and always the same, so that the server is what is measured.
//
//   load HOST PORT CONNECTIONS RATE SECONDS REQUESTS ORDER
//
// REQUESTS is a file of requests, each as a 4-byte little-endian length and the bytes. ORDER is a file of 4-byte
// little-endian places in it: what is sent, in this order; it ends the run when it is used up, or SECONDS do.
// RATE 0 keeps one request in flight on each connection (closed loop). RATE N sends N requests a second, each at
// its own time whether or not the last ones were answered in time, and counts each latency from the time at which
// its request was due (open loop): a stall is seen by every request that it held up, not by one.
//
// Prints one line of JSON: requests by status, seconds, and latencies in microseconds.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 1024
#define BUFFER_BYTES (64 * 1024)
#define PATIENCE_NS 10000000000LL

struct connection {
    int fd;
    int is_busy;
    int64_t due;
    size_t received;
    char buffer[BUFFER_BYTES + 1];
};

static struct connection connections[MOST_CONNECTIONS];
static struct connection *idle[MOST_CONNECTIONS];
static struct sockaddr_in address;
static const char **starts;
static uint32_t *lengths;
static uint32_t *latencies;
static uint64_t by_status[600];
static size_t answered, reconnects;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static const char *map_file(const char *path, size_t *size) {
    struct stat found;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &found) < 0) fail(path);
    *size = (size_t)found.st_size;
    const char *data = mmap(NULL, *size ? *size : 1, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (data == MAP_FAILED) fail(path);
    close(fd);
    return data;
}

static size_t index_requests(const char *data, size_t size) {
    size_t count = 0, room = 1024;
    starts = malloc(room * sizeof *starts);
    lengths = malloc(room * sizeof *lengths);
    for (size_t at = 0; at + 4 <= size;) {
        if (count == room) {
            room *= 2;
            starts = realloc(starts, room * sizeof *starts);
            lengths = realloc(lengths, room * sizeof *lengths);
        }
        memcpy(&lengths[count], data + at, 4);
        starts[count] = data + at + 4;
        at += 4 + lengths[count++];
    }
    return count;
}

static void open_connection(struct connection *each, int epoll) {
    int one = 1;
    each->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (each->fd < 0 || connect(each->fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    setsockopt(each->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(each->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = each};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, each->fd, &event) < 0) fail("epoll_ctl");
    each->received = 0;
}

static void send_request(struct connection *each, uint32_t place, int64_t due) {
    each->is_busy = 1;
    each->due = due;
    // Requests are a few KiB and one is in flight: they always fit the socket's buffer.
    if (send(each->fd, starts[place], lengths[place], MSG_NOSIGNAL) != (ssize_t)lengths[place]) fail("send");
}

// The length of the one whole response in the buffer, 0 when more is to come.
static size_t whole_response(struct connection *each, int *closes) {
    each->buffer[each->received] = 0;
    char *end = memmem(each->buffer, each->received, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    size_t head = (size_t)(end - each->buffer) + 4, body = 0;
    for (char *line = each->buffer; line < end;) {
        char *next = memchr(line, '\n', (size_t)(end + 2 - line));
        if (strncasecmp(line, "content-length:", 15) == 0) body = strtoul(line + 15, NULL, 10);
        if (strncasecmp(line, "connection: close", 17) == 0) *closes = 1;
        if (strncasecmp(line, "transfer-encoding:", 18) == 0) {
            char *last = memmem(end, each->received - head + 4, "0\r\n\r\n", 5);
            return last == NULL ? 0 : (size_t)(last + 5 - each->buffer);
        }
        if (next == NULL) break;
        line = next + 1;
    }
    return each->received >= head + body ? head + body : 0;
}

// Whether the connection has its answer.
static int read_answer(struct connection *each, int epoll) {
    ssize_t got = recv(each->fd, each->buffer + each->received, BUFFER_BYTES - each->received, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) {
        if (each->is_busy) fail("a connection was closed without an answer");
        close(each->fd);
        open_connection(each, epoll);
        return 0;
    }
    each->received += (size_t)got;
    int closes = 0;
    size_t used = whole_response(each, &closes);
    if (used == 0) return 0;
    if (used != each->received || !each->is_busy) fail("more than one answer to one request");
    int status = atoi(each->buffer + 9);
    by_status[status > 0 && status < 600 ? status : 0]++;
    int64_t took = (now_ns() - each->due) / 1000;
    latencies[answered++] = took < 0 ? 0 : took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    each->is_busy = 0;
    each->received = 0;
    if (closes) {
        close(each->fd);
        open_connection(each, epoll);
        reconnects++;
    }
    return 1;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t quantile(double share) {
    if (answered == 0) return 0;
    size_t place = (size_t)(share * (double)answered);
    return latencies[place < answered ? place : answered - 1];
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: load HOST PORT CONNECTIONS RATE SECONDS REQUESTS ORDER\n");
        return 2;
    }
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) fail("host");
    int wanted = atoi(argv[3]);
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    if (wanted < 1 || wanted > MOST_CONNECTIONS) fail("connections");
    size_t requests_size, order_size;
    const char *requests = map_file(argv[6], &requests_size);
    const uint32_t *order = (const uint32_t *)(const void *)map_file(argv[7], &order_size);
    size_t count = index_requests(requests, requests_size), total = order_size / 4;
    for (size_t place = 0; place < total; place++)
        if (order[place] >= count) fail("an order beyond the requests");
    latencies = malloc((total + 1) * sizeof *latencies);

    int epoll = epoll_create1(0);
    // A ring, so that every connection has its turn.
    size_t free_count = (size_t)wanted, first = 0;
    for (int place = 0; place < wanted; place++) {
        open_connection(&connections[place], epoll);
        idle[place] = &connections[place];
    }
    struct epoll_event events[256];
    size_t sent = 0;
    int64_t start = now_ns(), end = start + (int64_t)(seconds * 1e9), last = start;
    while (1) {
        int64_t now = now_ns();
        int is_over = now >= end || sent == total;
        while (free_count > 0 && !is_over && sent < total) {
            int64_t due = rate > 0 ? start + (int64_t)((double)sent * 1e9 / rate) : now;
            if (due > now) break;
            send_request(idle[first++ % (size_t)wanted], order[sent++], due);
            free_count--;
        }
        if (is_over && free_count == (size_t)wanted) break;
        if (now - last > PATIENCE_NS) {
            errno = ETIMEDOUT;
            fail("no answer");
        }
        // In an open loop the clock is looked at all the time: this core has nothing else to do.
        int found = epoll_wait(epoll, events, 256, rate > 0 && !is_over ? 0 : 100);
        for (int place = 0; place < found; place++) {
            struct connection *each = events[place].data.ptr;
            if (read_answer(each, epoll)) {
                last = now_ns();
                idle[(first + free_count++) % (size_t)wanted] = each;
            }
        }
    }
    double took = (double)(last - start) / 1e9;
    qsort(latencies, answered, sizeof *latencies, by_size);
    printf("{\"seconds\": %.6f, \"requests\": %zu, \"reconnects\": %zu, \"p50\": %u, \"p99\": %u, \"p999\": %u, \"most\": %u", took,
           answered, reconnects, quantile(0.50), quantile(0.99), quantile(0.999), quantile(1.0));
    printf(", \"statuses\": {");
    const char *comma = "";
    for (int status = 0; status < 600; status++) {
        if (by_status[status] == 0) continue;
        printf("%s\"%d\": %llu", comma, status, (unsigned long long)by_status[status]);
        comma = ", ";
    }
    printf("}}\n");
    return 0;
}
