/* SPDX-License-Identifier: Apache-2.0 */
/* native_port.c - the way from native threads to a loop, and its end. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "native.h"

/* --- The interpreter's part --- */

struct pyrsl_native_home {
    atomic_uint refs;           /* the module's and the ports' */
    _Atomic(rsl_msg *) orphans; /* newest first */
};

struct pyrsl_native_home *
pyrsl_native_home_new(void)
{
    struct pyrsl_native_home *home = calloc(1, sizeof(*home));
    if (home != NULL) {
        atomic_init(&home->refs, 1);
        atomic_init(&home->orphans, NULL);
    }
    return home;
}

static void
home_unref(struct pyrsl_native_home *home)
{
    if (atomic_fetch_sub(&home->refs, 1) == 1) {
        free(home); /* orphans that came after the interpreter's end stay */
    }
}

void
pyrsl_native_home_reap(struct pyrsl_native_home *home)
{
    rsl_msg *msg = NULL;
    if (atomic_load(&home->orphans) != NULL) {
        msg = atomic_exchange(&home->orphans, NULL);
    }
    while (msg != NULL) {
        rsl_msg *next = msg->next;
        msg->discard(msg);
        msg = next;
    }
}

void
pyrsl_native_home_free(struct pyrsl_native_home *home)
{
    if (home != NULL) {
        pyrsl_native_home_reap(home);
        home_unref(home);
    }
}

/* ABA does no harm: nobody takes single ones. */
static void
home_push(struct pyrsl_native_home *home, rsl_msg *msg)
{
    rsl_msg *head = atomic_load(&home->orphans);
    do {
        msg->next = head;
    } while (!atomic_compare_exchange_weak(&home->orphans, &head, msg));
}

module_state *
pyrsl_native_state(void)
{
    PyObject *name = PyUnicode_FromString("rsloop_c._core");
    PyObject *module = name == NULL ? NULL : PyImport_GetModule(name);
    Py_XDECREF(name);
    if (module == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ImportError, "rsloop_c is not imported");
        }
        return NULL;
    }
    module_state *st = PyModule_GetState(module);
    Py_DECREF(module); /* sys.modules has it */
    return st;
}

/* --- Ports --- */

static native_port *
port_new(LoopObject *loop)
{
    native_port *port = calloc(1, sizeof(*port));
    if (port == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    atomic_init(&port->refs, 1);
    atomic_init(&port->posters, 0);
    atomic_init(&port->closed, false);
    atomic_init(&port->reactor, NULL);
    port->rt = loop->rt;
    port->st = loop->st;
    port->loop = loop;
    port->interpreter = PyInterpreterState_GetID(PyInterpreterState_Get());
    port->home = loop->st->native_home;
    atomic_fetch_add(&port->home->refs, 1);
    pthread_mutex_init(&port->lock, NULL);
    port->natives.prev = port->natives.next = &port->natives;
    return port;
}

native_port *
pyrsl_native_port(LoopObject *loop)
{
    if (pyrsl_loop_check_closed(loop) < 0 || pyrsl_loop_check_owner(loop) < 0) {
        return NULL;
    }
    if (rsl_runtime_is_forked(loop->rt)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the event loop belongs to the parent of this process");
        return NULL;
    }
    pyrsl_native_home_reap(loop->st->native_home);
    native_port *port;
    Py_BEGIN_CRITICAL_SECTION(loop);
    if (loop->native == NULL) {
        loop->native = port_new(loop);
    }
    port = loop->native;
    Py_END_CRITICAL_SECTION();
    return port;
}

int
pyrsl_native_check_interpreter(const native_port *port)
{
    if (port->interpreter
        == PyInterpreterState_GetID(PyInterpreterState_Get())) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "the event loop belongs to another interpreter");
    return -1;
}

void
pyrsl_native_port_ref(native_port *port)
{
    atomic_fetch_add(&port->refs, 1);
}

void
pyrsl_native_port_unref(native_port *port)
{
    if (atomic_fetch_sub(&port->refs, 1) == 1) {
        home_unref(port->home);
        pthread_mutex_destroy(&port->lock);
        free(port);
    }
}

/* Pairs with pyrsl_native_close(): here a poster counts itself in, then reads
 * `closed`; there `closed` is set, then the count read. All seq_cst: either we
 * see that the port is closed, or it waits for us. */
rsloop_status
pyrsl_native_enter(native_port *port)
{
    atomic_fetch_add(&port->posters, 1);
    if (atomic_load(&port->closed)) {
        pyrsl_native_leave(port);
        return RSLOOP_CLOSED;
    }
    if (rsl_runtime_is_forked(port->rt)) {
        pyrsl_native_leave(port);
        return RSLOOP_FORKED;
    }
    return RSLOOP_OK;
}

void
pyrsl_native_leave(native_port *port)
{
    atomic_fetch_sub(&port->posters, 1);
}

static native_handle *
handle_of(native_link *link)
{
    return (native_handle *)(void *)((char *)link
                                     - offsetof(native_handle, link));
}

/* In a forked child somebody who is not here may have had the lock; nobody else
 * is there to need it. */
static bool
port_lock(native_port *port)
{
    bool locks = atomic_load(&port->closed) || !rsl_runtime_is_forked(port->rt);
    if (locks) {
        pthread_mutex_lock(&port->lock);
    }
    return locks;
}

static void
port_unlock(native_port *port, bool locked)
{
    if (locked) {
        pthread_mutex_unlock(&port->lock);
    }
}

/* True for whoever takes it out. With the lock. */
static bool
link_remove(native_link *link)
{
    bool linked = link->next != link;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = link;
    return linked;
}

static bool
handle_unlink(native_handle *self)
{
    bool locked = port_lock(self->port);
    bool linked = link_remove(&self->link);
    port_unlock(self->port, locked);
    return linked;
}

/* A handle whose Python side is to be dropped, or NULL. */
static native_handle *
port_take(native_port *port)
{
    bool locked = port_lock(port);
    native_link *link = port->natives.next;
    if (link != &port->natives) {
        (void)link_remove(link);
    }
    port_unlock(port, locked);
    return link == &port->natives ? NULL : handle_of(link);
}

void
pyrsl_native_close(LoopObject *loop)
{
    native_port *port = loop->native;
    if (port == NULL || atomic_exchange(&port->closed, true)) {
        return;
    }
    bool forked = rsl_runtime_is_forked(port->rt);
    /* A poster is between two instructions or in a non-blocking system call,
     * and needs no GIL. In a forked child those who were there are not here. */
    while (!forked && atomic_load(&port->posters) != 0) {
        sched_yield();
    }
    if (forked) {
        pthread_mutex_init(&port->lock, NULL);
    }
    native_handle *handle;
    while ((handle = port_take(port)) != NULL) {
        handle->kind->shut(handle);
    }
    pyrsl_native_home_reap(port->home);
}

void
pyrsl_native_free(LoopObject *loop)
{
    native_port *port = loop->native;
    loop->native = NULL;
    if (port != NULL) {
        pyrsl_native_port_unref(port);
    }
}

/* Threads without a GIL add awaits meanwhile. `visit` runs no code of
 * Python. */
int
pyrsl_native_traverse(LoopObject *loop, visitproc visit, void *arg)
{
    native_port *port = loop->native;
    if (port == NULL) {
        return 0;
    }
    int status = 0;
    bool locked = port_lock(port);
    for (native_link *link = port->natives.next;
         status == 0 && link != &port->natives; link = link->next) {
        native_handle *handle = handle_of(link);
        status = handle->kind->traverse(handle, visit, arg);
    }
    port_unlock(port, locked);
    return status;
}

/* --- Handles --- */

static void
handle_free(native_handle *self)
{
    native_port *port = self->port;
    self->kind->free(self);
    pyrsl_native_port_unref(port);
}

/* msg.discard and deliver of a handle that comes home. */
static void
handle_released(rsl_msg *msg)
{
    handle_free((native_handle *)(void *)((char *)msg
                                          - offsetof(native_handle, released)));
}

static int
handle_deliver_released(LoopObject *Py_UNUSED(loop), native_msg *self)
{
    handle_released(&self->msg);
    return 0;
}

void
pyrsl_native_init(native_handle *self, const native_kind *kind,
                  native_port *port)
{
    self->api = &pyrsl_native_api;
    self->kind = kind;
    self->port = port;
    pyrsl_native_port_ref(port);
    atomic_init(&self->refs, 2);
    self->released.msg.event.tag = rsl_tag(RSL_EV_MESSAGE, PYRSL_MSG_SETTLE);
    self->released.msg.event.u.ptr = &self->released.msg;
    self->released.msg.discard = handle_released;
    self->released.deliver = handle_deliver_released;
    bool locked = port_lock(port);
    self->link.next = &port->natives;
    self->link.prev = port->natives.prev;
    port->natives.prev->next = &self->link;
    port->natives.prev = &self->link;
    port_unlock(port, locked);
}

void
pyrsl_native_ref(native_handle *self)
{
    atomic_fetch_add(&self->refs, 1);
}

void
pyrsl_native_unref(native_handle *self)
{
    if (atomic_fetch_sub(&self->refs, 1) == 1) {
        handle_free(self);
    }
}

void
pyrsl_native_settle(native_handle *self)
{
    (void)handle_unlink(self);
    pyrsl_native_unref(self);
}

void
pyrsl_native_send_home(native_handle *self)
{
    native_port *port = self->port;
    pyrsl_native_port_ref(port); /* `self` may go at once */
    if (pyrsl_native_enter(port) == RSLOOP_OK) {
        rsl_runtime_post(port->rt, &self->released.msg);
        pyrsl_native_leave(port);
    } else {
        home_push(port->home, &self->released.msg);
    }
    pyrsl_native_port_unref(port);
}

void
pyrsl_native_release(native_handle *self)
{
    if (atomic_fetch_sub(&self->refs, 1) == 1) {
        pyrsl_native_send_home(self);
    }
}

/* Without a GIL the loop may be closing in another thread: who takes the handle
 * out of the list is the one who drops its Python side. */
void
pyrsl_native_drop(native_handle *self)
{
    if (handle_unlink(self)) {
        self->kind->shut(self);
    }
    pyrsl_native_unref(self);
}

/* --- Messages --- */

int
pyrsl_native_deliver(LoopObject *loop, rsl_msg *msg)
{
    native_msg *self = native_msg_of(msg);
    return self->deliver(loop, self);
}

rsloop_status
pyrsl_native_status(rsl_status status, const rsl_err *err)
{
    switch (status) {
    case RSL_OK:
        return RSLOOP_OK;
    case RSL_NOMEM:
        return RSLOOP_NOMEM;
    case RSL_CLOSED:
        return RSLOOP_CLOSED;
    case RSL_FORKED:
        return RSLOOP_FORKED;
    case RSL_OS:
        errno = err->code;
        return RSLOOP_OS;
    case RSL_AGAIN:
    case RSL_EOF:
    case RSL_BUSY:
    case RSL_TLS:
    case RSL_UNSUPPORTED:
        break;
    }
    return RSLOOP_INVALID;
}
