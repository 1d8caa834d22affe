/* SPDX-License-Identifier: Apache-2.0 */
/* accept.c - from a listening socket to transports. */
#include <stdlib.h>
#include <unistd.h>

#include "acceptor.h"
#include "args.h"
#include "clients.h"
#include "errors.h"
#include "stream_impl.h"

/* To find that nobody else waits costs as much as a small accept. After an
 * event that had brought one connection, so many are taken to do the same. */
enum { ACCEPT_LONE = 8 };

/* --- One connection --- */

int
pyrsl_accept_failed(LoopObject *loop, PyObject *protocol)
{
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *result = Py_NewRef(Py_None);
    if (loop->debug) {
        Py_DECREF(result);
        result = PyObject_CallMethodObjArgs(
            (PyObject *)loop, loop->st->str_on_accept_failed, exc,
            protocol == NULL ? Py_None : protocol, NULL);
    }
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

stream_request
pyrsl_accept_request(const pyrsl_acceptor *acceptor, int fd,
                     const rsl_addr *peer)
{
    return (stream_request){
        .fd = fd,
        .server = acceptor->server,
        .limits = acceptor->limits,
        .context = acceptor->context,
        .family = acceptor->family,
        .type = acceptor->type,
        .proto = acceptor->proto,
        .peer = peer,
        .has_nodelay = acceptor->has_nodelay,
    };
}

/* Takes `fd`. */
static int
accept_plain(LoopObject *loop, pyrsl_acceptor *acceptor, int fd,
             const rsl_addr *peer)
{
    PyObject *transport = NULL;
    PyObject *protocol = PyObject_CallNoArgs(acceptor->factory);
    if (protocol != NULL) {
        stream_request request = pyrsl_accept_request(acceptor, fd, peer);
        request.protocol = protocol;
        transport = pyrsl_stream_open(loop, &request);
    } else {
        close(fd);
    }
    int status = 0;
    if (transport == NULL) {
        status = pyrsl_accept_failed(loop, protocol);
    } else if (loop->debug) {
        PyObject *result = PyObject_CallMethodObjArgs(
            (PyObject *)loop, loop->st->str_on_accepted, acceptor->server,
            transport, NULL);
        status = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    Py_XDECREF(protocol);
    Py_XDECREF(transport);
    return status;
}

/* Takes `fd`. Each connection has a context of its own, as asyncio's has by
 * its task. */
static int
accept_one(LoopObject *loop, pyrsl_acceptor *acceptor, int fd,
           const rsl_addr *peer)
{
    PyObject *context =
        pyrsl_contexts_borrow(&loop->contexts, loop->st, acceptor->context);
    if (context == NULL || PyContext_Enter(context) < 0) {
        Py_XDECREF(context);
        close(fd);
        return -1;
    }
    int status = acceptor->sslcontext == Py_None
                     ? accept_plain(loop, acceptor, fd, peer)
                     : pyrsl_accept_tls(loop, acceptor, fd, peer);
    PyObject *raised = status < 0 ? PyErr_GetRaisedException() : NULL;
    if (PyContext_Exit(context) < 0) {
        status = -1;
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    pyrsl_contexts_give(&loop->contexts, context);
    return status;
}

/* --- Events --- */

/* Python reports it, and resumes later when descriptors or memory ran out.
 * Until then nothing is accepted: the error would only repeat. */
static int
accept_error(LoopObject *loop, pyrsl_acceptor *acceptor, int code)
{
    pyrsl_acceptor_fail(acceptor);
    PyObject *exc = pyrsl_os_error(code);
    if (exc == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallMethodObjArgs((PyObject *)loop,
                                                  loop->st->str_on_accept_error,
                                                  acceptor->sock, exc, NULL);
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static void
accept_note(LoopObject *loop, pyrsl_acceptor *acceptor)
{
    LimitsObject *loops = pyrsl_limits_of_loop(loop);
    pyrsl_limits_note_accept(loops);
    if (acceptor->limits != loops) {
        pyrsl_limits_note_accept(acceptor->limits);
    }
}

static int
accept_batch(LoopObject *loop, pyrsl_acceptor *acceptor)
{
    long room = pyrsl_acceptor_room(loop, acceptor), accepted = 0;
    while (room-- > 0) {
        int fd;
        rsl_addr peer;
        rsl_err err = {0, NULL};
        rsl_status status =
            rsl_listener_accept(acceptor->listener, &fd, &peer, &err);
        if (status == RSL_OS) {
            return accept_error(loop, acceptor, err.code);
        }
        if (status != RSL_OK) {
            acceptor->lone = accepted == 1 ? ACCEPT_LONE : 0;
            return 0;
        }
        accepted++;
        accept_note(loop, acceptor);
        if (accept_one(loop, acceptor, fd, &peer) < 0) {
            return -1;
        }
        if (acceptor->listener == NULL || acceptor->waits) {
            return 0;
        }
        if (acceptor->lone > 0) {
            acceptor->lone--;
            return 0; /* if another waits, the backend says so again */
        }
    }
    return 0;
}

int
pyrsl_accept_event(LoopObject *loop, rsl_event event)
{
    rsl_listener *listener = rsl_listener_find(loop->rt, rsl_tag_id(event.tag));
    if (listener == NULL) {
        pyrsl_event_discard(loop, event);
        return 0;
    }
    pyrsl_acceptor *acceptor = rsl_listener_owner(listener);
    rsl_event_kind kind = rsl_tag_kind(event.tag);
    int status;
    acceptor->users++;
    if (kind == RSL_EV_ACCEPTABLE) {
        status = accept_batch(loop, acceptor);
    } else { /* the backend has paused */
        status = accept_error(loop, acceptor, (int)event.u.arg);
    }
    pyrsl_acceptor_unref(acceptor);
    return status;
}

/* --- Loop methods --- */

static const char *const serve_names[] = {"protocol_factory",
                                          "sock",
                                          "sslcontext",
                                          "server",
                                          "backlog",
                                          "ssl_handshake_timeout",
                                          "ssl_shutdown_timeout",
                                          "context",
                                          NULL};
static const pyrsl_params serve_params = {"_start_serving", serve_names, 8, 2};

static int
attribute_int(PyObject *object, PyObject *name, int *out)
{
    PyObject *value = PyObject_GetAttr(object, name);
    if (value == NULL) {
        return -1;
    }
    long number = PyLong_AsLong(value);
    Py_DECREF(value);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    *out = (int)number;
    return 0;
}

static int
serve_socket(LoopObject *loop, pyrsl_acceptor *acceptor)
{
    module_state *st = loop->st;
    acceptor->fd = pyrsl_args_socket_fd(acceptor->sock, st->str_fileno);
    if (acceptor->fd < 0) {
        return -1;
    }
    return attribute_int(acceptor->sock, st->str_family, &acceptor->family) < 0
                   || attribute_int(acceptor->sock, st->str_type,
                                    &acceptor->type)
                          < 0
                   || attribute_int(acceptor->sock, st->str_proto,
                                    &acceptor->proto)
                          < 0
               ? -1
               : 0;
}

/* Timeouts are passed on by name, those that were given. */
static PyObject *
serve_timeouts(PyObject *const *bound)
{
    PyObject *timeouts = PyDict_New();
    for (int i = 5; timeouts != NULL && i <= 6; i++) {
        if (bound[i] != NULL
            && PyDict_SetItemString(timeouts, serve_names[i], bound[i]) < 0) {
            Py_CLEAR(timeouts);
        }
    }
    return timeouts;
}

static PyObject *
serve_or_none(PyObject *value)
{
    return Py_NewRef(value == NULL ? Py_None : value);
}

/* What asyncio's `if sslcontext:` takes for a context. */
static int
serve_sslcontext(pyrsl_acceptor *acceptor, PyObject *value)
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    acceptor->sslcontext = Py_NewRef(truth > 0 ? value : Py_None);
    return truth < 0 ? -1 : 0;
}

static pyrsl_acceptor *
acceptor_new(LoopObject *loop, PyObject *const *bound)
{
    pyrsl_acceptor *acceptor = pyrsl_acceptor_alloc();
    if (acceptor == NULL) {
        return NULL;
    }
    acceptor->factory = Py_NewRef(bound[0]);
    acceptor->sock = Py_NewRef(bound[1]);
    acceptor->server = serve_or_none(bound[3]);
    acceptor->limits =
        (LimitsObject *)pyrsl_limits_of_server(loop, acceptor->server);
    acceptor->backlog = bound[4] == NULL ? 100 : PyLong_AsLong(bound[4]);
    acceptor->timeouts = serve_timeouts(bound);
    acceptor->context = bound[7] == NULL || bound[7] == Py_None
                            ? PyContext_CopyCurrent()
                            : PyContext_Copy(bound[7]);
    if ((acceptor->backlog == -1 && PyErr_Occurred())
        || acceptor->limits == NULL || serve_sslcontext(acceptor, bound[2]) < 0
        || acceptor->timeouts == NULL || acceptor->context == NULL
        || serve_socket(loop, acceptor) < 0) {
        pyrsl_acceptor_unref(acceptor);
        return NULL;
    }
    if (acceptor->backlog < 1) {
        acceptor->backlog = 1; /* listen(0) still queues one */
    }
    return acceptor;
}

/* One system call less for each connection. Other protocols, such as MPTCP,
 * may not hand it on. */
static void
acceptor_set_nodelay(pyrsl_acceptor *acceptor)
{
    bool is_tcp = (acceptor->family == AF_INET || acceptor->family == AF_INET6)
                  && acceptor->type == SOCK_STREAM
                  && (acceptor->proto == 0 || acceptor->proto == IPPROTO_TCP);
    if (is_tcp) {
        rsl_sockopt_nodelay(acceptor->fd);
        acceptor->has_nodelay = true;
    }
}

PyDoc_STRVAR(loop_start_serving_doc,
"_start_serving($self, protocol_factory, sock, sslcontext=None, server=None, "
"backlog=100, ssl_handshake_timeout=60.0, ssl_shutdown_timeout=30.0, "
"context=None)\n--\n\n"
"Accept connections on a listening socket until _remove_reader(its fd).");

static PyObject *
loop_start_serving(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    PyObject *bound[8];
    if (pyrsl_args_bind(&serve_params, args, nargs, kwnames, bound) < 0
        || pyrsl_loop_check_closed(self) < 0
        || pyrsl_loop_check_owner(self) < 0) {
        return NULL;
    }
    pyrsl_acceptor *acceptor = acceptor_new(self, bound);
    if (acceptor == NULL) {
        return NULL;
    }
    (void)pyrsl_accept_stop_fd(self, acceptor->fd); /* the new one replaces */
    if (pyrsl_clients_install(self, acceptor->server) < 0) {
        pyrsl_acceptor_unref(acceptor);
        return NULL;
    }
    rsl_err err = {0, NULL};
    rsl_status status = rsl_listener_open(self->rt, acceptor->fd, acceptor,
                                          &acceptor->listener, &err);
    if (status != RSL_OK) {
        acceptor->listener = NULL;
        pyrsl_acceptor_unref(acceptor);
        return pyrsl_raise(status, &err);
    }
    acceptor_set_nodelay(acceptor);
    acceptor->next = self->acceptors;
    self->acceptors = acceptor;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(loop_resume_accepting_doc,
"_resume_accepting($self, sock, /)\n--\n\n"
"Go on after accept() had run out of resources, unless sock was stopped.");

static PyObject *
loop_resume_accepting(LoopObject *self, PyObject *sock)
{
    for (pyrsl_acceptor *acceptor = self->acceptors; acceptor != NULL;
         acceptor = acceptor->next) {
        if (acceptor->sock != sock) {
            continue;
        }
        if (pyrsl_acceptor_retry(self, acceptor) < 0) {
            return NULL;
        }
        break;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(loop_servers_doc,
"_servers($self, /)\n--\n\n"
"The servers that accept, each once.");

static PyObject *
loop_servers(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *servers = PyList_New(0);
    for (pyrsl_acceptor *acceptor = self->acceptors;
         servers != NULL && acceptor != NULL; acceptor = acceptor->next) {
        int known = PySequence_Contains(servers, acceptor->server);
        if (known < 0
            || (known == 0 && PyList_Append(servers, acceptor->server) < 0)) {
            Py_CLEAR(servers);
        }
    }
    return servers;
}

PyMethodDef pyrsl_accept_loop_methods[] = {
    {"_servers", (PyCFunction)(void (*)(void))loop_servers, METH_NOARGS,
     loop_servers_doc},
    {"_start_serving", (PyCFunction)(void (*)(void))loop_start_serving,
     METH_FASTCALL | METH_KEYWORDS, loop_start_serving_doc},
    {"_resume_accepting", (PyCFunction)(void (*)(void))loop_resume_accepting,
     METH_O, loop_resume_accepting_doc},
    {NULL, NULL, 0, NULL},
};
