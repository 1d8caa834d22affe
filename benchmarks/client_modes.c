// SPDX-License-Identifier: Apache-2.0
/* client_modes.c - loads on connections that stay. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"

#define ANSWER_LATE_NS UINT64_C(200000000) /* a datagram is taken for lost */

/* Open loop: request k is due at origin + k / rate, on connection k mod
 * conns. */
static uint64_t rate_origin_ns;
static uint64_t rate_issued;

/* --- connections --------------------------------------------------------- */

int
socket_open(bool blocking)
{
    int family = opt.unix_path ? AF_UNIX : AF_INET;
    int type = (opt.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC;
    int one = 1;
    int fd = socket(family, type | (blocking ? 0 : SOCK_NONBLOCK), 0);

    if (fd < 0) {
        die("socket");
    }
    if (family == AF_INET && !opt.udp) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    return fd;
}

void
socket_connect(int fd)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int result;

    if (opt.unix_path) {
        strncpy(un.sun_path, opt.unix_path, sizeof(un.sun_path) - 1);
        result = connect(fd, (struct sockaddr *)&un, sizeof(un));
    } else {
        in.sin_port = htons((uint16_t)opt.port);
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        result = connect(fd, (struct sockaddr *)&in, sizeof(in));
    }
    if (result != 0 && errno != EINPROGRESS) {
        die("connect");
    }
}

void
conn_arm(conn *c, bool wants_write, int operation)
{
    struct epoll_event event = {
        .events = EPOLLIN | (wants_write ? EPOLLOUT : 0u), .data.ptr = c};

    c->wants_write = wants_write;
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) != 0) {
        die("epoll_ctl");
    }
}

/* Upgrade a connection, for websockets: blocking, until the empty line. */
static void
conn_handshake(conn *c, const char *text, size_t bytes)
{
    size_t have = 0;
    ssize_t got;

    if (write(c->fd, text, bytes) != (ssize_t)bytes) {
        die("handshake");
    }
    do {
        got = read(c->fd, buffer + have, 1);
        if (got != 1 || have > 8192) {
            die("the answer to the handshake");
        }
        have++;
    } while (have < 4 || memcmp(buffer + have - 4, "\r\n\r\n", 4) != 0);
    if (strncmp(buffer, "HTTP/1.1 101", 12) != 0) {
        buffer[64] = '\0';
        fprintf(stderr, "client: handshake refused: %s\n", buffer);
        exit(1);
    }
}

static void
conns_open(void)
{
    size_t bytes = 0;
    char *text = NULL;
    conn *c;

    if (opt.handshake_file) {
        text = file_read(opt.handshake_file, &bytes);
    }
    for (c = conns; c < conns + opt.conns; c++) {
        c->fd = socket_open(true);
        socket_connect(c->fd);
        if (text) {
            conn_handshake(c, text, bytes);
        }
        if (opt.tls) {
            tls_connect(c);
        }
        if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) {
            die("fcntl");
        }
        conn_arm(c, false, EPOLL_CTL_ADD);
    }
    free(text);
}

/* --- echo ---------------------------------------------------------------- */

static void
echo_write(conn *c)
{
    bool blocked;

    while (c->sent < request_bytes) {
        const char *from = request + c->sent;
        size_t count = request_bytes - c->sent;
        ssize_t n = c->tls ? tls_send(c, from, count)
                           : send(c->fd, from, count, MSG_NOSIGNAL);

        if (n < 0) {
            if (errno != EAGAIN) {
                die("send");
            }
            break;
        }
        c->sent += (size_t)n;
    }
    blocked = c->sent < request_bytes || (c->tls && !tls_flush(c));
    if (c->wants_write != blocked) {
        conn_arm(c, !c->wants_write, EPOLL_CTL_MOD);
    }
}

static void
echo_begin(conn *c, uint64_t started_ns)
{
    c->busy = true;
    c->sent = c->received = 0;
    c->started_ns = started_ns;
    echo_write(c);
}

static uint64_t
echo_due_ns(uint64_t number)
{
    return rate_origin_ns + (uint64_t)((double)number * 1e9 / opt.rate);
}

/* What waits for the answer before it on its connection still counts from the
 * time at which it was due. */
static void
echo_begin_waiting(conn *c)
{
    uint64_t number = c->next * (uint64_t)opt.conns + (uint64_t)(c - conns);

    c->waiting--;
    c->next++;
    echo_begin(c, echo_due_ns(number));
}

uint64_t
echo_begin_due(void)
{
    uint64_t due;

    while ((due = echo_due_ns(rate_issued)) <= now_ns()) {
        conn *c = conns + rate_issued++ % (uint64_t)opt.conns;

        c->waiting++;
        histogram_add(&lateness, now_ns() - due);
        if (!c->busy) {
            echo_begin_waiting(c);
        }
    }
    return due;
}

static void
echo_complete(conn *c)
{
    uint64_t now = now_ns();

    counts.messages++;
    latency_add(now - c->started_ns, now);
    c->busy = false;
    if (c->tls) {
        tls_count(c);
    }
    if (opt.messages && counts.messages >= (uint64_t)opt.messages) {
        return;
    }
    if (opt.rate == 0) {
        echo_begin(c, now);
    } else if (c->waiting > 0) {
        echo_begin_waiting(c);
    }
}

/* False when there was nothing to read. */
static bool
echo_read(conn *c)
{
    ssize_t n = c->tls ? tls_recv(c, buffer, sizeof(buffer))
                       : recv(c->fd, buffer, sizeof(buffer), 0);

    if (n < 0) {
        if (errno == EAGAIN) {
            return false;
        }
        die("recv");
    }
    if (n == 0) {
        errno = ECONNRESET;
        die("the server closed a connection");
    }
    c->received += (size_t)n;
    counts.bytes += (uint64_t)n;
    if (!c->busy || c->received > (size_t)opt.response) {
        errno = EPROTO;
        die("more bytes came back than were sent");
    }
    if (c->received == (size_t)opt.response) {
        echo_complete(c);
    }
    return true;
}

void
echo_event(conn *c, uint32_t events)
{
    if (events & EPOLLOUT) {
        echo_write(c);
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        while (echo_read(c) && c->tls && tls_has_pending(c)) {
        }
    }
}

void
udp_resend_lost(void)
{
    uint64_t now = now_ns();

    for (conn *c = conns; c < conns + opt.conns; c++) {
        if (c->busy && now - c->started_ns > ANSWER_LATE_NS) {
            counts.lost++;
            echo_begin(c, now);
        }
    }
}

void
echo_start(void)
{
    conns_open();
    rate_origin_ns = now_ns();
    for (conn *c = conns; c < conns + opt.conns; c++) {
        if (opt.rate == 0) {
            echo_begin(c, now_ns());
        }
    }
}

/* --- send, receive ------------------------------------------------------- */

void
send_start(void)
{
    conns_open();
    for (conn *c = conns; c < conns + opt.conns; c++) {
        conn_arm(c, true, EPOLL_CTL_MOD);
    }
}

void
send_event(conn *c, uint32_t events)
{
    ssize_t n;

    if (events & (EPOLLERR | EPOLLHUP)) {
        errno = ECONNRESET;
        die("the server closed a connection");
    }
    n = send(c->fd, buffer, sizeof(buffer), MSG_NOSIGNAL);
    if (n > 0) {
        counts.bytes += (uint64_t)n;
    } else if (errno != EAGAIN) {
        die("send");
    }
}

void
receive_start(void)
{
    conns_open();
}

void
receive_event(conn *c, uint32_t events)
{
    ssize_t n = recv(c->fd, buffer, sizeof(buffer), 0);

    (void)events;
    if (n > 0) {
        counts.bytes += (uint64_t)n;
    } else if (n == 0 || errno != EAGAIN) {
        die("recv");
    }
}
