/* SPDX-License-Identifier: Apache-2.0 */
#include "addr.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

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

PyObject *
pyrsl_addr_sockname(int fd)
{
    rsl_addr addr;
    rsl_err err;
    if (rsl_addr_local(fd, &addr, &err) != RSL_OK) {
        Py_RETURN_NONE;
    }
    return pyrsl_sockaddr_to_python(rsl_addr_sockaddr(&addr), addr.length);
}

PyObject *
pyrsl_addr_peername(int fd)
{
    rsl_addr addr;
    rsl_err err;
    if (rsl_addr_peer(fd, &addr, &err) != RSL_OK) {
        Py_RETURN_NONE;
    }
    return pyrsl_sockaddr_to_python(rsl_addr_sockaddr(&addr), addr.length);
}
