/* SPDX-License-Identifier: Apache-2.0 */
/* limits_handshakes.c - how many server handshakes a loop has at once. */
#include "acceptor.h"
#include "limits.h"

size_t
pyrsl_limits_handshake_room(const LimitsObject *self, size_t most)
{
    double room =
        self->values.max_pending_tls_handshakes - (double)self->handshakes;
    room = self->handshakes_full || !(room > 0) ? 0 : room;
    return room < (double)most ? (size_t)room : most;
}

void
pyrsl_handshake_began(LoopObject *loop)
{
    LimitsObject *self = pyrsl_limits_of_loop(loop);
    self->handshakes++;
    if ((double)self->handshakes >= self->values.max_pending_tls_handshakes) {
        self->handshakes_full = true;
    }
}

/* An eighth has to end before accepting goes on: each change is a system
 * call. */
int
pyrsl_handshake_ended(LoopObject *loop)
{
    LimitsObject *self = pyrsl_limits_of_loop(loop);
    double max = self->values.max_pending_tls_handshakes;
    self->handshakes--;
    if (!self->handshakes_full
        || (double)self->handshakes > max - (max < 8 ? 1 : max / 8)) {
        return 0;
    }
    self->handshakes_full = false;
    return atomic_load(&loop->closed) ? 0 : pyrsl_acceptors_update(loop);
}

/* --- Of asyncio's sslproto --- */

PyDoc_STRVAR(loop_handshake_ended_doc,
"_handshake_ended($self, /)\n--\n\n"
"A server's TLS handshake is over: once for each _accept_tls().");

static PyObject *
loop_handshake_ended(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_handshake_ended(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(loop_handshakes_crowd_doc,
"_handshakes_crowd($self, /)\n--\n\n"
"Whether a client waits at a TLS server for a handshake of others to end.");

static PyObject *
loop_handshakes_crowd(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(pyrsl_limits_of_loop(self)->handshakes_full
                           && pyrsl_acceptors_are_called(self));
}

PyMethodDef pyrsl_handshakes_loop_methods[] = {
    {"_handshake_ended", (PyCFunction)(void (*)(void))loop_handshake_ended,
     METH_NOARGS, loop_handshake_ended_doc},
    {"_handshakes_crowd", (PyCFunction)(void (*)(void))loop_handshakes_crowd,
     METH_NOARGS, loop_handshakes_crowd_doc},
    {NULL, NULL, 0, NULL},
};
