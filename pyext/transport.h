/* SPDX-License-Identifier: Apache-2.0 */
/* transport.h - how the loop hands I/O to transports and listeners.
 *
 * Role:    the seam between loop_run.c and stream_transport.c,
 *          datagram_transport.c and accept.c.
 * Thread:  loop thread.
 * Memory:  an event's payload is taken by the function that is given it. */
#ifndef PYRSL_TRANSPORT_H
#define PYRSL_TRANSPORT_H

#include "loop.h"

extern PyType_Spec pyrsl_stream_transport_spec;
extern PyType_Spec pyrsl_ssl_transport_spec;

/* Give one conn event (READABLE, DATA, EOF, READ_ERROR, WRITABLE, SENT) to its
 * transport. 0, or -1 with an exception that must leave run_forever()
 * (SystemExit, KeyboardInterrupt, or whatever an exception handler raises). */
int pyrsl_stream_event(LoopObject *self, rsl_event event);

/* connection_made() of a new transport, which reads from then on; as
 * pyrsl_stream_event(). */
int pyrsl_stream_begin(LoopObject *self, PyObject *transport);

/* The same for ACCEPTABLE, ACCEPT_ERROR. */
int pyrsl_accept_event(LoopObject *self, rsl_event event);

/* Free what an undelivered event owns (chunks). */
void pyrsl_event_discard(LoopObject *self, rsl_event event);

/* hooks for rsl_config */
void pyrsl_stream_loan_return(void *loan);
void pyrsl_stream_conn_closed(void *owner);

/* Loop methods: _make_socket_transport, _make_tls_transport, _start_serving. */
extern PyMethodDef pyrsl_stream_loop_methods[];
extern PyMethodDef pyrsl_stream_tls_loop_methods[];
extern PyMethodDef pyrsl_stream_limits_loop_methods[];
extern PyMethodDef pyrsl_accept_loop_methods[];

/* If `fd` is a listener of this loop, stop it: 1, else 0. Called by
 * _remove_reader(), because CPython's _stop_serving() calls that. */
int pyrsl_accept_stop_fd(LoopObject *self, int fd);

/* --- Datagrams --- */

/* Give a DGRAM event to its transport; as pyrsl_stream_event(). */
int pyrsl_datagram_event(LoopObject *self, rsl_event event);

/* Whom the event is for: a new reference, None when that is gone. */
PyObject *pyrsl_datagram_event_owner(LoopObject *self, rsl_event event);

/* Loop method: _open_datagram_transport. */
extern PyMethodDef pyrsl_datagram_loop_methods[];

/* Make st->DatagramTransportType; -1 with ImportError for an asyncio whose
 * layout is unknown. */
int pyrsl_datagram_type(PyObject *module, module_state *st);

/* Finish st->StreamTransportType: class attributes, and a comparison of
 * asyncio's layout with ours; -1 with ImportError. */
int pyrsl_stream_type_init(module_state *st);

/* Make the two pipe transports' types; -1 with ImportError where asyncio's
 * layout is unknown. */
int pyrsl_pipe_types(PyObject *module, module_state *st);

/* Loop methods: _make_read_pipe_transport, _make_write_pipe_transport. */
extern PyMethodDef pyrsl_pipe_loop_methods[];

/* --- transport_table.c: the loop's transports by fd --- */

/* Borrowed, or NULL. */
PyObject *pyrsl_transport_at(const LoopObject *loop, int fd);

/* -1 with RuntimeError when the fd of `sock` has a transport. */
int pyrsl_transport_check(const LoopObject *loop, int fd, PyObject *sock);

/* Enter and leave; the table only borrows. */
int pyrsl_transport_put(LoopObject *loop, int fd, PyObject *transport);
void pyrsl_transport_drop(LoopObject *loop, int fd, PyObject *transport);

/* Somebody closed the fd of the transport that is there behind its back, and
 * the kernel has given the number to a new connection. */
void pyrsl_transport_evict(LoopObject *loop, int fd);

/* A loop that is being closed or collected: close its listeners, and part its
 * transports from the runtime; as asyncio's, they keep their sockets. */
void pyrsl_transports_close_all(LoopObject *loop);

/* What the loop keeps alive: transports that read or wait to write, and what
 * its listeners call. */
int pyrsl_transports_traverse(LoopObject *loop, visitproc visit, void *arg);

/* Loop method: _transport_for_fd. */
extern PyMethodDef pyrsl_transport_loop_methods[];

/* --- transport_thread.c: what other threads call --- */

/* Call transport.name(*args) on the thread that runs `loop`, which is not this
 * one: at most two arguments, None for NULL. Returns None; NULL with
 * RuntimeError when the loop is closed, or without a GIL. */
PyObject *pyrsl_transport_hand_over(PyObject *transport, LoopObject *loop,
                                    const char *name, PyObject *const *args,
                                    Py_ssize_t count);

/* The same for transport.name(data), or (data, addr) unless that is NULL; what
 * can be changed is copied. */
PyObject *pyrsl_transport_hand_over_data(PyObject *transport, LoopObject *loop,
                                         const char *name, PyObject *data,
                                         PyObject *addr);

/* The same for close() and abort(), which asyncio refuses in debug mode. */
PyObject *pyrsl_transport_hand_over_end(PyObject *transport, LoopObject *loop,
                                        const char *name);

/* --- transport.c: what all kinds of transport share --- */

/* At most so much is read at once; asyncio's max_size. */
#define PYRSL_READ_MAX (256 * 1024)

/* PYRSL_READ_MAX bytes of the loop's, where reads land before they are copied
 * to an object of their size. NULL without an exception when memory is out. */
uint8_t *pyrsl_transport_scratch(LoopObject *loop);

/* Leave a context that was entered; the exception that goes with a `status` of
 * -1 survives. Returns `status`, or -1. */
int pyrsl_context_leave(PyObject *context, int status);

/* loop.call_soon(object.name, *args) */
int pyrsl_transport_call_soon(LoopObject *loop, PyObject *object,
                              PyObject *name, PyObject *args);

/* asyncio's order: connection_made(), then transport.start_name() unless that
 * is NULL, then the waiter, if it is neither NULL nor None. */
int pyrsl_transport_announce(LoopObject *loop, PyObject *transport,
                             PyObject *protocol, PyObject *start_name,
                             PyObject *waiter);

/* The last of these: wake the waiter in a callback of its own. */
int pyrsl_transport_wake_waiter(LoopObject *loop, PyObject *waiter);

/* loop.call_soon(transport._call_connection_lost, exc); -1 too for what
 * call_soon() refuses. */
int pyrsl_transport_schedule_lost(LoopObject *loop, PyObject *transport,
                                  PyObject *exc);

/* Whether that failed for want of memory: the transport may be ended again. */
bool pyrsl_transport_may_end_again(void);

/* protocol.connection_lost(exc), which may drop the transport's reference to
 * `protocol`. A new reference to what it raised, or NULL. */
PyObject *pyrsl_transport_tell_lost(const module_state *st, PyObject *protocol,
                                    PyObject *exc);

/* In debug mode logger.`level`(format, transport). */
int pyrsl_transport_log(const LoopObject *loop, PyObject *transport,
                        PyObject *level, const char *format);

/* For finalizers: the ResourceWarning of asyncio's transports. */
void pyrsl_transport_warn_unclosed(PyObject *transport);

/* Collected on a thread that is not the loop's: the runtime may be at work just
 * now. True when the loop will close it; that keeps it alive till then. */
bool pyrsl_transport_abandon_later(LoopObject *loop, PyObject *transport);

/* tp_dealloc of a type with a finalizer and tp_clear. `weakrefs`: its list. */
void pyrsl_transport_dealloc(PyObject *transport, PyObject *const *weakrefs);

/* Add the methods of NULL-terminated tables; a NULL table ends the list. */
int pyrsl_type_add_methods(PyTypeObject *type, PyMethodDef *const *tables);

#endif
