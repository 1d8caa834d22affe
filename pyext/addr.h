/* SPDX-License-Identifier: Apache-2.0 */
/* addr.h - socket addresses as the socket module shows them.
 *
 * Role:    sockaddr to Python, for extra info, accept() and look-ups.
 * Thread:  any, GIL held.
 * Memory:  new references. */
#ifndef PYRSL_ADDR_H
#define PYRSL_ADDR_H

#include <rsl/addr.h>

#include "pycompat.h"

/* What socket.getpeername() gives for this address: (host, port), (host, port,
 * flowinfo, scope_id), a path as str, an abstract name as bytes, '' for an
 * unnamed unix socket, None for no address at all. AF_VSOCK is (cid, port);
 * families that no stream transport has are (family, bytes). */
PyObject *
pyrsl_sockaddr_to_python(const struct sockaddr *address, socklen_t length);

/* getsockname() and getpeername() of `fd`; None when it has no such address,
 * as asyncio's transports report it. */
PyObject *pyrsl_addr_sockname(int fd);
PyObject *pyrsl_addr_peername(int fd);

#endif
