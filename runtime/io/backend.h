/* SPDX-License-Identifier: Apache-2.0 */
/* backend.h - how bytes and readiness move: epoll, io_uring, or a fake.
 *
 * Role:    the only place that makes I/O system calls for streams, listeners,
 *          datagrams and watches. Orders nothing: that is net/.
 * Thread:  loop thread, except `steal` (runtime thread, token held). The
 *          functions marked [T] need the token, whoever calls.
 * Memory:  conns and listeners are lent from add to remove, dgrams from the
 *          first update. */
#ifndef RSL_IO_BACKEND_H
#define RSL_IO_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <rsl/dgram.h>
#include <rsl/event.h>
#include <rsl/listener.h>
#include <rsl/runtime.h>
#include <rsl/status.h>

#include "io/watch_table.h"

typedef struct rsl_backend rsl_backend;

/* What the runtime thread does with what it has read: `emit` pushes to the
 * mailbox. Called under the token. */
typedef struct rsl_backend_ops {
    const char *name;

    void (*close)(rsl_backend *backend); /* frees it; fork-safe in a child */

    /* The loop thread begins to run here / stops running. attach makes or
     * re-makes what belongs to a thread (the ring) and re-arms from the
     * runtime's tables. */
    rsl_status (*attach)(rsl_backend *backend, rsl_err *err);
    void (*detach)(rsl_backend *backend);

    /* [T] See rsl_runtime_wait() and rsl_runtime_collect(). wait also ends when
     * the runtime's mailbox eventfd is signalled. */
    rsl_status (*wait)(rsl_backend *backend, int64_t timeout_ns, rsl_err *err);
    void (*collect)(rsl_backend *backend, rsl_sink *sink);

    /* Loop thread, no token needed: whether a wait that does not sleep, and
     * its collect, would do nothing, or nothing that cannot wait for a moment.
     * NULL in a backend that does not know. */
    bool (*is_quiet)(const rsl_backend *backend);

    /* [T] Without sleeping: whether a wait would not sleep either. Submits
     * what is prepared. */
    bool (*peek)(rsl_backend *backend);

    /* [T], runtime thread: read what is readable, at most `budget` bytes in
     * all, emitting DATA (one rsl_chunk_new() each), EOF and READ_ERROR.
     * Ignores listeners, watches and write readiness. Before each conn it asks
     * rsl_steal_allowed(). A conn becomes READ_DONE before its EOF or error is
     * emitted; a sink that has no memory to carry the news puts it back to
     * READING, so that the loop thread meets the end itself. Returns bytes
     * taken; 0 for none. */
    size_t (*steal)(rsl_backend *backend, size_t budget, rsl_sink *sink);

    /* Streams. add does not arm reading. remove [T]: on return the kernel holds
     * no reference to the fd on our account. read_stop may leave input in
     * flight: it is emitted all the same, except an EOF, which comes again when
     * reading starts. write_arm: one RSL_EV_WRITABLE; the caller has set
     * conn->write_armed and the backend clears it before it emits. */
    rsl_status (*conn_add)(rsl_backend *backend, rsl_conn *conn);
    void (*conn_remove)(rsl_backend *backend, rsl_conn *conn);
    rsl_status (*read_start)(rsl_backend *backend, rsl_conn *conn);
    void (*read_stop)(rsl_backend *backend, rsl_conn *conn);
    rsl_status (*write_arm)(rsl_backend *backend, rsl_conn *conn);

    /* [T] One non-blocking receive: RSL_OK and *out > 0, RSL_EOF, RSL_AGAIN or
     * RSL_OS. EINTR is handled inside. */
    rsl_status (*recv)(rsl_backend *backend, rsl_conn *conn, void *buf,
                       size_t cap, size_t *out, rsl_err *err);

    /* One non-blocking gathering send (MSG_NOSIGNAL): RSL_OK and *out > 0,
     * maybe short; RSL_AGAIN; RSL_OS. */
    rsl_status (*send)(rsl_backend *backend, rsl_conn *conn,
                       const struct iovec *iov, unsigned count, size_t *out,
                       rsl_err *err);

    /* Send the queues of the `count` conns, in one system call where that is
     * possible. Each outcome goes to rsl_conn_sent(). Needs the token only if
     * `has_token` says that it is held; must work without. */
    void (*send_batch)(rsl_backend *backend, rsl_conn **conns, unsigned count,
                       bool has_token);

    /* Loop thread, no token needed: send what send_batch() has only prepared
     * (conn->in_batch) and report it to rsl_conn_sent(). wait() and detach()
     * imply it. NULL in a backend that prepares nothing. */
    void (*settle)(rsl_backend *backend);

    rsl_status (*listener_add)(rsl_backend *backend, rsl_listener *listener,
                               rsl_err *err);
    void (*listener_remove)(rsl_backend *backend, rsl_listener *listener);
    rsl_status (*accept)(rsl_backend *backend, rsl_listener *listener, int *out,
                         rsl_addr *peer, rsl_err *err);

    /* Report from now on what dgram->wants, level-triggered and once a turn.
     * remove: on return the kernel holds no reference to the fd. */
    rsl_status (*dgram_update)(rsl_backend *backend, rsl_dgram *dgram,
                               rsl_err *err);
    void (*dgram_remove)(rsl_backend *backend, rsl_dgram *dgram);

    rsl_status (*watch_set)(rsl_backend *backend, int fd, unsigned mask,
                            rsl_err *err);

    /* Give provided buffer `number` back to the ring. */
    void (*buffer_return)(rsl_backend *backend, uint32_t number);
} rsl_backend_ops;

/* Every backend's first member. */
struct rsl_backend {
    const rsl_backend_ops *ops;
    rsl_runtime *rt;
    rsl_watch_table *watches; /* [L] NULL in one that has none */
};

rsl_status rsl_epoll_open(rsl_runtime *rt, rsl_backend **out, rsl_err *err);

/* RSL_UNSUPPORTED with err->code (EPERM, ENOSYS, ENOMEM, or 0 when a needed
 * feature is missing) when this kernel or sandbox offers no usable ring. */
rsl_status rsl_uring_open(rsl_runtime *rt, rsl_backend **out, rsl_err *err);

/* The ring's IORING_FEAT_* word, 0 for other backends. */
uint32_t rsl_uring_features(const rsl_backend *backend);

/* backend.c: choose by `wanted`; *reason is a literal. */
rsl_status
rsl_backend_open(rsl_runtime *rt, rsl_backend_kind wanted, rsl_backend **out,
                 const char **reason, int *reason_errno, rsl_err *err);

#endif
