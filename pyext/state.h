/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - what one import of the module knows.
 *
 * Role:    types, borrowed pieces of asyncio and interned names, one set per
 *          interpreter.
 * Thread:  written by module exec, read-only afterwards.
 * Memory:  owned by the module object; objects that need it cache a pointer and
 *          are kept alive by their heap type, which holds the module. */
#ifndef PYRSL_STATE_H
#define PYRSL_STATE_H

#include <stdbool.h>

#include "pycompat.h"

/* Interned attribute and keyword names: X(field, "text"). */
#define PYRSL_NAMES(X)                                  \
    X(context, "context")                               \
    X(loop, "loop")                                     \
    X(Task, "Task")                                     \
    X(Future, "Future")                                 \
    X(get_running_loop, "_get_running_loop")            \
    X(set_running_loop, "_set_running_loop")            \
    X(name, "name")                                     \
    X(time, "time")                                     \
    X(exception, "exception")                           \
    X(message, "message")                               \
    X(transport, "transport")                           \
    X(protocol, "protocol")                             \
    X(call_exception_handler, "call_exception_handler") \
    X(create_task, "create_task")                       \
    X(check_callback, "_check_callback")                \
    X(check_thread, "_check_thread")                    \
    X(on_handle_error, "_on_handle_error")              \
    X(on_slow_callback, "_on_slow_callback")            \
    X(on_fatal_error, "_on_fatal_error")                \
    X(on_accept_error, "_on_accept_error")              \
    X(on_accept_failed, "_on_accept_failed")            \
    X(accept_tls, "_accept_tls")                        \
    X(tls_serving, "_tls_serving")                      \
    X(run, "_run")                                      \
    X(cancelled_attr, "_cancelled")                     \
    X(attach, "_attach")                                \
    X(detach, "_detach")                                \
    X(clients, "_clients")                              \
    X(limits, "limits")                                 \
    X(sockets, "_sockets")                              \
    X(wakeup, "_wakeup")                                \
    X(fileno, "fileno")                                 \
    X(get_extra_info, "get_extra_info")                 \
    X(gettimeout, "gettimeout")                         \
    X(transports, "_transports")                        \
    X(data, "data")                                     \
    X(close, "close")                                   \
    X(connection_made, "connection_made")               \
    X(connection_lost, "connection_lost")               \
    X(data_received, "data_received")                   \
    X(eof_received, "eof_received")                     \
    X(get_buffer, "get_buffer")                         \
    X(buffer_updated, "buffer_updated")                 \
    X(pause_writing, "pause_writing")                   \
    X(resume_writing, "resume_writing")                 \
    X(set_result, "set_result")                         \
    X(set_exception, "set_exception")                   \
    X(done, "done")                                     \
    X(slow_callback_duration, "slow_callback_duration") \
    X(on_flow_error, "_on_flow_error")                  \
    X(on_accepted, "_on_accepted")                      \
    X(create_future, "create_future")                   \
    X(call_soon_threadsafe, "call_soon_threadsafe")     \
    X(start_reading, "_start_reading")                  \
    X(start_watching, "_start_watching")                \
    X(write_ready, "_write_ready")                      \
    X(pipe, "pipe")                                     \
    X(info, "info")                                     \
    X(call_connection_lost, "_call_connection_lost")    \
    X(release_socket, "_release_socket")                \
    X(abandon, "_abandon")                              \
    X(setblocking, "setblocking")                       \
    X(socket, "socket")                                 \
    X(sockname, "sockname")                             \
    X(peername, "peername")                             \
    X(bytes_read, "bytes_read")                         \
    X(bytes_written, "bytes_written")                   \
    X(flight_recorder, "flight_recorder")               \
    X(family, "family")                                 \
    X(type, "type")                                     \
    X(proto, "proto")                                   \
    X(debug, "debug")                                   \
    X(datagram_received, "datagram_received")           \
    X(error_received, "error_received")                 \
    X(send, "send")                                     \
    X(sendto, "sendto")                                 \
    X(read_ready, "_read_ready")                        \
    X(sendto_ready, "_sendto_ready")                    \
    X(warning, "warning")                               \
    X(cancelled, "cancelled")                           \
    X(get_debug, "get_debug")                           \
    X(pause_reading, "pause_reading")                   \
    X(resume_reading, "resume_reading")                 \
    X(feed_data, "feed_data")                           \
    X(key, "key")                                       \
    X(write, "write")                                   \
    X(writelines, "writelines")                         \
    X(is_closing, "is_closing")                         \
    X(drain_helper, "_drain_helper")                    \
    X(sleep, "sleep")                                   \
    X(submit, "submit")                                 \
    X(work_queue, "_work_queue")                        \
    X(start_worker, "_start_worker")                    \
    X(settle_work, "_settle_work")                      \
    X(cancel_work, "_cancel_work")                      \
    X(run_in_executor, "_run_in_executor")              \
    X(default_executor, "_default_executor")            \
    X(executor_shutdown_called, "_executor_shutdown_called")

typedef struct module_state {
    PyTypeObject *LoopType;
    PyTypeObject *HandleType;
    PyTypeObject *TimerHandleType;
    PyTypeObject *ThreadSafeHandleType;
    PyTypeObject *StreamTransportType;
    PyTypeObject *SSLStreamTransportType; /* the same, for TLS */
    PyTypeObject *ReadPipeTransportType;
    PyTypeObject *WritePipeTransportType;
    PyTypeObject *DatagramTransportType;
    PyTypeObject *FastReaderType; /* _core.StreamReader */
    PyTypeObject *FastWriterType;
    PyTypeObject *FastProtocolType;
    PyTypeObject *FastCallType; /* what their coroutine methods return */
    PyTypeObject *ClientsType;  /* NULL where asyncio.Server keeps its own */
    PyTypeObject *WorkItemType; /* a job of run_in_executor() */
    PyTypeObject *WorkQueueType;
    PyTypeObject *NativeFutureType; /* native_future_type.c */
    PyTypeObject *LimitsType;
    PyTypeObject *TLSEngineType;
    PyTypeObject *TLSSessionsType;
    PyTypeObject *TLSConfigType; /* NULL without mbedTLS */
    PyTypeObject *WatchdogType;

    /* Borrowed from asyncio and friends, strong references. */
    PyObject *Future;           /* asyncio.Future: what sock_*() waits for */
    PyObject *tasks_names;      /* of asyncio.tasks: Task can be replaced */
    PyObject *futures_names;    /* of asyncio.futures: Future as well */
    PyObject *BufferedProtocol; /* asyncio.BufferedProtocol */
    PyObject *Protocol;         /* asyncio.Protocol */
    PyObject *TransportSocket;  /* asyncio.trsock.TransportSocket */
    PyObject *BaseEventLoop;    /* asyncio.base_events.BaseEventLoop */
    PyObject *AsyncioHandle;    /* asyncio.Handle */
    PyObject *AsyncioTimerHandle;
    PyObject *sendfile_native, *sendfile_fallback; /* asyncio's modes */
    PyObject *FlowControlMixin;                    /* asyncio.transports' own */
    PyObject *ReadTransport;                       /* asyncio.ReadTransport */
    PyObject *BaseTransport;                       /* asyncio.BaseTransport */
    PyObject *get_extra_info; /* its method, as it was at import */
    PyObject *AsyncioDatagramTransport;
    PyObject *Server;          /* asyncio.Server */
    PyObject *server_attach;   /* its _attach(), as it was at import */
    PyObject *WeakSet;         /* weakref.WeakSet */
    PyObject *socket_type;     /* socket.socket */
    PyObject *raw_socket_type; /* _socket.socket, its base */
    PyObject *extract_stack;   /* format_helpers.extract_stack */
    PyObject *logger;          /* asyncio.log.logger */
    PyObject *AsyncioStreamReader;
    PyObject *AsyncioStreamReaderProtocol;
    PyObject *IncompleteReadError;
    PyObject *LimitOverrunError;
    PyObject *queue_Empty; /* queue.Empty */
    PyObject *len;         /* builtins.len */
    bool contexts_known;   /* contexts.c can compare them */
    /* Newer asyncios' writelines() drops what is written to a lost connection
     * before it looks at the pieces. */
    bool writelines_drops_first;
    PyObject *future_cancel; /* asyncio.Future.cancel */
    Py_ssize_t native_future_offset;
    struct pyrsl_native_home *native_home; /* native_port.c */
    PyObject *empty_tuple;
    PyObject *kwnames_loop;                /* ("loop",) */
    PyObject *set_result_unless_cancelled; /* asyncio.futures' helper */
    /* What loop_forever.c calls around a run. */
    PyObject *isfuture;
    PyObject *ensure_future;
    PyObject *run_until_complete_cb; /* asyncio.base_events' */
    PyObject *events_names;          /* of asyncio.events: _set_running_loop */
    PyObject *set_wakeup_fd;
    PyObject *get_asyncgen_hooks;
    PyObject *set_asyncgen_hooks;
    PyObject *get_origin_depth; /* sys.get_coroutine_origin_tracking_depth */
    PyObject *set_origin_depth;

#define PYRSL_NAME_FIELD(field, text) PyObject *str_##field;
    PYRSL_NAMES(PYRSL_NAME_FIELD)
#undef PYRSL_NAME_FIELD
} module_state;

/* What `name` stands for in a module's __dict__ now; a new reference, or NULL
 * with AttributeError. asyncio looks some names up for each call, and so do we:
 * programs replace them, such as by what is written in Python. */
PyObject *pyrsl_state_look_up(PyObject *names, PyObject *name);

extern struct PyModuleDef pyrsl_module_def;

/* The state of the module that made `type` or one of its bases. */
module_state *pyrsl_state_of_type(PyTypeObject *type);

/* Whether `object` is a StreamTransport, with TLS or without. */
static inline bool
pyrsl_is_stream(const module_state *st, PyObject *object)
{
    return Py_IS_TYPE(object, st->StreamTransportType)
           || Py_IS_TYPE(object, st->SSLStreamTransportType);
}

#endif
