/* SPDX-License-Identifier: Apache-2.0 */
/* zerocopy.c - what a byte costs its sender, by way of sending.
 *
 *   zerocopy receive ADDRESS
 *       prints its port, takes one connection after the other and reads all
 *   zerocopy send ADDRESS PORT WAY SIZE SECONDS
 *       WAY: copy (send), msg (MSG_ZEROCOPY), ring (io_uring's SEND),
 *       ring-zc (its SEND_ZC); prints what came of it as JSON
 *
 * A buffer that was given away is used again when the kernel has said that it
 * has it no longer, as a loop would release what a program wrote. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>
#include <linux/errqueue.h>

enum {
    BUFFERS = 16, /* that may be the kernel's at once */
    SIZE_MAX_BYTES = 4 << 20,
    RECEIVE_BYTES = 256 << 10,
    SEND_TIMES = 16, /* between two looks at the clock */
};

typedef struct sender {
    int fd;
    size_t size;
    struct io_uring ring;
    uint8_t *buffers[BUFFERS];
    unsigned next;        /* the buffer that is sent next */
    unsigned outstanding; /* that the kernel still has */
    uint64_t sends, bytes, calls, released, copied;
} sender;

static void
die(const char *what)
{
    fprintf(stderr, "zerocopy: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double
seconds_of(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static struct sockaddr_in
address_of(const char *address, const char *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(port))};

    if (inet_pton(AF_INET, address, &in.sin_addr) != 1) {
        errno = EINVAL;
        die(address);
    }
    return in;
}

static void
receive(const char *address)
{
    static uint8_t buffer[RECEIVE_BYTES];
    struct sockaddr_in in = address_of(address, "0");
    socklen_t length = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;

    if (bind(listener, (struct sockaddr *)&in, length) != 0
        || listen(listener, 1) != 0
        || getsockname(listener, (struct sockaddr *)&in, &length) != 0) {
        die(address);
    }
    printf("%d\n", ntohs(in.sin_port));
    fflush(stdout);
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        while (recv(fd, buffer, sizeof buffer, 0) > 0) {
        }
        close(fd);
    }
    die("accept");
}

/* --- Each way sends one buffer, whole ------------------------------------- */

static void
send_whole(sender *self, int flags)
{
    const uint8_t *from = self->buffers[self->next];

    for (size_t done = 0; done < self->size;) {
        ssize_t sent = send(self->fd, from + done, self->size - done, flags);

        self->calls++;
        if (sent < 0) {
            die("send");
        }
        if ((flags & MSG_ZEROCOPY) != 0) {
            self->outstanding++; /* counted by calls */
        }
        done += (size_t)sent;
    }
}

static void
send_copy(sender *self)
{
    send_whole(self, 0);
}

/* One notification can be of many calls. */
static void
msg_reap(sender *self)
{
    uint8_t control[128];
    struct msghdr msg = {.msg_control = control,
                         .msg_controllen = sizeof control};
    const struct sock_extended_err *error;

    self->calls++;
    if (recvmsg(self->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
        struct pollfd errors = {.fd = self->fd};

        if (errno != EAGAIN) {
            die("recvmsg");
        }
        self->calls++;
        (void)poll(&errors, 1, 1000);
        return;
    }
    error = (const void *)CMSG_DATA(CMSG_FIRSTHDR(&msg));
    if (error->ee_origin == SO_EE_ORIGIN_ZEROCOPY) {
        unsigned count = error->ee_data - error->ee_info + 1;

        self->outstanding -= count;
        self->released += count;
        if ((error->ee_code & SO_EE_CODE_ZEROCOPY_COPIED) != 0) {
            self->copied += count;
        }
    }
}

static void
send_msg(sender *self)
{
    send_whole(self, MSG_ZEROCOPY);
    while (self->outstanding >= BUFFERS) {
        msg_reap(self);
    }
}

static void
ring_take(sender *self, const struct io_uring_cqe *cqe, bool *sent)
{
    if ((cqe->flags & IORING_CQE_F_NOTIF) != 0) {
        self->outstanding--;
        self->released++;
        if (((uint32_t)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED) != 0) {
            self->copied++;
        }
        return;
    }
    if (cqe->res != (int)self->size) {
        errno = -cqe->res;
        die("a send of the ring");
    }
    if ((cqe->flags & IORING_CQE_F_MORE) != 0) {
        self->outstanding++;
    }
    *sent = true;
}

/* Enter until the send is over, and a buffer free. */
static void
ring_finish(sender *self)
{
    bool sent = false;

    while (!sent || self->outstanding >= BUFFERS) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;

        self->calls++;
        if (io_uring_submit_and_wait(&self->ring, 1) < 0) {
            die("io_uring_enter");
        }
        io_uring_for_each_cqe(&self->ring, head, cqe)
        {
            ring_take(self, cqe, &sent);
            count++;
        }
        io_uring_cq_advance(&self->ring, count);
    }
}

static void
send_ring(sender *self)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);

    io_uring_prep_send(sqe, self->fd, self->buffers[self->next], self->size,
                       MSG_WAITALL);
    ring_finish(self);
}

static void
send_ring_zc(sender *self)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);

    io_uring_prep_send_zc(sqe, self->fd, self->buffers[self->next], self->size,
                          MSG_WAITALL, IORING_SEND_ZC_REPORT_USAGE);
    ring_finish(self);
}

/* --- The measurement ------------------------------------------------------ */

static const struct {
    const char *name;
    void (*send)(sender *self);
} ways[] = {
    {"copy", send_copy},
    {"msg", send_msg},
    {"ring", send_ring},
    {"ring-zc", send_ring_zc},
};

static void
sender_open(sender *self, const struct sockaddr_in *in, size_t size)
{
    const unsigned flags =
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    int one = 1;

    self->size = size;
    self->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(self->fd, (const struct sockaddr *)in, sizeof *in) != 0) {
        die("connect");
    }
    setsockopt(self->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (setsockopt(self->fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one) != 0) {
        die("SO_ZEROCOPY");
    }
    errno = -io_uring_queue_init(64, &self->ring, flags);
    if (errno != 0) {
        die("io_uring_queue_init");
    }
    for (unsigned i = 0; i < BUFFERS; i++) {
        self->buffers[i] = malloc(size);
        if (self->buffers[i] == NULL) {
            die("malloc");
        }
        memset(self->buffers[i], 'x', size);
    }
}

static void
run(sender *self, void (*way)(sender *self), double seconds)
{
    double end = seconds_of(CLOCK_MONOTONIC) + seconds;

    do {
        for (int i = 0; i < SEND_TIMES; i++) {
            way(self);
            self->next = (self->next + 1) % BUFFERS;
            self->sends++;
            self->bytes += self->size;
        }
    } while (seconds_of(CLOCK_MONOTONIC) < end);
}

static void
measure(sender *self, void (*way)(sender *self), double seconds)
{
    double begun, cpu;

    run(self, way, seconds / 5); /* to warm up */
    self->sends = self->bytes = self->calls = 0;
    begun = seconds_of(CLOCK_MONOTONIC);
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    run(self, way, seconds);
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"sends\": %llu, \"bytes\": %llu, \"seconds\": %f, "
           "\"cpu\": %f, \"calls\": %llu, \"released\": %llu, "
           "\"copied\": %llu}\n",
           (unsigned long long)self->sends, (unsigned long long)self->bytes,
           seconds_of(CLOCK_MONOTONIC) - begun, cpu,
           (unsigned long long)self->calls, (unsigned long long)self->released,
           (unsigned long long)self->copied);
}

int
main(int argc, char **argv)
{
    sender self = {.next = 0};
    struct sockaddr_in in;
    long size;

    if (argc == 3 && strcmp(argv[1], "receive") == 0) {
        receive(argv[2]);
    }
    size = argc == 7 ? atol(argv[5]) : 0;
    if (size < 1 || size > SIZE_MAX_BYTES || strcmp(argv[1], "send") != 0) {
        fputs("usage: zerocopy receive ADDRESS\n"
              "       zerocopy send ADDRESS PORT WAY SIZE SECONDS\n",
              stderr);
        return 2;
    }
    in = address_of(argv[2], argv[3]);
    sender_open(&self, &in, (size_t)size);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(argv[4], ways[i].name) == 0) {
            measure(&self, ways[i].send, atof(argv[6]));
            return 0;
        }
    }
    fprintf(stderr, "zerocopy: no such way: %s\n", argv[4]);
    return 2;
}
