/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h - LoopObject: the C half of rsloop_c.Loop.
 *
 * Role:    owns the runtime, the ready queue, timers and watches. CPython's own
 *          SelectorEventLoop stands behind it in the method resolution order.
 * Thread:  the thread that runs the loop, except call_soon_threadsafe(), the
 *          read-only getters and what Handle.cancel() reaches.
 * Memory:  a heap type instance with GC; tp_clear closes what was left open. */
#ifndef PYRSL_LOOP_H
#define PYRSL_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>

#include <rsl/runtime.h>
#include <rsl/stats.h>

#include "contexts.h"
#include "pycompat.h"
#include "ready.h"
#include "state.h"
#include "timers.h"
#include "waits.h"
#include "wheel.h"

/* Readers and writers of one fd: an asyncio.Handle, the asyncio.Future of a
 * sock_*() that waits, or NULL. `object` is what the user registered, when that
 * was not an int: it can be unregistered by identity after it was closed, as
 * with the selectors module. */
typedef struct loop_watch {
    PyObject *reader;
    PyObject *writer;
    PyObject *object;
} loop_watch;

/* Dead Handles of one type, for reuse: making one is the most frequent
 * allocation of a loop, and each would bring the garbage collector's next run
 * nearer. As many as were pending at once are kept while the loop is busy;
 * whenever it sleeps some go, down to LOOP_FREE_HANDLES_KEPT. */
typedef struct loop_free_handles {
    struct HandleObject *first;
    size_t count;
} loop_free_handles;

enum { LOOP_FREE_HANDLES_KEPT = 1024 };

typedef struct LoopObject {
    PyObject_HEAD
    module_state *st;    /* [K] */
    rsl_runtime *rt;     /* [K] NULL before __init__ and after dealloc began */
    rsl_stats *stats;    /* [K] of `rt`, as long as it is */
    rsl_sink sink;       /* [K] pushes to `ready` */
    pyrsl_ready ready;   /* [L] */
    pyrsl_timers timers; /* [L] */

    loop_watch *watches; /* [L] by fd */
    int watch_cap;
    pyrsl_waits waits; /* [L] those that the last poll found to be over */
    /* Transports by fd, borrowed: an entry is removed when its transport
     * closes. Answers _ensure_fd_no_transport(). [L] */
    PyObject **transports;
    int transport_cap;
    struct pyrsl_acceptor *acceptors; /* [L] acceptor.c's listeners */
    size_t acceptors_waiting;         /* [L] of them, for a limit */
    PyObject *limits;      /* [K] limits.h; NULL before _open_runtime() */
    pyrsl_wheel wheel;     /* [L] deadlines of streams and acceptors */
    uint8_t *read_scratch; /* [L] where small reads land; made when needed */
    size_t sock_filled;    /* [L] a sock_recv() of so many got them all, or 0 */
    struct pyrsl_address_cache *addresses; /* [L] of datagrams; or NULL */
    struct native_port *native;            /* native code's way here, or NULL */

    pyrsl_contexts contexts; /* for Handles; strangers under the GIL too */
    bool io_batch;           /* [L] the last poll found more than one event */
    loop_free_handles free_handles; /* under the GIL, as the next two */
    loop_free_handles free_threadsafe;
    loop_free_handles free_timers;

    PyObject *task_factory;    /* [L] None or a callable */
    PyObject *current_handle;  /* [L] in debug mode, what runs now */
    atomic_ulong thread_id;    /* [A] 0 when not running */
    atomic_bool closed;        /* [A] */
    atomic_bool stopping;      /* [A] */
    atomic_uint posters;       /* [A] workers that post outcomes right now */
    bool debug;                /* [L] */
    bool pauses;               /* under the GIL; nobody has woken us yet */
    bool in_session;           /* under the GIL; a run has a reference to us */
    bool lost_event;           /* [L] the ready queue could not grow */
    atomic_bool foreign_clock; /* [A] time() is not ours: a test moves it */
    double foreign_now;        /* [L] its answer before this turn's wait */
    int64_t spin_ns;           /* [K] RSLOOP_C_SPIN_US */
    struct WatchdogObject *watchdog; /* [L] or NULL */
    uint32_t flight_events;          /* of each new stream; flight.h */
    PyObject *profile;               /* [L] while it runs a profiled turn */
} LoopObject;

extern PyType_Spec pyrsl_loop_spec;

/* Messages of other threads: a Handle (loop_queue.c), a job's outcome (work.h),
 * and of native code (native.h) calls, and what ends a wait. */
#define PYRSL_MSG_CALL   1
#define PYRSL_MSG_WORK   2
#define PYRSL_MSG_NATIVE 3
#define PYRSL_MSG_SETTLE 4

/* loop.c */
int pyrsl_loop_check_closed(LoopObject *self); /* -1: RuntimeError set */
int pyrsl_loop_add_methods(PyTypeObject *type);
void pyrsl_loop_set_thread(LoopObject *self, unsigned long id); /* 0: none */
/* `value` is None or a str; RSLOOP_C_BACKEND fills in for None (or NULL). */
int pyrsl_loop_backend_choice(PyObject *value, rsl_backend_kind *out);

/* loop_wait.c: wait, and fill the ready queue; -1 with an exception. */
int pyrsl_loop_poll(LoopObject *self);

/* loop_observe.c: in debug mode, tell Python how long `what` ran; it logs what
 * was slow. */
int
pyrsl_loop_report_duration(LoopObject *self, PyObject *what, int64_t start_ns);
/* Around a turn's callbacks while somebody watches, and what takes
 * pyrsl_loop_run_event()'s place. `count` callbacks were ready. */
int64_t pyrsl_loop_begin_observing(LoopObject *self);
void pyrsl_loop_end_observing(LoopObject *self, int64_t start_ns, size_t count);
int pyrsl_loop_run_observed(LoopObject *self, rsl_event event);

/* loop_attributes.c */
extern PyGetSetDef pyrsl_loop_getset[];

/* loop_info.c */
PyObject *pyrsl_probe(PyObject *module, PyObject *ignored);
extern PyMethodDef pyrsl_loop_info_methods[];

/* loop_stats.c */
PyObject *pyrsl_stats_total(PyObject *module, PyObject *ignored);
/* What the loop's slow_callback_duration is from now on, or NULL: unset. */
void pyrsl_loop_set_slow_duration(LoopObject *self, PyObject *value);
extern PyMethodDef pyrsl_loop_stats_methods[];

/* A turn begins with so many entries of the ready queue. */
static inline void
pyrsl_loop_note_turn(LoopObject *self, size_t count)
{
    rsl_stats *stats = self->stats;
    rsl_stat_add(stats, RSL_STAT_TURNS, 1);
    rsl_stat_set(stats, RSL_STAT_READY, count);
    if (count > rsl_stat_get(stats, RSL_STAT_READY_PEAK)) {
        rsl_stat_set(stats, RSL_STAT_READY_PEAK, count);
    }
}

/* loop_schedule.c, loop_queue.c */
/* Append callback(*args) to the ready queue in a copy of the current context
 * (or `context`, borrowed, if not NULL); -1 with an exception. */
int pyrsl_loop_call_soon(LoopObject *self, PyObject *callback, PyObject *args,
                         PyObject *context);
/* Append `entry`, which is taken: a Handle, or a StreamTransport that is to
 * begin (stream_open.c). -1 with MemoryError. */
int pyrsl_loop_queue(LoopObject *self, PyObject *entry);
/* The same from any thread, for a Handle: wakes the loop. */
int pyrsl_loop_queue_threadsafe(LoopObject *self, PyObject *handle);
/* Takes a PYRSL_MSG_CALL message: its Handle joins the ready queue. */
void pyrsl_loop_take_call(LoopObject *self, rsl_msg *msg);
extern PyMethodDef pyrsl_loop_schedule_methods[];

/* loop_clock.c */
/* time.get_clock_info("monotonic").resolution on Linux. asyncio runs a timer
 * that is due within one tick of its clock. */
#define LOOP_CLOCK_RESOLUTION 1e-9

static inline double
pyrsl_clock_seconds(void)
{
    return (double)rsl_clock_now_ns() * 1e-9;
}

/* Look again whether time() is ours. */
void pyrsl_loop_find_clock(LoopObject *self);
/* What a foreign time() answers; -1 with an exception. */
int pyrsl_loop_ask_clock(LoopObject *self, double *out);
/* time() + delay, as Python adds them. */
PyObject *pyrsl_loop_deadline(LoopObject *self, PyObject *delay);
/* The type's tp_setattro. */
int pyrsl_loop_setattro(PyObject *self, PyObject *name, PyObject *value);
extern PyMethodDef pyrsl_loop_clock_methods[];

/* loop_tasks.c */
extern PyMethodDef pyrsl_loop_task_methods[];

/* loop_run.c: one turn, or turns until stop; -1 with an exception. */
int pyrsl_loop_turn(LoopObject *self);
int pyrsl_loop_run_turns(LoopObject *self);
/* Run what was taken out of the ready queue. */
int pyrsl_loop_run_event(LoopObject *self, rsl_event event);
/* Run the callback that was queued last, now instead of in the next turn: for
 * what only answers the event that is being handled. */
int pyrsl_loop_run_newest(LoopObject *self);
extern PyMethodDef pyrsl_loop_run_methods[];

/* loop_forever.c */
extern PyMethodDef pyrsl_loop_forever_methods[];

/* loop_net.c */
/* asyncio's _add_reader() and _add_writer() for transports: call the method of
 * `object` in a copy of the current context whenever `fd` is ready for `bit`
 * (RSL_WATCH_*). */
int pyrsl_loop_watch(LoopObject *self, int fd, unsigned bit, PyObject *object,
                     PyObject *method_name);
/* Their counterparts, also for what was not watched and on a closed loop. */
int pyrsl_loop_unwatch(LoopObject *self, int fd, unsigned bit);
unsigned pyrsl_loop_watched(LoopObject *self, int fd);
void pyrsl_loop_watch_event(LoopObject *self, int fd, unsigned mask);
/* `future` waits for `fd`, in the place of who did; -1 with an exception. */
int pyrsl_loop_wait(LoopObject *self, int fd, unsigned bit, PyObject *future);
/* Take out the future that waits for `fd`, or NULL without an exception. */
PyObject *pyrsl_loop_take_wait(LoopObject *self, int fd, unsigned bit);
/* Let `future` wait no more: 1, 0 when it does not wait for `fd`, -1. */
int pyrsl_loop_forget_wait(LoopObject *self, int fd, PyObject *future);
extern PyMethodDef pyrsl_loop_net_methods[];
void pyrsl_loop_net_clear(LoopObject *self);
int pyrsl_loop_net_traverse(LoopObject *self, visitproc visit, void *arg);

/* True on the thread that runs the loop, or when nobody runs it. */
static inline bool
pyrsl_loop_is_owner(LoopObject *self)
{
    unsigned long id = atomic_load(&self->thread_id);
    return id == 0 || id == PyThread_get_thread_ident();
}

/* True while another thread runs the loop. `self` may be NULL, for a transport
 * that is lost. */
static inline bool
pyrsl_loop_is_foreign(LoopObject *self)
{
    return self != NULL && !pyrsl_loop_is_owner(self);
}

#define PYRSL_WRONG_THREAD                                           \
    "Non-thread-safe operation invoked on an event loop other than " \
    "the current one"

/* Without a GIL nothing protects a transport from a stranger's call: -1 with
 * RuntimeError. */
static inline int
pyrsl_loop_check_thread(LoopObject *self)
{
#ifdef Py_GIL_DISABLED
    if (pyrsl_loop_is_foreign(self)) {
        PyErr_SetString(PyExc_RuntimeError, PYRSL_WRONG_THREAD);
        return -1;
    }
#else
    (void)self;
#endif
    return 0;
}

/* For what only asyncio's own code calls, and then on the loop's thread: -1
 * with RuntimeError elsewhere. */
static inline int
pyrsl_loop_check_owner(LoopObject *self)
{
    if (pyrsl_loop_is_foreign(self)) {
        PyErr_SetString(PyExc_RuntimeError, PYRSL_WRONG_THREAD);
        return -1;
    }
    return 0;
}

/* What asyncio's call_soon() refuses: a closed loop and, in debug mode, another
 * thread. Transports call it at their beginning and at their end. */
int pyrsl_loop_check_call(LoopObject *self);

#endif
