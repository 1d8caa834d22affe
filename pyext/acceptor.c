/* SPDX-License-Identifier: Apache-2.0 */
#include "acceptor.h"

#include <poll.h>
#include <stddef.h>
#include <stdlib.h>

#include "errors.h"
#include "stream_impl.h"

void
pyrsl_acceptor_unref(pyrsl_acceptor *acceptor)
{
    if (--acceptor->users > 0) {
        return;
    }
    Py_XDECREF(acceptor->limits);
    Py_XDECREF(acceptor->factory);
    Py_XDECREF(acceptor->sock);
    Py_XDECREF(acceptor->sslcontext);
    Py_XDECREF(acceptor->server);
    Py_XDECREF(acceptor->timeouts);
    Py_XDECREF(acceptor->tls);
    Py_XDECREF(acceptor->context);
    free(acceptor);
}

static void
acceptor_set_waits(LoopObject *loop, pyrsl_acceptor *acceptor, bool waits)
{
    if (acceptor->waits != waits) {
        acceptor->waits = waits;
        loop->acceptors_waiting += waits ? 1 : (size_t)-1;
    }
}

/* Precondition: it is the one that `link` points to. */
static void
acceptor_stop(LoopObject *loop, pyrsl_acceptor **link)
{
    pyrsl_acceptor *acceptor = *link;
    *link = acceptor->next;
    rsl_listener_close(acceptor->listener);
    acceptor->listener = NULL;
    acceptor_set_waits(loop, acceptor, false);
    pyrsl_wheel_remove(&loop->wheel, &acceptor->retry);
    pyrsl_acceptor_unref(acceptor);
}

int
pyrsl_accept_stop_fd(LoopObject *loop, int fd)
{
    if (!pyrsl_loop_is_owner(loop)) {
        return 0; /* Loop._stop_serving() comes back on the loop's thread */
    }
    for (pyrsl_acceptor **link = &loop->acceptors; *link != NULL;
         link = &(*link)->next) {
        if ((*link)->fd == fd) {
            acceptor_stop(loop, link);
            return 1;
        }
    }
    return 0;
}

void
pyrsl_acceptors_close_all(LoopObject *loop)
{
    while (loop->acceptors != NULL) {
        acceptor_stop(loop, &loop->acceptors);
    }
}

int
pyrsl_acceptors_traverse(LoopObject *loop, visitproc visit, void *arg)
{
    for (pyrsl_acceptor *acceptor = loop->acceptors; acceptor != NULL;
         acceptor = acceptor->next) {
        Py_VISIT(acceptor->limits);
        Py_VISIT(acceptor->factory);
        Py_VISIT(acceptor->sock);
        Py_VISIT(acceptor->sslcontext);
        Py_VISIT(acceptor->server);
        Py_VISIT(acceptor->timeouts);
        Py_VISIT(acceptor->tls);
        Py_VISIT(acceptor->context);
    }
    return 0;
}

/* --- Pausing --- */

/* *wait_ns is 0, or when the permitted rate lets the next one in. */
static size_t
acceptor_count_room(LoopObject *loop, const pyrsl_acceptor *acceptor,
                    int64_t *wait_ns)
{
    const LimitsObject *loops = pyrsl_limits_of_loop(loop);
    size_t room = (size_t)acceptor->backlog;
    *wait_ns = 0;
    room = pyrsl_limits_room(loops, room, wait_ns);
    if (acceptor->limits != loops) {
        room = pyrsl_limits_room(acceptor->limits, room, wait_ns);
    }
    return acceptor->sslcontext == Py_None
               ? room
               : pyrsl_limits_handshake_room(loops, room);
}

/* Until a limit has room again. */
static void
acceptor_wait(LoopObject *loop, pyrsl_acceptor *acceptor, int64_t wait_ns)
{
    acceptor_set_waits(loop, acceptor, true);
    rsl_listener_pause(acceptor->listener);
    if (wait_ns != 0
        && pyrsl_wheel_add(&loop->wheel, &acceptor->retry, wait_ns) < 0) {
        PyErr_WriteUnraisable(acceptor->sock); /* others' ends look again */
    }
}

long
pyrsl_acceptor_room(LoopObject *loop, pyrsl_acceptor *acceptor)
{
    int64_t wait_ns;
    size_t room = acceptor_count_room(loop, acceptor, &wait_ns);
    if (room == 0) {
        acceptor_wait(loop, acceptor, wait_ns);
    }
    return (long)room;
}

void
pyrsl_acceptor_fail(pyrsl_acceptor *acceptor)
{
    acceptor->failed = true;
    rsl_listener_pause(acceptor->listener);
}

int
pyrsl_acceptor_retry(LoopObject *loop, pyrsl_acceptor *acceptor)
{
    int64_t wait_ns;
    acceptor->failed = false;
    if (acceptor_count_room(loop, acceptor, &wait_ns) == 0) {
        acceptor_wait(loop, acceptor, wait_ns);
        return 0;
    }
    acceptor_set_waits(loop, acceptor, false);
    rsl_err err = {0, NULL};
    rsl_status status = rsl_listener_resume(acceptor->listener, &err);
    if (status != RSL_OK) {
        pyrsl_raise(status, &err);
        return -1;
    }
    return 0;
}

/* Nobody is there to hear of a listener that cannot be resumed: it is treated
 * as one whose accept() failed. 1 when that was reported, which runs code that
 * may have stopped any of them. */
static int
acceptor_resume(LoopObject *loop, pyrsl_acceptor *acceptor)
{
    if (!acceptor->waits || acceptor->failed
        || pyrsl_acceptor_retry(loop, acceptor) == 0) {
        return 0;
    }
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *sock = Py_NewRef(acceptor->sock);
    acceptor->failed = true;
    PyObject *result = PyObject_CallMethodObjArgs(
        (PyObject *)loop, loop->st->str_on_accept_error, sock, exc, NULL);
    Py_DECREF(exc);
    Py_DECREF(sock);
    Py_XDECREF(result);
    return result == NULL ? -1 : 1;
}

int
pyrsl_acceptors_update(LoopObject *loop)
{
    pyrsl_acceptor *acceptor = loop->acceptors;
    while (acceptor != NULL) {
        int status = acceptor_resume(loop, acceptor);
        if (status < 0) {
            return -1;
        }
        acceptor = status > 0 ? loop->acceptors : acceptor->next;
    }
    return 0;
}

bool
pyrsl_acceptors_are_called(const LoopObject *loop)
{
    for (const pyrsl_acceptor *acceptor = loop->acceptors; acceptor != NULL;
         acceptor = acceptor->next) {
        struct pollfd queue = {.fd = acceptor->fd, .events = POLLIN};
        if (acceptor->waits && acceptor->sslcontext != Py_None
            && poll(&queue, 1, 0) > 0) {
            return true;
        }
    }
    return false;
}

static int
acceptor_due(LoopObject *loop, pyrsl_wheel_entry *entry,
             int64_t *Py_UNUSED(again_ns))
{
    pyrsl_acceptor *acceptor =
        (pyrsl_acceptor *)(void *)((char *)entry
                                   - offsetof(pyrsl_acceptor, retry));
    return acceptor_resume(loop, acceptor) < 0 ? -1 : 0;
}

pyrsl_acceptor *
pyrsl_acceptor_alloc(void)
{
    pyrsl_acceptor *acceptor = calloc(1, sizeof(*acceptor));
    if (acceptor == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    acceptor->users = 1;
    acceptor->retry.due = acceptor_due;
    return acceptor;
}
