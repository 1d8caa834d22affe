/* SPDX-License-Identifier: Apache-2.0 */
/* uring.h - the inside of the io_uring backend, shared by io/uring_*.c.
 *
 * Role:    one SINGLE_ISSUER | DEFER_TASKRUN ring of the loop thread. Multishot
 *          recv into provided buffers, polled listeners, batched sends.
 * Thread:  the loop thread; steal() is the runtime thread's, under the token.
 * Memory:  one backend; conns and listeners are lent from add to remove.
 *
 * Invariants:
 * - Bytes leave a socket for the ring only in an enter with GETEVENTS, which
 *   needs the token. A plain submit reads nothing: recvs are armed with
 *   POLL_FIRST, and task work stays deferred.
 * - Whoever enters with GETEVENTS outside of wait() sets `unreaped`: until the
 *   next collect() the completions hold older bytes than the sockets, so
 *   nobody may recv() from a conn whose multishot is armed.
 * - A conn is read in one of two ways: by multishot, or, at first and while
 *   much comes, by its owner's rsl_conn_recv() after a poll (URING_POLLS). The
 *   poll is armed only when the multishot's last completion has been collected.
 * - A send never stays in flight: with MSG_DONTWAIT it completes while it is
 *   submitted, so its memory is lent for one system call. */
#ifndef RSL_IO_URING_H
#define RSL_IO_URING_H

#include <liburing.h>
#include <sys/socket.h>

#include "base/list.h"
#include "core/runtime_impl.h"
#include "io/sock_ops.h"
#include "io/watch_table.h"
#include "net/conn_impl.h"
#include "net/dgram_impl.h"
#include "net/listener_impl.h"

enum {
    URING_SQ_ENTRIES = 256,
    URING_CQ_ENTRIES = 4096,
    URING_BUFS = 128, /* a power of two */
    /* A full record of TLS and its header fit. */
    URING_BUF_SIZE = (16 << 10) + 512,
    URING_BUF_GROUP = 0,
    URING_BATCH_MIN = 4, /* fewer sends are as cheap one by one */
    URING_BATCH_MAX = 128,
    URING_BATCH_PIECES = 1024,
    URING_EVENT_BYTES_MAX = 256 << 10, /* in one DATA event */

    /* A provided buffer saves a system call and costs a copy. A conn that
     * brings this much at once is polled from then on, and read straight into
     * the memory in which its bytes are delivered... */
    URING_MUCH_BYTES = 32 << 10,
    /* ... until so many reads in a row had fewer bytes than this. */
    URING_SMALL_READS = 16,
    URING_SMALL_BYTES = 16 << 10,
};

/* What a completion is about: the top byte of user_data, over an id. */
typedef enum uring_op {
    URING_OP_NONE = 0, /* nobody waits for it: cancels, no-ops, taken sends */
    URING_OP_RECV,
    URING_OP_POLLOUT,
    URING_OP_HANGUP,
    URING_OP_POLLIN,
    URING_OP_ACCEPT,
    URING_OP_SEND, /* over an index of the batch */
    URING_OP_DGRAM_IN,
    URING_OP_DGRAM_OUT,
    URING_OP_WATCH,
    URING_OP_WAKE,
} uring_op;

static inline uint64_t
uring_data(uring_op op, uint64_t id)
{
    return ((uint64_t)op << RSL_ID_BITS) | id;
}

static inline uring_op
uring_data_op(uint64_t data)
{
    return (uring_op)(data >> RSL_ID_BITS);
}

/* conn->io_flags and listener->io_flags: what the ring has. */
enum {
    URING_ARMED = 1u,         /* multishot recv, or poll of a listener */
    URING_CANCELLING = 2u,    /* its cancel is under way */
    URING_POLLOUT_ARMED = 4u, /* poll for room to write */
    URING_HANGUP_ARMED = 8u,  /* poll for the peer's end */
    URING_IN_STEAL_SET = 16u, /* the runtime thread's epoll set has the fd */
    URING_POLLIN_ARMED = 32u, /* poll for input */
    URING_POLLS = 64u,        /* read after a poll, not by multishot */
};

/* Provided buffers. `lent` ones are with the owner of their chunk. */
typedef struct uring_bufs {
    struct io_uring_buf_ring *ring; /* NULL when no ring has them */
    uint8_t *memory;
    unsigned in_kernel;
    bool lent[URING_BUFS];
    rsl_chunk chunks[URING_BUFS];
} uring_bufs;

/* Sends that were prepared, up to the outcome of the last of them. */
typedef struct uring_batch {
    unsigned count;       /* entries used */
    unsigned outstanding; /* of them without an outcome */
    unsigned pieces;
    rsl_conn *conns[URING_BATCH_MAX];
    size_t wanted[URING_BATCH_MAX];
    struct msghdr headers[URING_BATCH_MAX];
    struct iovec iov[URING_BATCH_PIECES];
} uring_batch;

typedef struct uring_stash {
    struct io_uring_cqe *cqes;
    unsigned count;
} uring_stash;

typedef struct uring_backend {
    rsl_backend base;
    struct io_uring ring;
    bool has_ring;           /* [L] */
    uint64_t ring_thread;    /* [L] uring_thread_serial() of its only thread */
    uring_bufs bufs;         /* [L] */
    uring_batch batch;       /* [L] */
    uring_stash stash;       /* [L] completions of a ring that is gone */
    rsl_list arm_conns;      /* [L] conns whose armed state may not be what they
                            * want: looked at by the next wait */
    rsl_list arm_listeners;  /* [L] the same */
    rsl_list arm_dgrams;     /* [L] the same */
    bool wake_armed;         /* [L] multishot poll of the mailbox's eventfd */
    bool watch_armed;        /* [L] one poll of watches.epfd */
    rsl_watch_table watches; /* [L] */

    bool unreaped;            /* [T] see above */
    atomic_bool steal_wanted; /* [A] steal() has found no set, or not a whole
                               * one; is_quiet() looks without the token */
    atomic_bool steal_lacks;  /* [A] conns have come that the set lacks */
    int steal_epfd;           /* [T] -1 until it was wanted */
    rsl_stealer stealer;      /* [T] */
} uring_backend;

static inline uring_backend *
uring_of(rsl_backend *base)
{
    return (uring_backend *)(void *)base;
}

/* uring_probe.c: RSL_OK, or RSL_UNSUPPORTED with *err. Tried once. */
rsl_status uring_probe(uint32_t *features, rsl_err *err);

/* uring_bufs.c */
rsl_status uring_bufs_open(uring_backend *backend, rsl_err *err);
void uring_bufs_detach(uring_backend *backend); /* the ring is going away */
void uring_bufs_free(uring_backend *backend);
/* A completion in the ring names `number`: the kernel has it no more. */
void uring_bufs_take(uring_backend *backend, unsigned number);
/* The chunk of a buffer that was taken. */
rsl_chunk *uring_bufs_lend(uring_backend *backend, unsigned number, size_t len);
void uring_buffer_return(rsl_backend *base, uint32_t number);

/* uring_ring.c */
extern const struct io_uring_params uring_params;
struct io_uring_sqe *
uring_sqe(uring_backend *backend, uring_op op, uint64_t id);
/* Whether the calling thread may enter the ring. */
bool uring_is_mine(const uring_backend *backend);
/* Submit without reading anything. Needs no token. A negative errno, or 0. */
int uring_submit(uring_backend *backend);
/* [T] Submit, run what is due and, unless `timeout_ns` is 0, wait for `more`
 * completions besides those that are there. A negative errno, or 0. */
int uring_enter(uring_backend *backend, unsigned more, int64_t timeout_ns);
/* [T] Close the ring, keeping its completions. RSL_NOMEM: it is kept. */
rsl_status uring_drop_ring(uring_backend *backend);

/* uring_arm.c */
void uring_want_conn(uring_backend *backend, rsl_conn *conn);
void uring_want_listener(uring_backend *backend, rsl_listener *listener);
/* [T] Prepare what conns, listeners, watches and the mailbox want armed. False
 * when the submission queue was too short, or no buffer was free. */
bool uring_arm(uring_backend *backend);

/* Whether uring_arm() would find nothing to do. */
bool uring_is_armed(const uring_backend *backend);
rsl_status uring_conn_add(rsl_backend *base, rsl_conn *conn);
void uring_conn_remove(rsl_backend *base, rsl_conn *conn);
rsl_status uring_read_start(rsl_backend *base, rsl_conn *conn);
void uring_read_stop(rsl_backend *base, rsl_conn *conn);
rsl_status uring_write_arm(rsl_backend *base, rsl_conn *conn);
rsl_status
uring_listener_add(rsl_backend *base, rsl_listener *listener, rsl_err *err);
void uring_listener_remove(rsl_backend *base, rsl_listener *listener);
/* A poll of one shot, as `data`. False when the submission queue is full. */
bool
uring_arm_poll(uring_backend *backend, int fd, unsigned mask, uint64_t data);
/* Cancel operations that are armed; on return the kernel has dropped their
 * references to the file. The caller closes the fd next, and expects its
 * address to be free, so this may not wait for a later turn. It takes the token
 * when need be: the runtime thread holds it for one bounded read and never
 * waits for us, so this ends. */
void uring_cancel_for_close(uring_backend *backend, const uint64_t *data,
                            unsigned count);
/* [T] Forget what the ring that is gone had, and want it again. */
void uring_want_all(uring_backend *backend);
/* [T] Make the runtime thread's epoll set, or complete it, if it has asked. */
void uring_fill_steal_set(uring_backend *backend);

/* uring_dgram.c */
void uring_want_dgram(uring_backend *backend, rsl_dgram *dgram);
/* [T] uring_arm() of the dgrams. */
bool uring_arm_dgrams(uring_backend *backend);
/* Its poll for reading, or for writing, has ended. */
void uring_dgram_polled(uring_backend *backend, uint64_t id, unsigned mask,
                        rsl_sink *sink);
rsl_status
uring_dgram_update(rsl_backend *base, rsl_dgram *dgram, rsl_err *err);
void uring_dgram_remove(rsl_backend *base, rsl_dgram *dgram);

/* uring_send.c */
void uring_send_batch(rsl_backend *base, rsl_conn **conns, unsigned count,
                      bool has_token);
void uring_settle(rsl_backend *base);
/* The outcome of entry `index`. */
void uring_sent(uring_backend *backend, unsigned index, int result);
/* Whether nothing but complete sends has been completed: their owners need
 * not be told before the loop sleeps. */
bool uring_batch_is_sent(uring_backend *backend);

/* uring_collect.c */
void uring_collect(rsl_backend *base, rsl_sink *sink);

#endif
