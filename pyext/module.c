/* SPDX-License-Identifier: Apache-2.0 */
/* module.c - rsloop_c._core: multi-phase init, one state per interpreter. */
#include <stddef.h>

#include <rsl/runtime.h>

#include "clients.h"
#include "fast_streams.h"
#include "handle.h"
#include "inotify.h"
#include "limits.h"
#include "loop.h"
#include "native.h"
#include "profile.h"
#include "tls_engine.h"
#include "transport.h"
#include "watchdog.h"
#include "work.h"

#ifndef RSL_VERSION
#error "the build must define RSL_VERSION"
#endif
#ifndef RSL_LIBURING_VERSION
#define RSL_LIBURING_VERSION "unknown"
#endif
#ifndef RSL_MBEDTLS_VERSION
#define RSL_MBEDTLS_VERSION "unknown"
#endif
#ifndef RSL_BUILD_TYPE
#define RSL_BUILD_TYPE "unknown"
#endif

typedef struct asyncio_piece {
    size_t offset;
    const char *module;
    const char *name;
} asyncio_piece;

#define PIECE(field, module, name) {offsetof(module_state, field), module, name}

static const asyncio_piece asyncio_pieces[] = {
    PIECE(Future, "asyncio", "Future"),
    PIECE(tasks_names, "asyncio.tasks", "__dict__"),
    PIECE(futures_names, "asyncio.futures", "__dict__"),
    PIECE(BufferedProtocol, "asyncio", "BufferedProtocol"),
    PIECE(Protocol, "asyncio", "Protocol"),
    PIECE(TransportSocket, "asyncio.trsock", "TransportSocket"),
    PIECE(BaseEventLoop, "asyncio.base_events", "BaseEventLoop"),
    PIECE(AsyncioHandle, "asyncio", "Handle"),
    PIECE(AsyncioTimerHandle, "asyncio", "TimerHandle"),
    PIECE(FlowControlMixin, "asyncio.transports", "_FlowControlMixin"),
    PIECE(ReadTransport, "asyncio", "ReadTransport"),
    PIECE(BaseTransport, "asyncio", "BaseTransport"),
    PIECE(AsyncioDatagramTransport, "asyncio", "DatagramTransport"),
    PIECE(Server, "asyncio", "Server"),
    PIECE(WeakSet, "weakref", "WeakSet"),
    PIECE(socket_type, "socket", "socket"),
    PIECE(raw_socket_type, "_socket", "socket"),
    PIECE(extract_stack, "asyncio.format_helpers", "extract_stack"),
    PIECE(logger, "asyncio.log", "logger"),
    PIECE(AsyncioStreamReader, "asyncio", "StreamReader"),
    PIECE(AsyncioStreamReaderProtocol, "asyncio", "StreamReaderProtocol"),
    PIECE(IncompleteReadError, "asyncio", "IncompleteReadError"),
    PIECE(LimitOverrunError, "asyncio", "LimitOverrunError"),
    PIECE(queue_Empty, "queue", "Empty"),
    PIECE(len, "builtins", "len"),
    PIECE(set_result_unless_cancelled, "asyncio.futures",
          "_set_result_unless_cancelled"),
    PIECE(isfuture, "asyncio", "isfuture"),
    PIECE(ensure_future, "asyncio", "ensure_future"),
    PIECE(run_until_complete_cb, "asyncio.base_events",
          "_run_until_complete_cb"),
    PIECE(events_names, "asyncio.events", "__dict__"),
    PIECE(set_wakeup_fd, "signal", "set_wakeup_fd"),
    PIECE(get_asyncgen_hooks, "sys", "get_asyncgen_hooks"),
    PIECE(set_asyncgen_hooks, "sys", "set_asyncgen_hooks"),
    PIECE(get_origin_depth, "sys", "get_coroutine_origin_tracking_depth"),
    PIECE(set_origin_depth, "sys", "set_coroutine_origin_tracking_depth"),
};

static int
state_import(module_state *st)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(asyncio_pieces); i++) {
        const asyncio_piece *piece = &asyncio_pieces[i];
        PyObject *module = PyImport_ImportModule(piece->module);
        if (module == NULL) {
            return -1;
        }
        PyObject *value = PyObject_GetAttrString(module, piece->name);
        Py_DECREF(module);
        if (value == NULL) {
            return -1;
        }
        *(PyObject **)(void *)((char *)st + piece->offset) = value;
    }
    return 0;
}

PyObject *
pyrsl_state_look_up(PyObject *names, PyObject *name)
{
    PyObject *value;
    if (PyDict_GetItemRef(names, name, &value) == 0) {
        PyErr_Format(PyExc_AttributeError, "asyncio has no %U", name);
    }
    return value;
}

static int
state_names(module_state *st)
{
#define PYRSL_INTERN(field, text)                       \
    st->str_##field = PyUnicode_InternFromString(text); \
    if (st->str_##field == NULL) {                      \
        return -1;                                      \
    }
    PYRSL_NAMES(PYRSL_INTERN)
#undef PYRSL_INTERN
    st->empty_tuple = PyTuple_New(0);
    st->kwnames_loop = PyTuple_Pack(1, st->str_loop);
    st->get_extra_info =
        PyObject_GetAttr(st->BaseTransport, st->str_get_extra_info);
    return st->empty_tuple == NULL || st->kwnames_loop == NULL
                   || st->get_extra_info == NULL
               ? -1
               : 0;
}

static PyTypeObject *
module_type(PyObject *module, PyType_Spec *spec, PyObject *bases)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, bases);
}

/* Each instance counts a reference to its type, for which the threads of two
 * loops would wait on one cache line. CPython counts those by thread since
 * 3.14; 3.13 makes the classes of Python immortal once a thread is started, and
 * ours become so here: the overflow is the public way. */
static void
module_share_types(module_state *st)
{
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030E0000
    PyTypeObject *const types[] = {
        st->HandleType,          st->TimerHandleType, st->ThreadSafeHandleType,
        st->StreamTransportType, st->FastCallType,    st->WorkItemType,
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        Py_SET_REFCNT((PyObject *)types[i], (Py_ssize_t)UINT32_MAX + 1);
    }
#else
    (void)st;
#endif
}

static int
module_types(PyObject *module, module_state *st)
{
    st->LoopType = module_type(module, &pyrsl_loop_spec, NULL);
    if (st->LoopType == NULL || pyrsl_loop_add_methods(st->LoopType) < 0
        || pyrsl_contexts_probe(st) < 0 || pyrsl_handle_types(module, st) < 0) {
        return -1;
    }
    st->StreamTransportType = pyrsl_type_on(
        module, &pyrsl_stream_transport_spec, st->FlowControlMixin);
    st->SSLStreamTransportType =
        pyrsl_type_on(module, &pyrsl_ssl_transport_spec, st->FlowControlMixin);
    if (st->StreamTransportType == NULL || st->SSLStreamTransportType == NULL
        || pyrsl_stream_type_init(st) < 0 || pyrsl_pipe_types(module, st) < 0
        || pyrsl_datagram_type(module, st) < 0
        || pyrsl_fast_types(module, st) < 0
        || pyrsl_clients_type(module, st) < 0
        || pyrsl_limits_type(module, st) < 0 || pyrsl_work_types(module, st) < 0
        || pyrsl_native_types(module, st) < 0 || pyrsl_tls_types(module, st) < 0
        || pyrsl_watchdog_type(module, st) < 0) {
        return -1;
    }
    module_share_types(st);
    return PyModule_AddType(module, st->LoopType) < 0
                   || PyModule_AddType(module, st->HandleType) < 0
                   || PyModule_AddType(module, st->TimerHandleType) < 0
                   || PyModule_AddType(module, st->StreamTransportType) < 0
                   || PyModule_AddType(module, st->SSLStreamTransportType) < 0
                   || PyModule_AddType(module, st->ReadPipeTransportType) < 0
                   || PyModule_AddType(module, st->WritePipeTransportType) < 0
                   || PyModule_AddType(module, st->DatagramTransportType) < 0
                   || PyModule_AddType(module, st->LimitsType) < 0
               ? -1
               : 0;
}

static int
module_exec(PyObject *module)
{
    module_state *st = PyModule_GetState(module);
    if (state_import(st) < 0 || state_names(st) < 0
        || module_types(module, st) < 0
        || PyModule_AddFunctions(module, pyrsl_inotify_functions) < 0
        || PyModule_AddFunctions(module, pyrsl_profile_functions) < 0) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "__version__", RSL_VERSION);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *st = PyModule_GetState(module);
    Py_VISIT(st->LoopType);
    Py_VISIT(st->HandleType);
    Py_VISIT(st->TimerHandleType);
    Py_VISIT(st->ThreadSafeHandleType);
    Py_VISIT(st->StreamTransportType);
    Py_VISIT(st->SSLStreamTransportType);
    Py_VISIT(st->ReadPipeTransportType);
    Py_VISIT(st->WritePipeTransportType);
    Py_VISIT(st->DatagramTransportType);
    Py_VISIT(st->FastReaderType);
    Py_VISIT(st->FastWriterType);
    Py_VISIT(st->FastProtocolType);
    Py_VISIT(st->FastCallType);
    Py_VISIT(st->ClientsType);
    Py_VISIT(st->WorkItemType);
    Py_VISIT(st->WorkQueueType);
    Py_VISIT(st->NativeFutureType);
    Py_VISIT(st->LimitsType);
    Py_VISIT(st->TLSEngineType);
    Py_VISIT(st->TLSSessionsType);
    Py_VISIT(st->TLSConfigType);
    Py_VISIT(st->WatchdogType);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(asyncio_pieces); i++) {
        Py_VISIT(*(PyObject **)(void *)((char *)st + asyncio_pieces[i].offset));
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    module_state *st = PyModule_GetState(module);
    Py_CLEAR(st->LoopType);
    Py_CLEAR(st->HandleType);
    Py_CLEAR(st->TimerHandleType);
    Py_CLEAR(st->ThreadSafeHandleType);
    Py_CLEAR(st->StreamTransportType);
    Py_CLEAR(st->SSLStreamTransportType);
    Py_CLEAR(st->ReadPipeTransportType);
    Py_CLEAR(st->WritePipeTransportType);
    Py_CLEAR(st->DatagramTransportType);
    Py_CLEAR(st->FastReaderType);
    Py_CLEAR(st->FastWriterType);
    Py_CLEAR(st->FastProtocolType);
    Py_CLEAR(st->FastCallType);
    Py_CLEAR(st->ClientsType);
    Py_CLEAR(st->WorkItemType);
    Py_CLEAR(st->WorkQueueType);
    Py_CLEAR(st->NativeFutureType);
    Py_CLEAR(st->future_cancel);
    Py_CLEAR(st->LimitsType);
    Py_CLEAR(st->TLSEngineType);
    Py_CLEAR(st->TLSSessionsType);
    Py_CLEAR(st->TLSConfigType);
    Py_CLEAR(st->WatchdogType);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(asyncio_pieces); i++) {
        Py_CLEAR(*(PyObject **)(void *)((char *)st + asyncio_pieces[i].offset));
    }
#define PYRSL_CLEAR_NAME(field, text) Py_CLEAR(st->str_##field);
    PYRSL_NAMES(PYRSL_CLEAR_NAME)
#undef PYRSL_CLEAR_NAME
    Py_CLEAR(st->empty_tuple);
    Py_CLEAR(st->kwnames_loop);
    Py_CLEAR(st->get_extra_info);
    Py_CLEAR(st->server_attach);
    return 0;
}

static void
module_free(void *module)
{
    module_state *st = PyModule_GetState(module);
    (void)module_clear(module);
    if (st != NULL) {
        pyrsl_native_home_free(st->native_home);
        st->native_home = NULL;
    }
}

PyDoc_STRVAR(build_info_doc,
"build_info($module, /)\n--\n\n"
"How this extension was built: versions of what went into it, as a dict.");

static PyObject *
build_info(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
#ifdef Py_GIL_DISABLED
    PyObject *free_threaded = Py_True;
#else
    PyObject *free_threaded = Py_False;
#endif
    return Py_BuildValue("{s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:(ss)}",
                         "version", RSL_VERSION, "python", PY_VERSION,
                         "compiler", __VERSION__, "build_type", RSL_BUILD_TYPE,
                         "liburing", RSL_LIBURING_VERSION, "mbedtls_headers",
                         RSL_MBEDTLS_VERSION, "free_threaded", free_threaded,
                         "backends", "io_uring", "epoll");
}

PyDoc_STRVAR(stats_total_doc,
"stats_total($module, /)\n--\n\n"
"Sums of Loop.stats() over all loops that this process has or had.");

PyDoc_STRVAR(probe_doc,
"probe($module, /)\n--\n\n"
"Which backend a new loop would use, and why, as a dict.");

static PyMethodDef module_methods[] = {
    {"build_info", build_info, METH_NOARGS, build_info_doc},
    {"probe", pyrsl_probe, METH_NOARGS, probe_doc},
    {"stats_total", pyrsl_stats_total, METH_NOARGS, stats_total_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

PyDoc_STRVAR(module_doc,
"The C core of rsloop_c. Use the package rsloop_c; this is its inside.");

struct PyModuleDef pyrsl_module_def = {
    PyModuleDef_HEAD_INIT,         .m_name = "rsloop_c._core",
    .m_doc = module_doc,           .m_size = sizeof(module_state),
    .m_methods = module_methods,   .m_slots = module_slots,
    .m_traverse = module_traverse, .m_clear = module_clear,
    .m_free = module_free,
};

module_state *
pyrsl_state_of_type(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030B0000
    PyObject *module = PyType_GetModuleByDef(type, &pyrsl_module_def);
    return module == NULL ? NULL : PyModule_GetState(module);
#else
    /* PyType_GetModuleByDef() of 3.11, over the public MRO. */
    PyObject *mro = type->tp_mro;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        if ((base->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0) {
            continue;
        }
        PyObject *module = ((PyHeapTypeObject *)base)->ht_module;
        if (module != NULL && PyModule_GetDef(module) == &pyrsl_module_def) {
            return PyModule_GetState(module);
        }
    }
    PyErr_SetString(PyExc_TypeError, "not a type of rsloop_c._core");
    return NULL;
#endif
}

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&pyrsl_module_def);
}
