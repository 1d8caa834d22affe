/* SPDX-License-Identifier: Apache-2.0 */
#include "flow.h"

#include "args.h"
#include "errors.h"
#include "transport.h"

void
pyrsl_flow_init(pyrsl_flow *flow)
{
    pyrsl_flow_set_high(flow, PYRSL_FLOW_HIGH);
    flow->paused = false;
}

void
pyrsl_flow_set_high(pyrsl_flow *flow, size_t high)
{
    flow->high = high;
    flow->low = high / 4;
}

static PyObject *
flow_default_high(PyObject *low, size_t high)
{
    if (low == Py_None) {
        return PyLong_FromSize_t(high);
    }
    PyObject *four = PyLong_FromLong(4);
    if (four == NULL) {
        return NULL;
    }
    PyObject *times = PyNumber_Multiply(four, low);
    Py_DECREF(four);
    return times;
}

static PyObject *
flow_default_low(PyObject *high)
{
    PyObject *four = PyLong_FromLong(4);
    if (four == NULL) {
        return NULL;
    }
    PyObject *low = PyNumber_FloorDivide(high, four);
    Py_DECREF(four);
    return low;
}

/* `high >= low >= 0`, as Python compares them. */
static int
flow_check(PyObject *high, PyObject *low)
{
    PyObject *zero = PyLong_FromLong(0);
    if (zero == NULL) {
        return -1;
    }
    int fits = PyObject_RichCompareBool(high, low, Py_GE);
    if (fits > 0) {
        fits = PyObject_RichCompareBool(low, zero, Py_GE);
    }
    Py_DECREF(zero);
    if (fits == 0) {
        PyErr_Format(PyExc_ValueError,
                     "high (%R) must be >= low (%R) must be >= 0", high, low);
    }
    return fits > 0 ? 0 : -1;
}

/* Sizes are whole: rounding a limit down changes no comparison with them. What
 * is larger than memory is as good as no limit. */
static int
flow_size(PyObject *number, size_t *out)
{
    PyObject *whole = PyNumber_Long(number);
    if (whole != NULL) {
        *out = PyLong_AsSize_t(whole);
        Py_DECREF(whole);
    }
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return -1;
        }
        PyErr_Clear();
        *out = SIZE_MAX;
    }
    return 0;
}

int
pyrsl_flow_set_limits(pyrsl_flow *flow, PyObject *high, PyObject *low,
                      size_t default_high)
{
    low = Py_NewRef(low == NULL ? Py_None : low);
    high = high == NULL || high == Py_None
               ? flow_default_high(low, default_high)
               : Py_NewRef(high);
    if (high != NULL && low == Py_None) {
        Py_SETREF(low, flow_default_low(high));
    }
    size_t high_size = 0, low_size = 0; /* for a compiler that cannot tell */
    int status = -1;
    if (high != NULL && low != NULL && flow_check(high, low) == 0
        && flow_size(high, &high_size) == 0 && flow_size(low, &low_size) == 0) {
        flow->high = high_size;
        flow->low = low_size;
        status = 0;
    }
    Py_XDECREF(high);
    Py_XDECREF(low);
    return status;
}

static const char *const limit_names[] = {"high", "low", NULL};
static const pyrsl_params flow_params = {"set_write_buffer_limits", limit_names,
                                         2, 0};
const pyrsl_params pyrsl_flow_read_params = {"set_read_buffer_limits",
                                             limit_names, 2, 0};

int
pyrsl_flow_method(pyrsl_flow *flow, PyObject *transport, LoopObject *loop,
                  size_t default_high, const pyrsl_fastcall *call)
{
    PyObject *bound[2];
    if (pyrsl_args_bind(&flow_params, call->args, call->nargs, call->kwnames,
                        bound)
            < 0
        || pyrsl_loop_check_thread(loop) < 0
        || pyrsl_flow_set_limits(flow, bound[0], bound[1], default_high) < 0) {
        return -1;
    }
    if (!pyrsl_loop_is_foreign(loop)) {
        return 1;
    }
    PyObject *none = pyrsl_transport_hand_over(transport, loop,
                                               flow_params.function, bound, 2);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

PyObject *
pyrsl_flow_limits(const pyrsl_flow *flow)
{
    PyObject *low = PyLong_FromSize_t(flow->low);
    PyObject *high = PyLong_FromSize_t(flow->high);
    PyObject *limits = NULL;
    if (low != NULL && high != NULL) {
        limits = PyTuple_Pack(2, low, high);
    }
    Py_XDECREF(low);
    Py_XDECREF(high);
    return limits;
}

/* The protocol's exception becomes a report. */
static int
flow_failed(LoopObject *loop, PyObject *transport, PyObject *protocol,
            const char *message)
{
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *text = PyUnicode_FromString(message);
    PyObject *result = NULL;
    if (text != NULL) {
        result = PyObject_CallMethodObjArgs(
            (PyObject *)loop, loop->st->str_on_flow_error, transport, protocol,
            exc, text, NULL);
        Py_DECREF(text);
    }
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
flow_tell(LoopObject *loop, PyObject *transport, PyObject *protocol, bool pause)
{
    PyObject *name =
        pause ? loop->st->str_pause_writing : loop->st->str_resume_writing;
    /* The call may replace the transport's protocol. */
    Py_INCREF(protocol);
    int status = 0;
    PyObject *result = PyObject_CallMethodNoArgs(protocol, name);
    if (result == NULL) {
        status = flow_failed(loop, transport, protocol,
                             pause ? "protocol.pause_writing() failed"
                                   : "protocol.resume_writing() failed");
    }
    Py_XDECREF(result);
    Py_DECREF(protocol);
    return status;
}

int
pyrsl_flow_grown(pyrsl_flow *flow, LoopObject *loop, PyObject *transport,
                 PyObject *protocol, size_t size)
{
    if (size <= flow->high || flow->paused) {
        return 0;
    }
    flow->paused = true;
    return flow_tell(loop, transport, protocol, true);
}

int
pyrsl_flow_shrunk(pyrsl_flow *flow, LoopObject *loop, PyObject *transport,
                  PyObject *protocol, size_t size)
{
    if (!flow->paused || size > flow->low) {
        return 0;
    }
    flow->paused = false;
    return flow_tell(loop, transport, protocol, false);
}
