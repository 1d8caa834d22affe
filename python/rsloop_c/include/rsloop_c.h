/* SPDX-License-Identifier: Apache-2.0 */
/* rsloop_c.h - what native extensions use of a loop. C11 or C++17.
 *
 * Where functions run is part of their contract:
 *
 *   [G]  Python threads, with the GIL (attached, on free-threaded builds), and
 *        if they are given locals or make a future: the thread of that loop, in
 *        its interpreter; elsewhere they raise RuntimeError
 *   [A]  any thread, with the GIL or without it, also while the interpreter
 *        ends; they never wait for anybody
 *
 * and so is it for callbacks:
 *
 *   [g]  the loop's thread, with the GIL. Once the loop is closed: whichever
 *        Python thread closed it, or uses this API next
 *   [r]  the loop's runtime thread, which never has the GIL: must neither take
 *        it nor block, for a loop that is closed waits for it
 *   [w]  a thread of the pool, without the GIL; may block
 *
 * An exception that cancel(), free(), done() or drop() leave behind goes to
 * sys.unraisablehook.
 *
 * docs/native-api.md shows how to use it. The structures of callbacks are
 * borrowed for as long as something may call them: make them static. */
#ifndef RSLOOP_C_H
#define RSLOOP_C_H

#include <Python.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when what exists changes its meaning; what is new is at the end of
 * rsloop_api, whose size tells whether it is there. */
#define RSLOOP_ABI_VERSION 1

typedef enum rsloop_status {
    RSLOOP_OK = 0,
    RSLOOP_DONE,      /* the future has been completed before */
    RSLOOP_CANCELLED, /* the Python side has cancelled it */
    RSLOOP_CLOSED,    /* the loop is closed; nobody waits any more */
    RSLOOP_FORKED,    /* the loop belongs to the parent of this process */
    RSLOOP_NOMEM,     /* nothing has changed */
    RSLOOP_INVALID,   /* a bad argument, or a step that is missing */
    RSLOOP_OS,        /* a system call failed: errno says how */
} rsloop_status;

typedef struct rsloop_api rsloop_api;

/* Handles. All are opaque but for the table that serves them, and each is given
 * back exactly once: by unref, release or close. */
typedef struct rsloop_locals {
    const rsloop_api *api;
} rsloop_locals;

typedef struct rsloop_future {
    const rsloop_api *api;
} rsloop_future;

typedef struct rsloop_await {
    const rsloop_api *api;
} rsloop_await;

typedef struct rsloop_source {
    const rsloop_api *api;
} rsloop_source;

/* What a future made of `data`. Each but those said to be needed may be NULL.
 * `data` belongs to the future from the call that makes it, if that succeeds,
 * until free(). */
typedef struct rsloop_future_ops {
    /* [g] The result, a new reference; NULL with an exception fails the
     * future. Runs in the locals' context, if somebody still waits. */
    PyObject *(*convert)(void *data);
    /* [g] Nobody waits any more: RSLOOP_CANCELLED or RSLOOP_CLOSED. Called at
     * most once, and not after a complete or fail that said RSLOOP_OK. The
     * handle is still to be released. */
    void (*cancel)(void *data, rsloop_status why);
    /* [g] Once, when the future is over and its handle released. */
    void (*free)(void *data);
    /* [w] What rsloop_blocking_into_py() runs, and needs. When it returns the
     * future is completed, unless it did that itself. */
    void (*work)(rsloop_future *self, void *data);
    /* [g] What rsloop_local_future_into_py() needs: a step. 1: done, convert()
     * follows; 0: to be called again after rsloop_future_wake(); -1 with an
     * exception. Runs in the locals' context. */
    int (*poll)(rsloop_future *self, void *data);
} rsloop_future_ops;

typedef struct rsloop_await_ops {
    /* [g] The awaitable, a new reference; NULL with an exception. */
    PyObject *(*make)(void *data);
    /* [g] Once: a result, or an exception (CancelledError is one), both
     * borrowed; or neither: the loop was closed first. */
    void (*done)(void *data, PyObject *result, PyObject *exception);
} rsloop_await_ops;

typedef struct rsloop_call_ops {
    /* [g] In the locals' context. -1 with an exception, which goes to the
     * loop's exception handler. */
    int (*run)(void *data);
    /* [g] Instead of run(), when the loop is closed first. */
    void (*drop)(void *data);
} rsloop_call_ops;

/* Copied by the calls that take it. */
typedef struct rsloop_source_calls {
    /* [r] `what` is a mask of EPOLL* flags; of a timer, how many periods are
     * over; of a task, 0. */
    void (*event)(void *data, uint64_t what);
    /* [r] Once, after the last event; where the loop is closed first, on the
     * thread that closes it. May be NULL. */
    void (*over)(void *data);
    void *data;
} rsloop_source_calls;

/* The table. Use the functions below. The three that make futures take NULL for
 * the current locals. */
struct rsloop_api {
    uint32_t size;
    uint32_t abi_version;
    const char *version; /* of rsloop_c */

    rsloop_locals *(*get_current_locals)(void);
    rsloop_locals *(*locals_new)(PyObject *loop, PyObject *context);
    void (*locals_ref)(rsloop_locals *locals);
    void (*locals_unref)(rsloop_locals *locals);
    PyObject *(*locals_loop)(rsloop_locals *locals);
    PyObject *(*locals_context)(rsloop_locals *locals);

    PyObject *(*future_into_py)(rsloop_locals *locals,
                                const rsloop_future_ops *ops, void *data,
                                rsloop_future **out);
    PyObject *(*local_future_into_py)(rsloop_locals *locals,
                                      const rsloop_future_ops *ops, void *data,
                                      rsloop_future **out);
    PyObject *(*blocking_into_py)(rsloop_locals *locals,
                                  const rsloop_future_ops *ops, void *data);
    rsloop_status (*future_complete)(rsloop_future *future);
    rsloop_status (*future_fail)(rsloop_future *future, int code,
                                 const char *text);
    rsloop_status (*future_wake)(rsloop_future *future);
    rsloop_status (*future_status)(const rsloop_future *future);
    void (*future_release)(rsloop_future *future);

    int (*into_future)(rsloop_locals *locals, PyObject *awaitable,
                       const rsloop_await_ops *ops, void *data,
                       rsloop_await **out);
    rsloop_status (*await_soon)(rsloop_locals *locals,
                                const rsloop_await_ops *ops, void *data,
                                rsloop_await **out);
    rsloop_status (*await_cancel)(rsloop_await *handle);
    void (*await_release)(rsloop_await *handle);

    rsloop_status (*call_soon)(rsloop_locals *locals,
                               const rsloop_call_ops *ops, void *data);

    int (*runtime_start)(rsloop_locals *locals);
    rsloop_status (*runtime_post)(rsloop_locals *locals,
                                  const rsloop_source_calls *calls);
    rsloop_status (*runtime_watch)(rsloop_locals *locals, int fd,
                                   uint32_t events,
                                   const rsloop_source_calls *calls,
                                   rsloop_source **out);
    rsloop_status (*runtime_timer)(rsloop_locals *locals, int64_t delay_ns,
                                   int64_t period_ns,
                                   const rsloop_source_calls *calls,
                                   rsloop_source **out);
    rsloop_status (*source_change)(rsloop_source *source, uint32_t events);
    void (*source_close)(rsloop_source *source);

    rsloop_status (*run_blocking)(void (*run)(void *data), void *data);
};

/* --- The table --- */

/* [G] Import rsloop_c and return its table, which stays valid until the process
 * ends. NULL with ImportError when that is missing, or too old or too new for
 * this header. Call it when your module is imported. */
static inline const rsloop_api *
rsloop_import(void)
{
    const rsloop_api *api =
        (const rsloop_api *)PyCapsule_Import("rsloop_c._core._C_API", 0);

    if (api == NULL) {
        return NULL;
    }
    if (api->abi_version != RSLOOP_ABI_VERSION
        || api->size < sizeof(rsloop_api)) {
        PyErr_Format(
            PyExc_ImportError,
            "rsloop_c %s has ABI %u of %u bytes; this module needs "
            "ABI %u of at least %u bytes: %s",
            api->version, (unsigned)api->abi_version, (unsigned)api->size,
            (unsigned)RSLOOP_ABI_VERSION, (unsigned)sizeof(rsloop_api),
            api->abi_version > RSLOOP_ABI_VERSION ? "build it again"
                                                  : "upgrade rsloop_c");
        return NULL;
    }
    return api;
}

/* [A] */
static inline const char *
rsloop_status_name(rsloop_status status)
{
    static const char *const names[] = {"OK",      "DONE",   "CANCELLED",
                                        "CLOSED",  "FORKED", "NOMEM",
                                        "INVALID", "OS"};

    return (unsigned)status < sizeof(names) / sizeof(names[0]) ? names[status]
                                                               : "unknown";
}

/* --- Locals: a loop and a context --- */

/* [G] The running loop and a copy of the current context. NULL with
 * RuntimeError when no loop runs in this thread, or TypeError when it is not an
 * rsloop_c.Loop. */
static inline rsloop_locals *
rsloop_get_current_locals(const rsloop_api *api)
{
    return api->get_current_locals();
}

/* [G] The same of `loop`, an rsloop_c.Loop that need not run yet, and
 * `context`, a contextvars.Context; NULL: a copy of the current one. */
static inline rsloop_locals *
rsloop_locals_new(const rsloop_api *api, PyObject *loop, PyObject *context)
{
    return api->locals_new(loop, context);
}

/* [A] One more holder. Returns `locals`. */
static inline rsloop_locals *
rsloop_locals_ref(rsloop_locals *locals)
{
    locals->api->locals_ref(locals);
    return locals;
}

/* [A] One holder less. NULL is ignored. */
static inline void
rsloop_locals_unref(rsloop_locals *locals)
{
    if (locals != NULL) {
        locals->api->locals_unref(locals);
    }
}

/* [G] New references; NULL with RuntimeError once the loop is closed, or in
 * another interpreter than its own. */
static inline PyObject *
rsloop_locals_loop(rsloop_locals *locals)
{
    return locals->api->locals_loop(locals);
}

static inline PyObject *
rsloop_locals_context(rsloop_locals *locals)
{
    return locals->api->locals_context(locals);
}

/* --- Futures: native work that Python awaits --- */

/* [G] An awaitable (an asyncio.Future) that `*out` completes, on the loop of
 * `locals`. NULL with an exception: `data` is still yours. */
static inline PyObject *
rsloop_future_into_py_with_locals(rsloop_locals *locals,
                                  const rsloop_future_ops *ops, void *data,
                                  rsloop_future **out)
{
    return locals->api->future_into_py(locals, ops, data, out);
}

/* [G] The same with the current locals. */
static inline PyObject *
rsloop_future_into_py(const rsloop_api *api, const rsloop_future_ops *ops,
                      void *data, rsloop_future **out)
{
    return api->future_into_py(NULL, ops, data, out);
}

/* [G] An awaitable whose steps, ops->poll(), run on the loop's thread: `data`
 * needs no lock. The first one runs soon. `out` may be NULL where poll() alone
 * needs the handle: it is then released for you when the future is over. */
static inline PyObject *
rsloop_local_future_into_py_with_locals(rsloop_locals *locals,
                                        const rsloop_future_ops *ops,
                                        void *data, rsloop_future **out)
{
    return locals->api->local_future_into_py(locals, ops, data, out);
}

static inline PyObject *
rsloop_local_future_into_py(const rsloop_api *api, const rsloop_future_ops *ops,
                            void *data, rsloop_future **out)
{
    return api->local_future_into_py(NULL, ops, data, out);
}

/* [G] An awaitable of ops->work(), run on the pool. What is cancelled before a
 * thread takes it is not run. */
static inline PyObject *
rsloop_blocking_into_py_with_locals(rsloop_locals *locals,
                                    const rsloop_future_ops *ops, void *data)
{
    return locals->api->blocking_into_py(locals, ops, data);
}

static inline PyObject *
rsloop_blocking_into_py(const rsloop_api *api, const rsloop_future_ops *ops,
                        void *data)
{
    return api->blocking_into_py(NULL, ops, data);
}

/* [A] The work is done: ops->convert() will make the result. Anything but
 * RSLOOP_OK says why nobody will see it: RSLOOP_DONE, RSLOOP_CANCELLED,
 * RSLOOP_CLOSED, RSLOOP_FORKED; RSLOOP_INVALID for a local future. Does not
 * release the handle. */
static inline rsloop_status
rsloop_future_complete(rsloop_future *future)
{
    return future->api->future_complete(future);
}

/* [A] The same, with OSError(code, text), or RuntimeError(text) if `code` is 0.
 * `text` is copied, up to 255 bytes; NULL: strerror(code). For any other
 * exception complete the future and let ops->convert() raise. */
static inline rsloop_status
rsloop_future_fail(rsloop_future *future, int code, const char *text)
{
    return future->api->future_fail(future, code, text);
}

/* [A] A local future's poll() is to be called again, once for all wakes that
 * come before it. RSLOOP_INVALID for others. */
static inline rsloop_status
rsloop_future_wake(rsloop_future *future)
{
    return future->api->future_wake(future);
}

/* [A] RSLOOP_OK: somebody still waits; else RSLOOP_DONE, RSLOOP_CANCELLED or
 * RSLOOP_CLOSED. For work that wants to end early. */
static inline rsloop_status
rsloop_future_status(const rsloop_future *future)
{
    return future->api->future_status(future);
}

/* [A] Give the handle back. A future that is not completed by then fails with
 * RuntimeError; a local one goes on by itself. NULL is ignored. */
static inline void
rsloop_future_release(rsloop_future *future)
{
    if (future != NULL) {
        future->api->future_release(future);
    }
}

/* --- Awaiting Python from native code --- */

/* [G] Await `awaitable` (borrowed) as a task of the locals' loop and context,
 * and call ops->done(); ops->make is not used. -1 with an exception: done() is
 * not called. `out` may be NULL. */
static inline int
rsloop_into_future_with_locals(rsloop_locals *locals, PyObject *awaitable,
                               const rsloop_await_ops *ops, void *data,
                               rsloop_await **out)
{
    return locals->api->into_future(locals, awaitable, ops, data, out);
}

/* [A] The same from any thread: ops->make() makes the awaitable on the loop's
 * thread. RSLOOP_OK: done() will be called once. `out` may be NULL. */
static inline rsloop_status
rsloop_await_soon(rsloop_locals *locals, const rsloop_await_ops *ops,
                  void *data, rsloop_await **out)
{
    return locals->api->await_soon(locals, ops, data, out);
}

/* [A] Cancel the task, as task.cancel() does: soon. RSLOOP_DONE when done() has
 * been called, or is about to be, RSLOOP_CLOSED, RSLOOP_FORKED. */
static inline rsloop_status
rsloop_await_cancel(rsloop_await *handle)
{
    return handle->api->await_cancel(handle);
}

/* [A] Give the handle back; the task goes on. NULL is ignored. */
static inline void
rsloop_await_release(rsloop_await *handle)
{
    if (handle != NULL) {
        handle->api->await_release(handle);
    }
}

/* --- The loop's thread --- */

/* [A] Call ops->run(data) on it, in the order of loop.call_soon_threadsafe().
 * On RSLOOP_OK `data` is taken: run() or drop() follows. Else RSLOOP_CLOSED,
 * RSLOOP_FORKED or RSLOOP_NOMEM. */
static inline rsloop_status
rsloop_call_soon(rsloop_locals *locals, const rsloop_call_ops *ops, void *data)
{
    return locals->api->call_soon(locals, ops, data);
}

/* --- The runtime thread: beside a loop that is busy --- */

/* [G] Start it, if it is not there yet: the calls below need that. -1 with an
 * exception. */
static inline int
rsloop_runtime_start(rsloop_locals *locals)
{
    return locals->api->runtime_start(locals);
}

/* [A] Call event(data, 0) there once, then over(data). RSLOOP_CLOSED,
 * RSLOOP_FORKED, RSLOOP_NOMEM, or RSLOOP_INVALID before
 * rsloop_runtime_start(): nothing is called. */
static inline rsloop_status
rsloop_runtime_post(rsloop_locals *locals, const rsloop_source_calls *calls)
{
    return locals->api->runtime_post(locals, calls);
}

/* [A] Call event() whenever epoll(7) says one of `events` of `fd`, which stays
 * yours and stays open until over(). Level-triggered, unless `events` has
 * EPOLLET or EPOLLONESHOT. RSLOOP_OS: EPERM, EBADF, EEXIST... */
static inline rsloop_status
rsloop_runtime_watch(rsloop_locals *locals, int fd, uint32_t events,
                     const rsloop_source_calls *calls, rsloop_source **out)
{
    return locals->api->runtime_watch(locals, fd, events, calls, out);
}

/* [A] Call event() after `delay_ns`, then each `period_ns` if that is not 0.
 * `out` may be NULL. */
static inline rsloop_status
rsloop_runtime_timer(rsloop_locals *locals, int64_t delay_ns, int64_t period_ns,
                     const rsloop_source_calls *calls, rsloop_source **out)
{
    return locals->api->runtime_timer(locals, delay_ns, period_ns, calls, out);
}

/* [A] Other events for a watch; what arms EPOLLONESHOT again. RSLOOP_INVALID
 * for a timer. */
static inline rsloop_status
rsloop_source_change(rsloop_source *source, uint32_t events)
{
    return source->api->source_change(source, events);
}

/* [A] Give the handle back and end the source, if it has not ended by itself:
 * over() comes soon. From an event() of its own no other event follows. NULL is
 * ignored. */
static inline void
rsloop_source_close(rsloop_source *source)
{
    if (source != NULL) {
        source->api->source_close(source);
    }
}

/* --- The pool --- */

/* [A] Call run(data) on a thread of the pool, which the process shares: at most
 * 16 of them, in the order of the calls. RSLOOP_NOMEM, RSLOOP_OS. */
static inline rsloop_status
rsloop_run_blocking(const rsloop_api *api, void (*run)(void *data), void *data)
{
    return api->run_blocking(run, data);
}

#ifdef __cplusplus
}
#endif

#endif
