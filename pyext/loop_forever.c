/* SPDX-License-Identifier: Apache-2.0 */
/* loop_forever.c - run_forever() and run_until_complete(): what is set up
 * before the first turn and put back after the last.
 *
 * In C because a signal handler of Python runs between two bytecodes: from here
 * it runs in a turn or not at all, so that a KeyboardInterrupt never leaves a
 * loop half running, a wakeup fd behind, or a stop() that hits a later run. */
#include "args.h"
#include "future.h"
#include "handle.h"
#include "loop.h"

/* asyncio.constants.DEBUG_STACK_DEPTH */
enum { DEBUG_STACK_DEPTH = 10 };

typedef struct loop_session {
    PyObject *agen_hooks; /* as sys.get_asyncgen_hooks() gave them, or NULL */
    PyObject *wakeup_fd;  /* as an int; NULL where we set none */
} loop_session;

static int
session_result(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* --- Signals --- */

/* Make signals wake the loop even when another thread takes them. Only an
 * interpreter's main thread may. */
static int
session_watch_signals(LoopObject *self, loop_session *session)
{
    module_state *st = self->st;
    PyObject *end = PyObject_GetAttrString((PyObject *)self, "_csock");
    if (end == NULL) {
        return -1;
    }
    PyObject *fd = PyObject_CallMethodNoArgs(end, st->str_fileno);
    Py_DECREF(end);
    PyObject *args = fd == NULL ? NULL : PyTuple_Pack(1, fd);
    Py_XDECREF(fd);
    PyObject *options = Py_BuildValue("{s:O}", "warn_on_full_buffer", Py_False);
    if (args != NULL && options != NULL) {
        session->wakeup_fd = PyObject_Call(st->set_wakeup_fd, args, options);
    }
    Py_XDECREF(args);
    Py_XDECREF(options);
    if (session->wakeup_fd == NULL
        && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        return 0;
    }
    return session->wakeup_fd == NULL ? -1 : 0;
}

/* With handlers of its own the loop keeps the fd, as asyncio does. */
static int
session_keeps_wakeup_fd(LoopObject *self, loop_session *session)
{
    if (PyLong_AsLong(session->wakeup_fd) != -1) {
        return 0;
    }
    PyObject *handlers =
        PyObject_GetAttrString((PyObject *)self, "_signal_handlers");
    if (handlers == NULL) {
        return -1;
    }
    int keeps = PyObject_IsTrue(handlers);
    Py_DECREF(handlers);
    return keeps;
}

static int
session_unwatch_signals(LoopObject *self, loop_session *session)
{
    if (session->wakeup_fd == NULL) {
        return 0;
    }
    int keeps = session_keeps_wakeup_fd(self, session);
    if (keeps != 0) {
        return keeps < 0 ? -1 : 0;
    }
    PyObject *set = self->st->set_wakeup_fd;
    PyObject *old = PyObject_CallOneArg(set, session->wakeup_fd);
    if (old == NULL
        && (PyErr_ExceptionMatches(PyExc_ValueError)
            || PyErr_ExceptionMatches(PyExc_OSError))) {
        PyErr_Clear(); /* closed by its owner meanwhile */
        old = PyObject_CallFunction(set, "i", -1);
    }
    return session_result(old);
}

/* --- Where coroutines were made, in debug mode --- */

static int
session_tracks_origins(LoopObject *self)
{
    PyObject *enabled = PyObject_GetAttrString(
        (PyObject *)self, "_coroutine_origin_tracking_enabled");
    int truth = enabled == NULL ? -1 : PyObject_IsTrue(enabled);
    Py_XDECREF(enabled);
    return truth;
}

/* asyncio's _set_coroutine_origin_tracking(), uninterrupted. `depth` is stolen;
 * it may be NULL with an exception set. */
static int
session_set_origin_depth(LoopObject *self, PyObject *depth, PyObject *enabled)
{
    if (depth == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallOneArg(self->st->set_origin_depth, depth);
    Py_DECREF(depth);
    if (session_result(result) < 0) {
        return -1;
    }
    return PyObject_SetAttrString(
        (PyObject *)self, "_coroutine_origin_tracking_enabled", enabled);
}

static int
session_begin_origins(LoopObject *self)
{
    int tracks = self->debug ? session_tracks_origins(self) : 1;
    if (tracks != 0) {
        return tracks < 0 ? -1 : 0;
    }
    PyObject *saved = PyObject_CallNoArgs(self->st->get_origin_depth);
    if (saved == NULL) {
        return -1;
    }
    int status = PyObject_SetAttrString(
        (PyObject *)self, "_coroutine_origin_tracking_saved_depth", saved);
    Py_DECREF(saved);
    if (status < 0) {
        return -1;
    }
    return session_set_origin_depth(self, PyLong_FromLong(DEBUG_STACK_DEPTH),
                                    Py_True);
}

static int
session_end_origins(LoopObject *self)
{
    int tracks = session_tracks_origins(self);
    if (tracks <= 0) {
        return tracks;
    }
    PyObject *saved = PyObject_GetAttrString(
        (PyObject *)self, "_coroutine_origin_tracking_saved_depth");
    return session_set_origin_depth(self, saved, Py_False);
}

/* --- A session --- */

static int
session_set_running(LoopObject *self, PyObject *loop)
{
    PyObject *set = pyrsl_state_look_up(self->st->events_names,
                                        self->st->str_set_running_loop);
    if (set == NULL) {
        return -1;
    }
    int status = session_result(PyObject_CallOneArg(set, loop));
    Py_DECREF(set);
    return status;
}

static int
session_set_agen_hooks(LoopObject *self)
{
    PyObject *loop = (PyObject *)self;
    PyObject *first = PyObject_GetAttrString(loop, "_asyncgen_firstiter_hook");
    PyObject *last = PyObject_GetAttrString(loop, "_asyncgen_finalizer_hook");
    PyObject *result = NULL;
    if (first != NULL && last != NULL) {
        result = PyObject_CallFunctionObjArgs(self->st->set_asyncgen_hooks,
                                              first, last, NULL);
    }
    Py_XDECREF(first);
    Py_XDECREF(last);
    return session_result(result);
}

static int
session_enter(LoopObject *self, loop_session *session)
{
    Py_INCREF(self);
    self->in_session = true;
    if (session_begin_origins(self) < 0) {
        return -1;
    }
    session->agen_hooks = PyObject_CallNoArgs(self->st->get_asyncgen_hooks);
    pyrsl_loop_set_thread(self, PyThread_get_thread_ident());
    if (session->agen_hooks == NULL || session_set_agen_hooks(self) < 0
        || session_set_running(self, (PyObject *)self) < 0) {
        return -1;
    }
    return session_watch_signals(self, session);
}

/* The first exception is the one that counts. */
static void
session_keep_first(PyObject **exc, int status)
{
    if (status < 0 && *exc == NULL) {
        *exc = PyErr_GetRaisedException();
    } else if (status < 0) {
        PyErr_Clear();
    }
}

/* Each step is taken whatever became of the others, and of session_enter(). */
static void
session_leave(LoopObject *self, loop_session *session)
{
    PyObject *exc = PyErr_GetRaisedException();
    atomic_store(&self->stopping, false);
    pyrsl_loop_set_thread(self, 0);
    pyrsl_handles_end_session(self);
    session_keep_first(&exc, session_set_running(self, Py_None));
    session_keep_first(&exc, session_unwatch_signals(self, session));
    session_keep_first(&exc, session_end_origins(self));
    if (session->agen_hooks != NULL) {
        PyObject *result = PyObject_CallObject(self->st->set_asyncgen_hooks,
                                               session->agen_hooks);
        session_keep_first(&exc, session_result(result));
    }
    Py_CLEAR(session->agen_hooks);
    Py_CLEAR(session->wakeup_fd);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    Py_DECREF(self);
}

/* --- Methods --- */

static int
loop_check_can_run(LoopObject *self)
{
    if (pyrsl_loop_check_closed(self) < 0) {
        return -1;
    }
    if (atomic_load(&self->thread_id) != 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "This event loop is already running");
        return -1;
    }
    PyObject *get = pyrsl_state_look_up(self->st->events_names,
                                        self->st->str_get_running_loop);
    PyObject *running = get == NULL ? NULL : PyObject_CallNoArgs(get);
    Py_XDECREF(get);
    if (running == NULL) {
        return -1;
    }
    Py_DECREF(running);
    if (running != Py_None) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "Cannot run the event loop while another loop is running");
        return -1;
    }
    return 0;
}

/* A subclass or a test replaced _run_once(). */
static int
loop_run_own_turns(LoopObject *self)
{
    do {
        PyObject *result =
            PyObject_CallMethod((PyObject *)self, "_run_once", NULL);
        if (session_result(result) < 0) {
            return -1;
        }
    } while (!atomic_load(&self->stopping));
    return 0;
}

static int
loop_run_session(LoopObject *self)
{
    PyObject *own =
        PyObject_CallMethod((PyObject *)self, "_has_own_run_once", NULL);
    if (own == NULL) {
        return -1;
    }
    Py_DECREF(own);
    return own == Py_True ? loop_run_own_turns(self)
                          : pyrsl_loop_run_turns(self);
}

PyDoc_STRVAR(loop_run_forever_doc,
"run_forever($self, /)\n--\n\n"
"Run until stop() is called (asyncio.AbstractEventLoop).");

static PyObject *
loop_run_forever(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (loop_check_can_run(self) < 0) {
        return NULL;
    }
    loop_session session = {NULL, NULL};
    if (session_enter(self, &session) == 0) {
        (void)loop_run_session(self); /* an exception is noticed below */
    }
    session_leave(self, &session);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The future of what run_until_complete() was given; *made tells whether it is
 * a new task. */
static PyObject *
loop_ensure_future(LoopObject *self, PyObject *awaitable, bool *made)
{
    PyObject *is_future = PyObject_CallOneArg(self->st->isfuture, awaitable);
    if (is_future == NULL) {
        return NULL;
    }
    int truth = PyObject_IsTrue(is_future);
    Py_DECREF(is_future);
    if (truth < 0) {
        return NULL;
    }
    *made = truth == 0;
    PyObject *stack[] = {awaitable, (PyObject *)self};
    PyObject *future = PyObject_Vectorcall(self->st->ensure_future, stack, 1,
                                           self->st->kwnames_loop);
    /* When it does not complete, the exception says so. */
    if (future != NULL && *made
        && PyObject_SetAttrString(future, "_log_destroy_pending", Py_False)
               < 0) {
        Py_CLEAR(future);
    }
    return future;
}

/* The task raised a BaseException, which has left run_forever() already: it
 * must not be logged as never retrieved. */
static void
future_consume_exception(const module_state *st, PyObject *future)
{
    PyObject *exc = PyErr_GetRaisedException();
    if (pyrsl_ask(future, st->str_done) == 1
        && pyrsl_ask(future, st->str_cancelled) == 0) {
        Py_XDECREF(PyObject_CallMethod(future, "exception", NULL));
    }
    PyErr_Clear();
    PyErr_SetRaisedException(exc);
}

/* run_forever() between adding and removing the callback that stops it. */
static int
loop_run_future(LoopObject *self, PyObject *future, bool made)
{
    PyObject *callback = self->st->run_until_complete_cb;
    PyObject *result =
        PyObject_CallMethod(future, "add_done_callback", "O", callback);
    if (session_result(result) < 0) {
        return -1;
    }
    result = PyObject_CallMethod((PyObject *)self, "run_forever", NULL);
    if (result == NULL && made) {
        future_consume_exception(self->st, future);
    }
    Py_XDECREF(result);
    PyObject *exc = PyErr_GetRaisedException();
    result = PyObject_CallMethod(future, "remove_done_callback", "O", callback);
    session_keep_first(&exc, session_result(result));
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(loop_run_until_complete_doc,
"run_until_complete($self, future)\n--\n\n"
"Run until the future is done; return its result or raise its exception.\n\n"
"A coroutine becomes a task. RuntimeError when the loop was stopped before.");

static const pyrsl_params run_until_complete_params = {
    .function = "run_until_complete",
    .names = (const char *const[]){"future", NULL},
    .positional = 1,
    .required = 1,
};

static PyObject *
loop_run_until_complete(LoopObject *self, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *awaitable =
        pyrsl_args_one(&run_until_complete_params, args, nargs, kwnames);
    if (awaitable == NULL || loop_check_can_run(self) < 0) {
        return NULL;
    }
    bool made = false;
    PyObject *result = NULL;
    PyObject *future = loop_ensure_future(self, awaitable, &made);
    if (future == NULL) {
        return NULL;
    }
    if (loop_run_future(self, future, made) == 0) {
        int done = pyrsl_ask(future, self->st->str_done);
        if (done > 0) {
            result = PyObject_CallMethod(future, "result", NULL);
        } else if (done == 0) {
            PyErr_SetString(PyExc_RuntimeError,
                            "Event loop stopped before Future completed.");
        }
    }
    Py_DECREF(future);
    return result;
}

PyMethodDef pyrsl_loop_forever_methods[] = {
    {"run_forever", (PyCFunction)(void (*)(void))loop_run_forever, METH_NOARGS,
     loop_run_forever_doc},
    {"run_until_complete", (PyCFunction)(void (*)(void))loop_run_until_complete,
     METH_FASTCALL | METH_KEYWORDS, loop_run_until_complete_doc},
    {NULL, NULL, 0, NULL},
};
