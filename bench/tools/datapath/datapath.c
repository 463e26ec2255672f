/* Traffic for `python -m bench datapath` and others: one program, server and client. Static, no options, no output but
 * figures.
 *
 *   datapath serve|serve6 PORT               prints "ready", then serves IPv4 or IPv6 until it is ended
 *   datapath stream|udp|large|rr|crr|packets|flows ADDRESS PORT SECONDS STREAMS
 *                                            prints five figures: bytes, packets that arrive (of 64 and of 1,400 bytes),
 *                                            transactions, connections, packets sent, flows of one packet a second;
 *                                            nanoseconds of the client's processor and of all processors for each;
 *                                            p50 and p99 of transactions and connections in microseconds
 *
 * A packet between namespaces of one machine is forwarded in the system call that sends it, on the sender's account,
 * unless the kernel accounts for interrupts by themselves (CONFIG_IRQ_TIME_ACCOUNTING). `packets` and `flows` go to the
 * port behind PORT, which nobody reads, so that no reader has to be woken: its queue is full soon. All processors'
 * time is what /proc/stat says of user, nice, system, irq and softirq: in ticks of 10 ms, whoever was at work.
 *
 * A connection's first byte says what it is for: S bytes to throw away, R bytes to send back, C one byte to send back
 * before the server closes (so that no port of the client has to wait), Q the count of datagrams so far.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 128 << 10, DATAGRAM = 64, LARGE = 1400, MOST = 64, SAMPLES = 1 << 20 };

static _Atomic uint64_t datagrams;
/* The port is at the same place of both. */
static union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} peer;
static double until;
static float taken[SAMPLES];
static size_t samples;

static void fail(const char *what) {
    fprintf(stderr, "datapath: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double now(void) { return seconds_of(CLOCK_MONOTONIC); }

static double seconds_of_all(void) {
    unsigned long long user, nice, system, idle, iowait, irq, softirq;
    FILE *file = fopen("/proc/stat", "re");
    if (!file) fail("/proc/stat");
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq, &softirq) != 7)
        fail("/proc/stat");
    fclose(file);
    return (double)(user + nice + system + irq + softirq) / sysconf(_SC_CLK_TCK);
}

static socklen_t length(void) { return peer.any.sa_family == AF_INET6 ? sizeof peer.v6 : sizeof peer.v4; }

static int opened(int type) {
    int on = 1, fd = socket(peer.any.sa_family, type | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    if (type == SOCK_STREAM && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) fail("TCP_NODELAY");
    return fd;
}

static int connected(int type, char purpose) {
    int fd = opened(type);
    if (connect(fd, &peer.any, length())) fail("connect");
    if (type == SOCK_STREAM && write(fd, &purpose, 1) != 1) fail("write");
    return fd;
}

static void *serve_one(void *argument) {
    int fd = (int)(intptr_t)argument;
    char purpose = 0, *buffer = malloc(CHUNK);
    ssize_t got;
    if (buffer && read(fd, &purpose, 1) == 1) {
        uint64_t count = atomic_load(&datagrams);
        if (purpose == 'Q')
            (void)!write(fd, &count, sizeof count);
        else if (purpose == 'C')
            (void)!write(fd, &purpose, 1);
        else
            while ((got = read(fd, buffer, CHUNK)) > 0)
                if (purpose == 'R' && write(fd, buffer, got) != got) break;
    }
    free(buffer);
    close(fd);
    return NULL;
}

static void *count_datagrams(void *argument) {
    char buffer[2048];
    while (recv((int)(intptr_t)argument, buffer, sizeof buffer, 0) >= 0) atomic_fetch_add(&datagrams, 1);
    return NULL;
}

static void in_thread(void *(*work)(void *), int fd) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, (void *)(intptr_t)fd)) fail("thread");
    pthread_detach(thread);
}

static void serve(void) {
    int on = 1, tcp = opened(SOCK_STREAM), udp = opened(SOCK_DGRAM), unread = opened(SOCK_DGRAM), fd;
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(tcp, &peer.any, length()) || listen(tcp, 1024)) fail("listen");
    if (bind(udp, &peer.any, length())) fail("bind");
    peer.v4.sin_port = htons(ntohs(peer.v4.sin_port) + 1);
    if (bind(unread, &peer.any, length())) fail("bind");
    in_thread(count_datagrams, udp);
    puts("ready");
    fflush(stdout);
    while ((fd = accept4(tcp, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        in_thread(serve_one, fd);
    }
    fail("accept");
}

static void *stream(void *done) {
    static const char zeros[CHUNK];
    int fd = connected(SOCK_STREAM, 'S');
    while (now() < until) {
        ssize_t sent = write(fd, zeros, CHUNK);
        if (sent < 0) fail("write");
        *(uint64_t *)done += sent;
    }
    close(fd);
    return NULL;
}

static uint64_t counted(void) {
    uint64_t count;
    int fd = connected(SOCK_STREAM, 'Q');
    if (recv(fd, &count, sizeof count, MSG_WAITALL) != sizeof count) fail("count");
    close(fd);
    return count;
}

static void sent(int fd, size_t size) {
    static const char zeros[LARGE];
    if (send(fd, zeros, size, 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED) fail("send");
}

static uint64_t udp(size_t size) {
    uint64_t before = counted();
    int fd = connected(SOCK_DGRAM, 0);
    while (now() < until) sent(fd, size);
    close(fd);
    return counted() - before;
}

static uint64_t packets(int is_one_flow) {
    uint64_t done = 0;
    peer.v4.sin_port = htons(ntohs(peer.v4.sin_port) + 1);
    int fd = connected(SOCK_DGRAM, 0);
    for (; now() < until; done++) {
        sent(fd, DATAGRAM);
        if (is_one_flow) continue;
        close(fd);
        fd = connected(SOCK_DGRAM, 0);
    }
    close(fd);
    return done;
}

/* Return whether there is time for another one, as there is for the first; the one before began at `begun`. */
static int again(double *begun, int is_first) {
    double at = now();
    if (!is_first && samples < SAMPLES) taken[samples++] = 1e6 * (at - *begun);
    *begun = at;
    return is_first || at < until;
}

static uint64_t request_response(void) {
    uint64_t done = 0;
    double begun;
    char byte = 0;
    int fd = connected(SOCK_STREAM, 'R');
    for (; again(&begun, !done); done++)
        if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1) fail("transaction");
    close(fd);
    return done;
}

static uint64_t connections(void) {
    uint64_t done = 0;
    double begun;
    char bytes[2];
    for (; again(&begun, !done); done++) {
        int fd = connected(SOCK_STREAM, 'C');
        if (read(fd, bytes, 1) != 1 || read(fd, bytes, 1) != 0) fail("connection");
        close(fd);
    }
    return done;
}

static int compared(const void *one, const void *other) {
    float difference = *(const float *)one - *(const float *)other;
    return (difference > 0) - (difference < 0);
}

/* The smallest sample that `percent` % of all are not above, 0 without samples; they are sorted. */
static float percentile(int percent) { return samples ? taken[(samples * percent + 99) / 100 - 1] : 0; }

static uint64_t streams(int count) {
    pthread_t threads[MOST];
    uint64_t done[MOST] = {0}, all = 0;
    for (int at = 0; at < count; at++)
        if (pthread_create(&threads[at], NULL, stream, &done[at])) fail("thread");
    for (int at = 0; at < count; at++) {
        pthread_join(threads[at], NULL);
        all += done[at];
    }
    return all;
}

static uint64_t work(const char *kind, int count) {
    if (!strcmp(kind, "stream")) return streams(count);
    if (!strcmp(kind, "udp")) return udp(DATAGRAM);
    if (!strcmp(kind, "large")) return udp(LARGE);
    if (!strcmp(kind, "packets")) return packets(1);
    if (!strcmp(kind, "flows")) return packets(0);
    return !strcmp(kind, "rr") ? request_response() : connections();
}

static int is_peer(const char *address) {
    peer.any.sa_family = strchr(address, ':') ? AF_INET6 : AF_INET;
    return peer.any.sa_family == AF_INET6 ? inet_pton(AF_INET6, address, &peer.v6.sin6_addr)
                                          : inet_pton(AF_INET, address, &peer.v4.sin_addr);
}

int main(int argc, char **argv) {
    if (argc == 3) {
        peer.any.sa_family = !strcmp(argv[1], "serve6") ? AF_INET6 : AF_INET;
        peer.v4.sin_port = htons(atoi(argv[2]));
        serve();
    }
    int count = argc == 6 ? atoi(argv[5]) : 0;
    if (count < 1 || count > MOST || !is_peer(argv[2])) {
        fputs("usage: datapath serve|serve6 PORT | stream|udp|large|rr|crr|packets|flows ADDRESS PORT SECONDS STREAMS\n",
              stderr);
        return 2;
    }
    peer.v4.sin_port = htons(atoi(argv[3]));
    double all = seconds_of_all(), used = seconds_of(CLOCK_PROCESS_CPUTIME_ID), begun = now();
    until = begun + atof(argv[4]);
    uint64_t done = work(argv[1], count);
    double lasted = now() - begun;
    used = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - used;
    all = seconds_of_all() - all;
    qsort(taken, samples, sizeof *taken, compared);
    printf("%.1f %.3f %.4f %.2f %.2f\n", done / lasted, 1e9 * used / done, 1e9 * all / done, percentile(50), percentile(99));
    return 0;
}
