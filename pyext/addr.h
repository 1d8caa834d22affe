/* SPDX-License-Identifier: Apache-2.0 */
/* addr.h - socket addresses as the socket module shows them.
 *
 * Role:    sockaddr to Python, for extra info, accept(), look-ups and
 *          datagrams; and back, for those.
 * Thread:  any, GIL held.
 * Memory:  new references. */
#ifndef PYRSL_ADDR_H
#define PYRSL_ADDR_H

#include <stdbool.h>

#include <rsl/addr.h>

#include "pycompat.h"

/* What socket.getpeername() gives for this address: (host, port), (host, port,
 * flowinfo, scope_id), a path as str, an abstract name as bytes, '' for an
 * unnamed unix socket, None for no address at all. AF_VSOCK is (cid, port);
 * families that no stream transport has are (family, bytes). */
PyObject *
pyrsl_sockaddr_to_python(const struct sockaddr *address, socklen_t length);

/* The address that a socket of `family` (AF_INET, AF_INET6, AF_UNIX) would send
 * to for `object`, when that is of the plain kind: an exact tuple of a numeric
 * host and a port, with a flow and a scope for AF_INET6; an exact str or bytes
 * for AF_UNIX. False for everything else, without an exception: host names and
 * mistakes are the socket module's to resolve and to report. */
bool pyrsl_sockaddr_from_python(int family, PyObject *object, rsl_addr *out);

#endif
