/* SPDX-License-Identifier: Apache-2.0 */
/* clients.h - the open connections of an asyncio.Server.
 *
 * Role:    stands where asyncio.Server (3.13 and later) keeps a WeakSet of its
 *          transports. A StreamTransport belongs to it by its `server` field,
 *          which costs no weak reference, no table entry and no Python call;
 *          whatever else is added goes to the WeakSet.
 * Thread:  loop thread, as the Server. Free-threaded builds keep the WeakSet.
 * Memory:  a GC object that the Server owns; transports have references. */
#ifndef PYRSL_CLIENTS_H
#define PYRSL_CLIENTS_H

#include "loop.h"

/* Make st->ClientsType; -1 with an exception. */
int pyrsl_clients_type(PyObject *module, module_state *st);

/* Replace the empty WeakSet of `server`; nothing for other servers. -1 with an
 * exception. */
int pyrsl_clients_install(LoopObject *loop, PyObject *server);

/* server._attach(transport). What the transport's `server` is to be, a new
 * reference: the clients it has joined, or `server`. NULL with an exception. */
PyObject *pyrsl_clients_attach(const module_state *st, PyObject *server,
                               PyObject *transport);

/* server._detach(transport) for what attach gave. Takes `server`. */
int pyrsl_clients_detach(const module_state *st, PyObject *server,
                         PyObject *transport);

/* A transport is collected without having been detached: nobody is woken, as
 * by a weak reference that dies. Takes `server`, or NULL. */
void pyrsl_clients_forget(const module_state *st, PyObject *server);

/* The asyncio.Server of what attach gave; borrowed. */
PyObject *pyrsl_clients_server(const module_state *st, PyObject *server);

#endif
