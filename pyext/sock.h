/* SPDX-License-Identifier: Apache-2.0 */
/* sock.h - the steps of loop.sock_recv() and its relatives.
 *
 * Role:    python/rsloop_c/_sock.py has the coroutines; each step of theirs is
 *          a call here: it tries the operation and returns
 *            - its result,
 *            - an asyncio.Future, done when it is worth another try, or
 *            - NotImplemented: asyncio's own coroutine is to decide. That is
 *              where sockets that are not exactly socket.socket go, unusual
 *              arguments, debug mode, and everything that has to raise
 *              something else than the system's error.
 * Thread:  loop thread.
 * Memory:  new references; buffers are exported during the system call only. */
#ifndef PYRSL_SOCK_H
#define PYRSL_SOCK_H

#include "loop.h"

/* One try. */
typedef struct sock_try {
    LoopObject *loop;
    PyObject *sock; /* borrowed */
    int fd;         /* -1 when the socket is closed */
    rsl_err err;
} sock_try;

/* -1 when asyncio is to decide, or with an exception: then return what
 * pyrsl_sock_foreign() returns. */
int pyrsl_sock_begin(LoopObject *loop, PyObject *sock, sock_try *out);
PyObject *pyrsl_sock_foreign(void);

/* What is to be returned when the try ended with RSL_AGAIN, where it waits for
 * `bit`, or with RSL_OS. */
PyObject *
pyrsl_sock_failed(const sock_try *self, unsigned bit, rsl_status status);

/* What socket.socket's family, type or proto is as an int, or -1 with an
 * exception. */
int pyrsl_sock_int(const sock_try *self, PyObject *name);

/* Whether the socket has addresses that addr.h shows as the socket module does;
 * -1 with an exception. */
int pyrsl_sock_has_known_addresses(const sock_try *self);

/* -1 with TypeError for a wrong number of arguments. */
int
pyrsl_sock_check_count(const char *name, Py_ssize_t nargs, Py_ssize_t wanted);

/* Loop methods. */
extern PyMethodDef pyrsl_sock_loop_methods[];
extern PyMethodDef pyrsl_sock_recv_loop_methods[];
extern PyMethodDef pyrsl_sock_send_loop_methods[];

#endif
