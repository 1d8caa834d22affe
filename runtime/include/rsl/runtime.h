/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.h - one loop's native side: backend, mailbox, token, thread.
 *
 * Role:    start, stop, poll, flush and post for one loop. No Python.
 * Thread:  the loop thread (the one between rsl_runtime_enter() and
 *          rsl_runtime_leave()), unless a function says otherwise.
 * Memory:  rsl_runtime_new() .. rsl_runtime_free(). Producers on other threads
 *          must be gone, or keep the owner alive, before free. */
#ifndef RSL_RUNTIME_H
#define RSL_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

#include <rsl/conn.h>
#include <rsl/event.h>
#include <rsl/mailbox.h>
#include <rsl/status.h>

typedef enum rsl_backend_kind {
    RSL_BACKEND_AUTO = 0,
    RSL_BACKEND_EPOLL,
    RSL_BACKEND_IO_URING,
} rsl_backend_kind;

typedef enum rsl_takeover {
    RSL_TAKEOVER_AUTO = 0, /* when the loop thread is saturated */
    RSL_TAKEOVER_NEVER,
    RSL_TAKEOVER_ALWAYS, /* at every tick, for tests */
} rsl_takeover;

/* Called on the loop thread, from inside rsl_* functions that say so. */
typedef struct rsl_hooks {
    void (*loan_return)(void *loan);
    void (*conn_closed)(void *owner); /* borrowed fds only */
} rsl_hooks;

/* Who waits for what a thread of a pool does; opaque to the runtime. */
typedef struct rsl_job_owner {
    void *object;
    void (*abandon)(void *object); /* loop thread: the runtime has closed */
} rsl_job_owner;

typedef struct rsl_config {
    rsl_backend_kind backend;
    rsl_takeover takeover;
    int64_t spin_ns; /* how long at most a wait looks before it sleeps */
    rsl_hooks hooks;
} rsl_config;

typedef struct rsl_info {
    const char *backend;    /* "epoll" or "io_uring" */
    const char *reason;     /* why this one, a literal */
    int reason_errno;       /* of a refused io_uring_setup, or 0 */
    uint32_t ring_features; /* IORING_FEAT_*, 0 on epoll */
    int runtime_tid;        /* 0 before the first run */
    uint64_t polls;         /* times the loop thread polled */
    uint64_t takeovers;     /* times the runtime thread stole reads */
    uint64_t stolen_bytes;
    uint32_t conns; /* open connections */
} rsl_info;

/* Make a runtime: choose and open the backend, no thread yet. */
rsl_status
rsl_runtime_new(const rsl_config *config, rsl_runtime **out, rsl_err *err);

/* What the runtime thread may have read of one conn, in bytes, while the loop
 * thread was busy; of the whole loop 16 times that. */
#define RSL_CONN_PENDING_MAX (1u << 20)

/* Another bound than RSL_CONN_PENDING_MAX. Any thread. */
void rsl_runtime_set_pending_max(rsl_runtime *rt, size_t bytes);

/* Close every fd and join the runtime thread (which never blocks long).
 * Open conns and listeners are closed. Idempotent. Afterwards only post, wake,
 * drain, info, is_forked and free may be called. In a forked child only this
 * process's copies of the fds are closed. */
void rsl_runtime_close(rsl_runtime *rt);

/* Close if that was not done, and discard the mailbox. */
void rsl_runtime_free(rsl_runtime *rt);

/* The calling thread is the loop thread until rsl_runtime_leave(). Starts the
 * runtime thread on first use. */
rsl_status rsl_runtime_enter(rsl_runtime *rt, rsl_err *err);

/* Flush, park the runtime thread and wait until it acknowledges. */
void rsl_runtime_leave(rsl_runtime *rt);

/* True in a child forked after rsl_runtime_new(): nothing may be used. */
bool rsl_runtime_is_forked(const rsl_runtime *rt);

/* Any thread. Takes `msg`; RSL_EV_* of msg->event reaches the sink. */
void rsl_runtime_post(rsl_runtime *rt, rsl_msg *msg);

/* Any thread: has everything that was posted been drained? */
bool rsl_runtime_mailbox_is_empty(const rsl_runtime *rt);

/* Any thread, async-signal-safe: make a sleeping loop thread look around. */
void rsl_runtime_wake(rsl_runtime *rt);

/* --- One turn, in this order --- */

/* Deliver the mailbox to `sink`. */
void rsl_runtime_drain(rsl_runtime *rt, rsl_sink *sink);

/* Just drained: whether a turn that has something to run, and so would not
 * sleep, may leave out all from acquire to release. No poll is put off by more
 * than 50 us. */
bool rsl_runtime_is_quiet(const rsl_runtime *rt);

/* Such a turn: it counts as one, in how long turns take. */
void rsl_runtime_go_on(rsl_runtime *rt);

/* Both, where nothing was posted either, so that the drain may be left out as
 * well; false, and nothing is done, where that is not so. */
bool rsl_runtime_go_on_quietly(rsl_runtime *rt);

/* Take the token and, having it, drain again (that keeps streams in order).
 * RSL_BUSY: the runtime thread drives; skip to rsl_runtime_sleep(). Calls
 * hooks. */
rsl_status rsl_runtime_acquire(rsl_runtime *rt, rsl_sink *sink);

/* Wait for I/O under the token: at most `timeout_ns` (0: do not sleep, < 0: no
 * limit), less when a message arrives. Also submits what is prepared. May be
 * called without the GIL: touches no loan and calls no hook. Returns RSL_OK
 * also for a time-out and EINTR. */
rsl_status rsl_runtime_wait(rsl_runtime *rt, int64_t timeout_ns, rsl_err *err);

/* Before each wait: look at the fds whose watch begins now (watch.h), and arm
 * what a sleep of `timeout_ns` has to hear of. Returns for how long to wait: 0
 * when something was found, which rsl_runtime_collect() emits. Under the token,
 * and under the lock, if any, that whoever calls rsl_watch_set() holds. */
int64_t rsl_runtime_look(rsl_runtime *rt, int64_t timeout_ns);

/* Emit what rsl_runtime_wait() found. Calls hooks. Under the token. */
void rsl_runtime_collect(rsl_runtime *rt, rsl_sink *sink);

/* Give the token back; the loop thread starts to be busy now. `pending` is
 * how many I/O events are waiting for their callbacks. */
void rsl_runtime_release(rsl_runtime *rt, unsigned pending);

/* Sleep without the token, until a message, a wake or the time-out. */
rsl_status rsl_runtime_sleep(rsl_runtime *rt, int64_t timeout_ns, rsl_err *err);

/* Between callbacks, with `pending` I/O events still waiting: ask the runtime
 * thread for help when the loop thread has been busy for long enough. */
void rsl_runtime_note_busy(rsl_runtime *rt, unsigned pending);

/* End of the turn: send what was queued. Failures come as RSL_EV_SENT
 * through `sink`, now or from the next collect. Calls hooks. */
void rsl_runtime_flush(rsl_runtime *rt, rsl_sink *sink);

/* The same, but as long as all that is queued lingers, and `more` callbacks are
 * ready to add to it, rsl_runtime_flush_stale() will do. */
void rsl_runtime_flush_turn(rsl_runtime *rt, rsl_sink *sink, bool more);

/* Whether there is something to flush. */
bool rsl_runtime_has_output(const rsl_runtime *rt);

/* Between callbacks: the same, at once, when the oldest queued byte has waited
 * for about 100 us, so that a long turn does not hold everybody's answers. */
void rsl_runtime_flush_stale(rsl_runtime *rt, rsl_sink *sink);

/* Figures; any field may be a moment old. Any thread. */
void rsl_runtime_info(const rsl_runtime *rt, rsl_info *out);

/* What a new runtime would choose, without making one. */
void rsl_backend_probe(rsl_backend_kind wanted, rsl_info *out);

/* CLOCK_MONOTONIC. */
int64_t rsl_clock_now_ns(void);

#endif
