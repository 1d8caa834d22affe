/* SPDX-License-Identifier: Apache-2.0 */
#include "waits.h"

#include <stdlib.h>

#include "native.h"
#include "work.h"

static int
waits_append(pyrsl_waits *waits, pyrsl_wait_place place)
{
    if (waits->count == waits->cap) {
        size_t cap = waits->cap == 0 ? 16 : waits->cap * 2;
        pyrsl_wait_place *places =
            realloc(waits->places, cap * sizeof(*places));
        if (places == NULL) {
            return -1;
        }
        waits->places = places;
        waits->cap = cap;
    }
    waits->places[waits->count++] = place;
    return 0;
}

int
pyrsl_waits_push(pyrsl_waits *waits, int fd, unsigned bit)
{
    return waits_append(waits, (pyrsl_wait_place){NULL, fd, bit});
}

void
pyrsl_waits_push_work(pyrsl_waits *waits, rsl_msg *msg)
{
    if (waits->late == NULL) {
        if (waits_append(waits, (pyrsl_wait_place){msg, -1, 0}) == 0) {
            return;
        }
        waits->late_end = &waits->late;
    }
    msg->next = NULL;
    *waits->late_end = msg;
    waits->late_end = &msg->next;
}

/* The first of the late ones, or NULL. */
static rsl_msg *
waits_take_late(pyrsl_waits *waits)
{
    rsl_msg *msg = waits->late;
    if (msg != NULL) {
        waits->late = msg->next;
    }
    return msg;
}

void
pyrsl_waits_drop(pyrsl_waits *waits)
{
    while (waits->count > 0) {
        rsl_msg *msg = waits->places[--waits->count].work;
        if (msg != NULL) {
            msg->discard(msg);
        }
    }
    rsl_msg *msg;
    while ((msg = waits_take_late(waits)) != NULL) {
        msg->discard(msg);
    }
}

int
pyrsl_waits_traverse(const pyrsl_waits *waits, visitproc visit, void *arg)
{
    for (size_t i = 0; i < waits->count; i++) {
        const rsl_msg *msg = waits->places[i].work;
        if (msg != NULL && rsl_tag_id(msg->event.tag) == PYRSL_MSG_WORK) {
            Py_VISIT(pyrsl_work_item_of(waits->places[i].work));
        }
    }
    for (rsl_msg *msg = waits->late; msg != NULL; msg = msg->next) {
        if (rsl_tag_id(msg->event.tag) == PYRSL_MSG_WORK) {
            Py_VISIT(pyrsl_work_item_of(msg));
        }
    }
    return 0;
}

/* Takes `future`. One that its task has cancelled stays as it is. */
static void
wait_end(LoopObject *loop, PyObject *future)
{
    PyObject *args[] = {future, Py_None};
    PyObject *none =
        PyObject_VectorcallMethod(loop->st->str_set_result, args, 2, NULL);
    if (none == NULL) {
        PyObject *exc = PyErr_GetRaisedException();
        PyObject *done = PyObject_CallMethodNoArgs(future, loop->st->str_done);
        if (done == Py_True) {
            Py_DECREF(exc);
        } else {
            PyErr_SetRaisedException(exc);
            PyErr_WriteUnraisable(future);
        }
        Py_XDECREF(done);
    }
    Py_XDECREF(none);
    Py_DECREF(future);
}

static void
wait_settle(LoopObject *loop, rsl_msg *msg)
{
    if (rsl_tag_id(msg->event.tag) == PYRSL_MSG_WORK) {
        pyrsl_work_item_settle(msg);
    } else if (pyrsl_native_deliver(loop, msg) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
}

void
pyrsl_waits_end(LoopObject *loop)
{
    for (size_t i = 0; i < loop->waits.count; i++) {
        pyrsl_wait_place place = loop->waits.places[i];
        if (place.work != NULL) {
            loop->waits.places[i].work = NULL; /* the collector looks here */
            wait_settle(loop, place.work);
            continue;
        }
        PyObject *future = pyrsl_loop_take_wait(loop, place.fd, place.bit);
        if (future != NULL) {
            wait_end(loop, future);
        }
    }
    loop->waits.count = 0;
    rsl_msg *msg;
    while ((msg = waits_take_late(&loop->waits)) != NULL) {
        wait_settle(loop, msg);
    }
}
