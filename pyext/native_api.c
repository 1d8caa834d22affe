/* SPDX-License-Identifier: Apache-2.0 */
/* native_api.c - the table behind rsloop_c.h, in a capsule.
 *
 * It is static: a native thread may call it when the module, the interpreter
 * and all that Python was are gone. */
#include "native.h"

const rsloop_api pyrsl_native_api = {
    .size = sizeof(rsloop_api),
    .abi_version = RSLOOP_ABI_VERSION,
    .version = RSL_VERSION,
    .get_current_locals = pyrsl_native_get_current_locals,
    .locals_new = pyrsl_native_locals_new,
    .locals_ref = pyrsl_native_locals_ref,
    .locals_unref = pyrsl_native_locals_unref,
    .locals_loop = pyrsl_native_locals_get_loop,
    .locals_context = pyrsl_native_locals_get_context,
    .future_into_py = pyrsl_native_future_into_py,
    .local_future_into_py = pyrsl_native_local_future_into_py,
    .blocking_into_py = pyrsl_native_blocking_into_py,
    .future_complete = pyrsl_native_future_complete,
    .future_fail = pyrsl_native_future_fail,
    .future_wake = pyrsl_native_future_wake,
    .future_status = pyrsl_native_future_status,
    .future_release = pyrsl_native_future_release,
    .into_future = pyrsl_native_into_future,
    .await_soon = pyrsl_native_await_soon,
    .await_cancel = pyrsl_native_await_cancel,
    .await_release = pyrsl_native_await_release,
    .call_soon = pyrsl_native_call_soon,
    .runtime_start = pyrsl_native_runtime_start,
    .runtime_post = pyrsl_native_runtime_post,
    .runtime_watch = pyrsl_native_runtime_watch,
    .runtime_timer = pyrsl_native_runtime_timer,
    .source_change = pyrsl_native_source_change,
    .source_close = pyrsl_native_source_close,
    .run_blocking = pyrsl_native_run_blocking,
};

int
pyrsl_native_types(PyObject *module, module_state *st)
{
    st->native_home = pyrsl_native_home_new();
    if (st->native_home == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (pyrsl_native_future_type(module, st) < 0) {
        return -1;
    }
    PyObject *capsule = PyCapsule_New((void *)(uintptr_t)&pyrsl_native_api,
                                      "rsloop_c._core._C_API", NULL);
    if (capsule == NULL) {
        return -1;
    }
    int status = PyModule_AddObjectRef(module, "_C_API", capsule);
    Py_DECREF(capsule);
    return status;
}
