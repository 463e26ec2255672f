/* Traffic for `python -m bench datapath` and `packets`: one program, server and client. Static, no options, no output
 * but figures.
 *
 *   datapath serve PORT                      prints "ready", then serves until it is ended
 *   datapath stream|udp|rr|crr|packets|flows ADDRESS PORT SECONDS STREAMS
 *                                            prints two figures: bytes, packets that arrive, transactions, connections,
 *                                            packets sent, flows of one packet a second, and nanoseconds of the client's
 *                                            processor for each
 *
 * A packet between namespaces of one machine is forwarded in the system call that sends it, on the sender's account,
 * unless the kernel accounts for interrupts by themselves (CONFIG_IRQ_TIME_ACCOUNTING). `packets` and `flows` go to the
 * port behind PORT, which nobody reads, so that no reader has to be woken: its queue is full soon.
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

enum { CHUNK = 128 << 10, DATAGRAM = 64, MOST = 64 };

static _Atomic uint64_t datagrams;
static struct sockaddr_in peer;
static double until;

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

static int opened(int type) {
    int on = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    if (type == SOCK_STREAM && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) fail("TCP_NODELAY");
    return fd;
}

static int connected(int type, char purpose) {
    int fd = opened(type);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer)) fail("connect");
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
    struct sockaddr_in behind = {.sin_family = AF_INET, .sin_port = htons(ntohs(peer.sin_port) + 1)};
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    peer.sin_addr.s_addr = INADDR_ANY;
    if (bind(tcp, (struct sockaddr *)&peer, sizeof peer) || listen(tcp, 1024)) fail("listen");
    if (bind(udp, (struct sockaddr *)&peer, sizeof peer)) fail("bind");
    if (bind(unread, (struct sockaddr *)&behind, sizeof behind)) fail("bind");
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

static void sent(int fd) {
    static const char zeros[DATAGRAM];
    if (send(fd, zeros, DATAGRAM, 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED) fail("send");
}

static uint64_t udp(void) {
    uint64_t before = counted();
    int fd = connected(SOCK_DGRAM, 0);
    while (now() < until) sent(fd);
    close(fd);
    return counted() - before;
}

static uint64_t packets(int is_one_flow) {
    uint64_t done = 0;
    peer.sin_port = htons(ntohs(peer.sin_port) + 1);
    int fd = connected(SOCK_DGRAM, 0);
    for (; now() < until; done++) {
        sent(fd);
        if (is_one_flow) continue;
        close(fd);
        fd = connected(SOCK_DGRAM, 0);
    }
    close(fd);
    return done;
}

static uint64_t request_response(void) {
    uint64_t done = 0;
    char byte = 0;
    int fd = connected(SOCK_STREAM, 'R');
    for (; now() < until; done++)
        if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1) fail("transaction");
    close(fd);
    return done;
}

static uint64_t connections(void) {
    uint64_t done = 0;
    char bytes[2];
    for (; now() < until; done++) {
        int fd = connected(SOCK_STREAM, 'C');
        if (read(fd, bytes, 1) != 1 || read(fd, bytes, 1) != 0) fail("connection");
        close(fd);
    }
    return done;
}

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

int main(int argc, char **argv) {
    peer.sin_family = AF_INET;
    if (argc == 3 && !strcmp(argv[1], "serve")) {
        peer.sin_port = htons(atoi(argv[2]));
        serve();
    }
    int count = argc == 6 ? atoi(argv[5]) : 0;
    if (count < 1 || count > MOST || !inet_aton(argv[2], &peer.sin_addr)) {
        fputs("usage: datapath serve PORT | stream|udp|rr|crr|packets|flows ADDRESS PORT SECONDS STREAMS\n", stderr);
        return 2;
    }
    peer.sin_port = htons(atoi(argv[3]));
    double begun = now(), used = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    until = begun + atof(argv[4]);
    uint64_t done = !strcmp(argv[1], "stream")    ? streams(count)
                    : !strcmp(argv[1], "udp")     ? udp()
                    : !strcmp(argv[1], "packets") ? packets(1)
                    : !strcmp(argv[1], "flows")   ? packets(0)
                    : !strcmp(argv[1], "rr")      ? request_response()
                                                  : connections();
    used = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - used;
    printf("%.1f %.3f\n", done / (now() - begun), 1e9 * used / done);
    return 0;
}
