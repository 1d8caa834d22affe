/* SPDX-License-Identifier: Apache-2.0 */
/* accept_tls.c - from an accepted fd to a transport with TLS. */
#include <unistd.h>

#include "acceptor.h"
#include "addr.h"
#include "errors.h"
#include "stream_tls.h"

/* Takes `fd`: asyncio's coroutine makes the transport and its handshake, with
 * `protocol` unless that is NULL. */
static int
tls_by_asyncio(LoopObject *loop, pyrsl_acceptor *acceptor, int fd,
               const rsl_addr *peer, PyObject *protocol)
{
    PyObject *number = PyLong_FromLong(fd);
    PyObject *name =
        pyrsl_sockaddr_to_python(rsl_addr_sockaddr(peer), peer->length);
    if (number == NULL || name == NULL) {
        Py_XDECREF(number);
        Py_XDECREF(name);
        close(fd);
        return -1;
    }
    pyrsl_handshake_began(loop);
    PyObject *result = PyObject_CallMethodObjArgs(
        (PyObject *)loop, loop->st->str_accept_tls, number, name,
        acceptor->sock, acceptor->factory, acceptor->sslcontext,
        acceptor->server, acceptor->timeouts, protocol, NULL);
    Py_DECREF(number);
    Py_DECREF(name);
    if (result == NULL) {
        int status = pyrsl_accept_failed(loop, protocol);
        return pyrsl_handshake_ended(loop) < 0 ? -1 : status;
    }
    Py_DECREF(result);
    return 0;
}

/* Takes `fd`. */
static PyObject *
tls_open(LoopObject *loop, const pyrsl_acceptor *acceptor, int fd,
         const rsl_addr *peer, PyObject *const *parts)
{
    stream_tls_request tls = {
        .engine = parts[0],
        .handshake_timeout = PyTuple_GET_ITEM(acceptor->tls, 1),
        .shutdown_timeout = PyTuple_GET_ITEM(acceptor->tls, 2),
        .calls_made = true,
        .accepted = true,
    };
    stream_request request = pyrsl_accept_request(acceptor, fd, peer);
    request.protocol = parts[1];
    request.tls = &tls;
    return pyrsl_stream_open(loop, &request);
}

/* Whether engines can serve the acceptor's connections; -1 with an exception.
 * Debug mode has asyncio's reports and its task. */
static int
tls_is_native(LoopObject *loop, pyrsl_acceptor *acceptor)
{
    if (loop->debug) {
        return 0;
    }
    if (acceptor->tls == NULL) {
        acceptor->tls = PyObject_CallMethodObjArgs(
            (PyObject *)loop, loop->st->str_tls_serving, acceptor->sslcontext,
            acceptor->timeouts, NULL);
    }
    return acceptor->tls == NULL ? -1 : acceptor->tls != Py_None;
}

int
pyrsl_accept_tls(LoopObject *loop, pyrsl_acceptor *acceptor, int fd,
                 const rsl_addr *peer)
{
    int native = tls_is_native(loop, acceptor);
    if (native == 0) {
        return tls_by_asyncio(loop, acceptor, fd, peer, NULL);
    }
    /* The protocol first, as asyncio does: its factory may change the SSL
     * context. */
    PyObject *engine = NULL, *transport = NULL;
    PyObject *protocol =
        native < 0 ? NULL : PyObject_CallNoArgs(acceptor->factory);
    if (protocol != NULL) {
        engine = PyObject_CallNoArgs(PyTuple_GET_ITEM(acceptor->tls, 0));
    }
    int status = 0;
    if (engine == Py_None) {
        status = tls_by_asyncio(loop, acceptor, fd, peer, protocol);
    } else if (engine == NULL) {
        close(fd);
        status = pyrsl_accept_failed(loop, protocol);
    } else {
        PyObject *parts[] = {engine, protocol};
        transport = tls_open(loop, acceptor, fd, peer, parts);
        if (transport == NULL) {
            status = pyrsl_accept_failed(loop, protocol);
        }
    }
    Py_XDECREF(protocol);
    Py_XDECREF(engine);
    Py_XDECREF(transport);
    return status;
}
