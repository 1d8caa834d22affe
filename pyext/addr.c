/* SPDX-License-Identifier: Apache-2.0 */
#include "addr.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#define ADDR_FLOW_MAX 0xfffff /* 20 bits; socket refuses more */

static PyObject *
addr_ipv4(const struct sockaddr *address)
{
    char host[INET_ADDRSTRLEN];
    struct sockaddr_in in;
    memcpy(&in, address, sizeof(in));
    if (inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host)) == NULL) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("si", host, (int)ntohs(in.sin_port));
}

static PyObject *
addr_ipv6(const struct sockaddr *address)
{
    char host[INET6_ADDRSTRLEN];
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof(in6));
    if (inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host)) == NULL) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("siII", host, (int)ntohs(in6.sin6_port),
                         (unsigned)ntohl(in6.sin6_flowinfo),
                         (unsigned)in6.sin6_scope_id);
}

static PyObject *
addr_unix(const struct sockaddr *address, size_t length)
{
    size_t prefix = offsetof(struct sockaddr_un, sun_path);
    const char *path = (const char *)address + prefix;
    size_t path_bytes = length > prefix ? length - prefix : 0;
    if (path_bytes > 0 && path[0] == '\0') {
        return PyBytes_FromStringAndSize(path, (Py_ssize_t)path_bytes);
    }
    return PyUnicode_DecodeFSDefaultAndSize(
        path, (Py_ssize_t)strnlen(path, path_bytes));
}

static PyObject *
addr_vsock(const struct sockaddr *address)
{
    struct sockaddr_vm vm;
    memcpy(&vm, address, sizeof(vm));
    return Py_BuildValue("II", vm.svm_cid, vm.svm_port);
}

static PyObject *
addr_unknown(const struct sockaddr *address, size_t length)
{
    /* The socket module always shows the whole of sa_data. */
    char data[sizeof(address->sa_data)] = {0};
    size_t prefix = offsetof(struct sockaddr, sa_data);
    if (length > prefix) {
        size_t used = length - prefix;
        memcpy(data, address->sa_data,
               used < sizeof(data) ? used : sizeof(data));
    }
    return Py_BuildValue("iy#", (int)address->sa_family, data,
                         (Py_ssize_t)sizeof(data));
}

PyObject *
pyrsl_sockaddr_to_python(const struct sockaddr *address, socklen_t length)
{
    if (length < sizeof(address->sa_family)) {
        Py_RETURN_NONE;
    }
    if (address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        return addr_ipv4(address);
    }
    if (address->sa_family == AF_INET6
        && length >= sizeof(struct sockaddr_in6)) {
        return addr_ipv6(address);
    }
    if (address->sa_family == AF_UNIX) {
        return addr_unix(address, length);
    }
    if (address->sa_family == AF_VSOCK
        && length >= sizeof(struct sockaddr_vm)) {
        return addr_vsock(address);
    }
    return addr_unknown(address, length);
}

/* A whole number up to `most`; false for anything else. */
static bool
addr_number(PyObject *object, unsigned long most, unsigned long *out)
{
    if (!PyLong_CheckExact(object)) {
        return false;
    }
    int overflow;
    long value = PyLong_AsLongAndOverflow(object, &overflow);
    if (overflow != 0 || value < 0 || (unsigned long)value > most) {
        return false;
    }
    *out = (unsigned long)value;
    return true;
}

static bool
addr_from_inet(int family, PyObject *object, rsl_addr *out)
{
    Py_ssize_t items =
        PyTuple_CheckExact(object) ? PyTuple_GET_SIZE(object) : 0;
    if (items < 2 || items > (family == AF_INET ? 2 : 4)
        || !PyUnicode_CheckExact(PyTuple_GET_ITEM(object, 0))) {
        return false;
    }
    PyObject *host = PyTuple_GET_ITEM(object, 0);
    unsigned long port, flow = 0, scope = 0;
    if (!PyUnicode_IS_ASCII(host)
        || !addr_number(PyTuple_GET_ITEM(object, 1), UINT16_MAX, &port)
        || (items > 2
            && !addr_number(PyTuple_GET_ITEM(object, 2), ADDR_FLOW_MAX, &flow))
        || (items > 3
            && !addr_number(PyTuple_GET_ITEM(object, 3), UINT32_MAX, &scope))) {
        return false;
    }
    const char *text = (const char *)PyUnicode_1BYTE_DATA(host);
    if (strlen(text) != (size_t)PyUnicode_GET_LENGTH(host)) {
        return false;
    }
    if (family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port)};
        out->length = sizeof(in);
        bool numeric = inet_pton(AF_INET, text, &in.sin_addr) == 1;
        memcpy(&out->storage, &in, sizeof(in));
        return numeric;
    }
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                               .sin6_port = htons((uint16_t)port),
                               .sin6_flowinfo = htonl((uint32_t)flow),
                               .sin6_scope_id = (uint32_t)scope};
    out->length = sizeof(in6);
    bool numeric = inet_pton(AF_INET6, text, &in6.sin6_addr) == 1;
    memcpy(&out->storage, &in6, sizeof(in6));
    return numeric;
}

static bool
addr_from_unix(PyObject *object, rsl_addr *out)
{
    PyObject *bytes = NULL;
    if (PyUnicode_CheckExact(object)) {
        bytes = PyUnicode_EncodeFSDefault(object);
    } else if (PyBytes_CheckExact(object)) {
        bytes = Py_NewRef(object);
    }
    if (bytes == NULL) {
        PyErr_Clear();
        return false;
    }
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t length = (size_t)PyBytes_GET_SIZE(bytes);
    const char *path = PyBytes_AS_STRING(bytes);
    bool abstract = length > 0 && path[0] == '\0';
    bool fits =
        length > 0 && length + (abstract ? 0 : 1) <= sizeof(un.sun_path);
    if (fits) {
        memcpy(un.sun_path, path, length);
        memcpy(&out->storage, &un, sizeof(un));
        out->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path)
                                  + length + (abstract ? 0 : 1));
    }
    Py_DECREF(bytes);
    return fits;
}

bool
pyrsl_sockaddr_from_python(int family, PyObject *object, rsl_addr *out)
{
    switch (family) {
    case AF_INET:
    case AF_INET6:
        return addr_from_inet(family, object, out);
    case AF_UNIX:
        return addr_from_unix(object, out);
    default: /* a family is no enum */
        return false;
    }
}
