/* SPDX-License-Identifier: Apache-2.0 */
/* stream_names.c - the addresses of a stream's two ends. */
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "stream_impl.h"

PyObject *
pyrsl_stream_extra(StreamTransport *self)
{
    if (self->extra == NULL) {
        self->extra = PyDict_New();
    }
    return self->extra;
}

/* 1 when it is kept raw. */
static int
names_note_raw(stream_names *names, stream_name which, const rsl_addr *name)
{
    const struct sockaddr *address = rsl_addr_sockaddr(name);
    if (address->sa_family == AF_INET
        && name->length == sizeof(struct sockaddr_in)) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        names->ports[which] = v4.sin_port;
        names->v4[which] = v4.sin_addr;
    } else if (address->sa_family == AF_INET6
               && name->length == sizeof(struct sockaddr_in6)) {
        if (names->v6 == NULL) {
            names->v6 = calloc(2, sizeof(*names->v6));
        }
        if (names->v6 == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(&names->v6[which], address, sizeof(*names->v6));
    } else {
        return 0;
    }
    names->families[which] = address->sa_family;
    return 1;
}

static int
names_note(StreamTransport *self, const rsl_addr *name_of, stream_name which,
           PyObject *key)
{
    int raw = names_note_raw(&self->names, which, name_of);
    if (raw != 0) {
        return raw < 0 ? -1 : 0;
    }
    const struct sockaddr *address = rsl_addr_sockaddr(name_of);
    socklen_t length = name_of->length;
    PyObject *extra = pyrsl_stream_extra(self);
    PyObject *name = pyrsl_sockaddr_to_python(address, length);
    int status = -1;
    if (extra != NULL && name != NULL) {
        /* A peername that the caller gave comes from accept(). */
        status = PyDict_SetDefault(extra, key, name) == NULL ? -1 : 0;
    }
    Py_XDECREF(name);
    return status;
}

/* A socket that is not connected has no name: asyncio answers None. */
int
pyrsl_stream_note_names(StreamTransport *self, const rsl_addr *peer)
{
    rsl_addr name;
    rsl_err err;
    if (rsl_addr_local(self->fd, &name, &err) == RSL_OK
        && names_note(self, &name, STREAM_SOCKNAME, self->st->str_sockname)
               < 0) {
        return -1;
    }
    if (peer == NULL) {
        if (rsl_addr_peer(self->fd, &name, &err) != RSL_OK) {
            return 0;
        }
        peer = &name;
    }
    return names_note(self, peer, STREAM_PEERNAME, self->st->str_peername);
}

PyObject *
pyrsl_stream_name(const StreamTransport *self, stream_name which)
{
    const stream_names *names = &self->names;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v4 = {.sin_family = AF_INET,
                        .sin_port = names->ports[which],
                        .sin_addr = names->v4[which]}};
    if (names->families[which] == 0) {
        Py_RETURN_NONE;
    }
    if (names->families[which] == AF_INET) {
        return pyrsl_sockaddr_to_python(&address.any, sizeof(address.v4));
    }
    address.v6 = names->v6[which];
    return pyrsl_sockaddr_to_python(&address.any, sizeof(address.v6));
}

int
pyrsl_stream_copy_names(StreamTransport *self, const StreamTransport *from)
{
    self->names = from->names;
    if (from->names.v6 == NULL) {
        return 0;
    }
    size_t size = 2 * sizeof(*from->names.v6);
    self->names.v6 = malloc(size);
    if (self->names.v6 == NULL) {
        self->names = (stream_names){.v6 = NULL};
        PyErr_NoMemory();
        return -1;
    }
    memcpy(self->names.v6, from->names.v6, size);
    return 0;
}
