/* SPDX-License-Identifier: Apache-2.0 */
#include "dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <rsl/resolver.h>

#include "addr.h"
#include "errors.h"
#include "future.h"

/* --- Results --- */

static PyObject *
dns_address(const struct addrinfo *info)
{
    const char *canonname = info->ai_canonname;
    PyObject *address =
        pyrsl_sockaddr_to_python(info->ai_addr, info->ai_addrlen);
    if (address == NULL) {
        return NULL;
    }
    return Py_BuildValue("iiisN", info->ai_family, info->ai_socktype,
                         info->ai_protocol, canonname == NULL ? "" : canonname,
                         address);
}

static PyObject *
dns_addresses(const struct addrinfo *first)
{
    PyObject *list = PyList_New(0);
    if (list == NULL) {
        return NULL;
    }
    for (const struct addrinfo *one = first; one != NULL; one = one->ai_next) {
        PyObject *address = dns_address(one);
        if (address == NULL || PyList_Append(list, address) < 0) {
            Py_XDECREF(address);
            Py_DECREF(list);
            return NULL;
        }
        Py_DECREF(address);
    }
    return list;
}

/* As the socket module: gaierror(code, text), or OSError for EAI_SYSTEM. */
static void
dns_raise(int gai_error, int sys_errno)
{
    if (gai_error == EAI_SYSTEM) {
        rsl_err err = {sys_errno, "getaddrinfo"};
        pyrsl_raise(RSL_OS, &err);
        return;
    }
    PyObject *module = PyImport_ImportModule("_socket");
    if (module == NULL) {
        return;
    }
    PyObject *type = PyObject_GetAttrString(module, "gaierror");
    Py_DECREF(module);
    if (type == NULL) {
        return;
    }
    PyObject *args = Py_BuildValue("is", gai_error, gai_strerror(gai_error));
    if (args != NULL) {
        PyErr_SetObject(type, args);
        Py_DECREF(args);
    }
    Py_DECREF(type);
}

static PyObject *
dns_result(const rsl_lookup *lookup)
{
    if (lookup->gai_error != 0) {
        dns_raise(lookup->gai_error, lookup->sys_errno);
        return NULL;
    }
    if (lookup->kind == RSL_LOOKUP_NAME) {
        return Py_BuildValue("ss", lookup->host, lookup->service);
    }
    return dns_addresses(lookup->addresses);
}

/* --- Futures --- */

static int
dns_settle(LoopObject *self, PyObject *future, const rsl_lookup *lookup)
{
    int done = pyrsl_ask(future, self->st->str_done);
    if (done != 0) {
        return done < 0 ? -1 : 0;
    }
    PyObject *method = self->st->str_set_result;
    PyObject *value = dns_result(lookup);
    if (value == NULL) {
        method = self->st->str_set_exception;
        value = PyErr_GetRaisedException();
    }
    PyObject *none = PyObject_CallMethodObjArgs(future, method, value, NULL);
    Py_DECREF(value);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

void
pyrsl_dns_deliver(LoopObject *self, void *lookup)
{
    PyObject *future = rsl_lookup_claim(lookup);
    if (future != NULL) {
        if (dns_settle(self, future, lookup) < 0) {
            PyErr_WriteUnraisable(future);
        }
        Py_DECREF(future);
    }
    rsl_lookup_free(lookup);
}

/* The runtime closes, which happens in close() or the loop's own tp_clear. */
static void
dns_abandon(void *future)
{
    Py_DECREF((PyObject *)future);
}

typedef struct dns_visitor {
    visitproc visit;
    void *arg;
} dns_visitor;

static int
dns_visit_owner(void *owner, void *arg)
{
    dns_visitor *visitor = arg;
    return visitor->visit(owner, visitor->arg);
}

int
pyrsl_dns_traverse(LoopObject *self, visitproc visit, void *arg)
{
    if (self->rt == NULL) {
        return 0;
    }
    dns_visitor visitor = {visit, arg};
    return rsl_resolver_visit(self->rt, dns_visit_owner, &visitor);
}

/* The future of a look-up that is about to start, or NULL. */
static PyObject *
dns_future(LoopObject *self)
{
    if (pyrsl_loop_check_closed(self) < 0) {
        return NULL;
    }
    return PyObject_CallMethod((PyObject *)self, "create_future", NULL);
}

/* Takes `future`, returns it when the look-up has started. */
static PyObject *
dns_started(PyObject *future, rsl_status status, const rsl_err *err)
{
    if (status == RSL_OK) {
        return future;
    }
    /* The look-up did not take the reference that was meant for it. */
    Py_DECREF(future);
    Py_DECREF(future);
    if (status == RSL_OS && strcmp(err->call, "pthread_create") == 0) {
        PyErr_SetString(PyExc_RuntimeError, "can't start new thread");
        return NULL;
    }
    return pyrsl_raise(status, err);
}

/* --- getaddrinfo --- */

/* The text of a host or port as the socket module makes it, in *out, NULL for
 * None. Returns what keeps it alive, a new reference. */
static PyObject *
dns_host(PyObject *host, const char **out)
{
    *out = NULL;
    if (host == Py_None) {
        return Py_NewRef(host);
    }
    PyObject *bytes;
    if (PyUnicode_Check(host)) {
        bytes = PyUnicode_AsEncodedString(host, "idna", NULL);
    } else {
        bytes = Py_NewRef(host);
    }
    if (bytes != NULL) {
        *out = PyBytes_AsString(bytes);
        if (*out == NULL) {
            Py_CLEAR(bytes);
        }
    }
    return bytes;
}

static PyObject *
dns_port(PyObject *port, const char **out)
{
    *out = NULL;
    if (port == Py_None) {
        return Py_NewRef(port);
    }
    if (PyBytes_Check(port)) {
        *out = PyBytes_AS_STRING(port);
        return Py_NewRef(port);
    }
    /* An int's number, as 3.14 takes it; str() of a bool or enum is a name. */
    PyObject *text = PyUnicode_Check(port) ? Py_NewRef(port)
                     : PyLong_Check(port)  ? PyLong_Type.tp_repr(port)
                                           : PyObject_Str(port);
    if (text != NULL) {
        *out = PyUnicode_AsUTF8(text);
        if (*out == NULL) {
            Py_CLEAR(text);
        }
    }
    return text;
}

PyDoc_STRVAR(dns_getaddrinfo_doc,
"_getaddrinfo($self, host, port, family, type, proto, flags, /)\n--\n\n"
"A future of what socket.getaddrinfo() returns, with plain ints.");

static PyObject *
dns_getaddrinfo(LoopObject *self, PyObject *args)
{
    PyObject *host, *port;
    rsl_address_query query;
    if (!PyArg_ParseTuple(args, "OOiiii:_getaddrinfo", &host, &port,
                          &query.family, &query.type, &query.proto,
                          &query.flags)) {
        return NULL;
    }
    PyObject *port_text = NULL, *future = NULL;
    PyObject *host_text = dns_host(host, &query.host);
    if (host_text == NULL) {
        return NULL;
    }
    port_text = dns_port(port, &query.service);
    if (port_text == NULL) {
        goto done;
    }
    future = dns_future(self);
    if (future == NULL) {
        goto done;
    }
    rsl_err err = {0, ""};
    rsl_job_owner owner = {Py_NewRef(future), dns_abandon};
    rsl_status status = rsl_resolve_address(self->rt, &query, owner, &err);
    future = dns_started(future, status, &err);

done:
    Py_DECREF(host_text);
    Py_XDECREF(port_text);
    return future;
}

/* --- getnameinfo --- */

/* An address of numbers in libc's form, by getaddrinfo() as the socket module
 * does; AI_NUMERICHOST keeps it from blocking. */
static int
dns_sockaddr(PyObject *sockaddr, rsl_addr *out)
{
    const char *host;
    int port;
    unsigned flowinfo = 0, scope_id = 0;
    if (!PyArg_ParseTuple(sockaddr, "si|II", &host, &port, &flowinfo,
                          &scope_id)) {
        return -1;
    }
    char service[16];
    PyOS_snprintf(service, sizeof(service), "%d", port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_DGRAM,
                             .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found;
    int error = getaddrinfo(host, service, &hints, &found);
    if (error != 0) {
        dns_raise(error, errno);
        return -1;
    }
    memset(out, 0, sizeof(*out));
    out->length = found->ai_addrlen;
    memcpy(&out->storage, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (out->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->storage;
        in6->sin6_flowinfo = htonl(flowinfo);
        in6->sin6_scope_id = scope_id;
    }
    return 0;
}

PyDoc_STRVAR(dns_getnameinfo_doc,
"_getnameinfo($self, sockaddr, flags, /)\n--\n\n"
"A future of what socket.getnameinfo() returns.");

static PyObject *
dns_getnameinfo(LoopObject *self, PyObject *args)
{
    PyObject *sockaddr;
    int flags;
    rsl_addr address;
    if (!PyArg_ParseTuple(args, "O!i:_getnameinfo", &PyTuple_Type, &sockaddr,
                          &flags)
        || dns_sockaddr(sockaddr, &address) < 0) {
        return NULL;
    }
    PyObject *future = dns_future(self);
    if (future == NULL) {
        return NULL;
    }
    rsl_name_query query = {rsl_addr_sockaddr(&address), address.length, flags};
    rsl_err err = {0, ""};
    rsl_job_owner owner = {Py_NewRef(future), dns_abandon};
    rsl_status status = rsl_resolve_name(self->rt, &query, owner, &err);
    return dns_started(future, status, &err);
}

PyMethodDef pyrsl_dns_loop_methods[] = {
    {"_getaddrinfo", (PyCFunction)(void (*)(void))dns_getaddrinfo, METH_VARARGS,
     dns_getaddrinfo_doc},
    {"_getnameinfo", (PyCFunction)(void (*)(void))dns_getnameinfo, METH_VARARGS,
     dns_getnameinfo_doc},
    {NULL, NULL, 0, NULL},
};
