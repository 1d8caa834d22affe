// SPDX-License-Identifier: Apache-2.0
/* client_connect.c - loads that are connections: opened, answered and closed
 * one after another, or opened and kept. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

/* With a rate: connection k is due at origin + k / rate. */
static uint64_t rate_origin_ns;
static uint64_t rate_issued;

/* 8 addresses have 8 times the ports: those of closed connections stay taken
 * for a minute. */
static void
connect_bind(int fd)
{
    static uint32_t turn;
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1;

    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % 8);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0) {
        die("bind");
    }
}

static int
connect_open(void)
{
    int fd = socket_open(true);

    connect_bind(fd);
    socket_connect(fd);
    return fd;
}

/* The byte, as soon as there is no handshake before it. */
static void
connect_ask(conn *c)
{
    ssize_t n;

    c->handshaking = c->tls && !tls_handshake(c);
    if (c->handshaking) {
        return;
    }
    n = c->tls ? tls_send(c, "x", 1) : send(c->fd, "x", 1, MSG_NOSIGNAL);

    if (n != 1) {
        die("send");
    }
}

/* On loopback connect() returns at once, the peer's accept() comes later. */
static void
connect_begin(conn *c, uint64_t started_ns)
{
    c->busy = true;
    c->started_ns = started_ns;
    c->fd = connect_open();
    conn_arm(c, false, EPOLL_CTL_ADD);
    if (opt.tls) {
        if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) {
            die("fcntl");
        }
        tls_begin(c);
    }
    connect_ask(c);
}

static void
connect_end(conn *c)
{
    uint64_t now;

    if (c->tls) {
        counts.resumed += tls_end(c);
    }
    close(c->fd);
    now = now_ns();
    counts.messages++;
    latency_add(now - c->started_ns, now);
    c->busy = false;
    if (opt.rate == 0) {
        connect_begin(c, now_ns());
    }
}

void
connect_event(conn *c, uint32_t events)
{
    ssize_t n;

    (void)events;
    if (c->handshaking) {
        connect_ask(c);
        return;
    }
    n = c->tls ? tls_recv(c, buffer, sizeof(buffer))
               : recv(c->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        die("the answer on a new connection");
    }
    counts.bytes += (uint64_t)n;
    connect_end(c);
}

/* What is due while all connections are busy starts as soon as one is not,
 * and its latency counts from the time at which it was due. */
uint64_t
connect_begin_due(void)
{
    uint64_t now = now_ns();
    conn *c;

    for (c = conns; c < conns + opt.conns; c++) {
        uint64_t due =
            rate_origin_ns + (uint64_t)((double)rate_issued * 1e9 / opt.rate);

        if (due > now) {
            return due;
        }
        if (!c->busy) {
            rate_issued++;
            histogram_add(&lateness, now - due);
            connect_begin(c, due);
        }
    }
    return now + TICK_NS;
}

void
connect_start(void)
{
    rate_origin_ns = now_ns();
    for (conn *c = conns; opt.rate == 0 && c < conns + opt.conns; c++) {
        connect_begin(c, now_ns());
    }
}

/* With TLS, handshakes alone: the client's half of each is given up at once,
 * since it would hold more memory than the server's. */
void
idle_run(void)
{
    struct timespec pause = {.tv_nsec = 4000000};
    int connected = 0;

    for (; connected < opt.conns; connected++) {
        conn c = {.fd = connect_open()};

        if (opt.tls) {
            tls_connect(&c);
            tls_forget(&c);
        }
        if (connected % 100 == 99) {
            nanosleep(&pause, NULL); /* the server's backlog is finite */
        }
    }
    printf("{\"connections\": %d}\n", connected);
    fflush(stdout);
    while (read(STDIN_FILENO, buffer, sizeof(buffer)) > 0) {
    }
}
