/* SPDX-License-Identifier: Apache-2.0 */
/* handle_new.c - making Handles, reusing dead ones, and their arguments.
 *
 * Up to HANDLE_ARGS_MAX arguments live in the handle itself, for a tuple costs
 * as much as the rest of call_soon(). Who asks for _args gets a tuple, which
 * the handle has from then on. Without a GIL a handle can be cancelled while it
 * runs, and a tuple is what a run can hold on to. */
#include <string.h>

#include "handle.h"

static inline void
handle_drop_args(HandleObject *self, handle_tail *tail)
{
    while (tail->count > 0) {
        Py_DECREF(tail->args[--tail->count]);
    }
    Py_CLEAR(self->args);
}

/* --- Reuse --- */

#ifdef Py_GIL_DISABLED
/* Any thread may drop the last reference: free-threaded builds do without. */
static HandleObject *
handle_reuse(LoopObject *Py_UNUSED(loop), PyTypeObject *Py_UNUSED(type))
{
    return NULL;
}

bool
pyrsl_handle_keep(LoopObject *Py_UNUSED(loop), HandleObject *Py_UNUSED(self))
{
    return false;
}
#else
static loop_free_handles *
handle_list(LoopObject *loop, PyTypeObject *type)
{
    return type == loop->st->HandleType             ? &loop->free_handles
           : type == loop->st->ThreadSafeHandleType ? &loop->free_threadsafe
                                                    : &loop->free_timers;
}

/* Kept ones have one reference, and in `loop` the next. */
static HandleObject *
handle_reuse(LoopObject *loop, PyTypeObject *type)
{
    loop_free_handles *list = handle_list(loop, type);
    HandleObject *self = list->first;
    if (self != NULL) {
        list->first = (HandleObject *)(void *)self->loop;
        list->count--;
        /* After a burst they are spread over more than the caches hold. */
        __builtin_prefetch(list->first, 1);
    }
    return self;
}

static void
handle_set(PyObject **slot, PyObject *constant)
{
    if (*slot != constant) {
        Py_XSETREF(*slot, Py_NewRef(constant));
    }
}

/* As handle_blank() made it; a finalizer may run, and finds no handle. */
static inline void
handle_wipe(LoopObject *loop, HandleObject *self)
{
    handle_tail *tail = pyrsl_handle_tail(self);
    handle_drop_args(self, tail);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->context);
    handle_set(&self->cancelled, Py_False);
    handle_set(&self->repr, Py_None);
    handle_set(&self->source_traceback, Py_None);
    if (Py_IS_TYPE(self, loop->st->TimerHandleType)) {
        TimerHandleObject *timer = (TimerHandleObject *)self;
        Py_CLEAR(timer->scheduled);
        Py_CLEAR(timer->when);
    }
    tail->shares = tail->tracked = false;
}

static void
handle_list_push(loop_free_handles *list, HandleObject *self)
{
    self->loop = (PyObject *)(void *)list->first;
    list->first = self;
    list->count++;
}

bool
pyrsl_handle_keep(LoopObject *loop, HandleObject *self)
{
    if (loop == NULL) {
        return false;
    }
    handle_wipe(loop, self);
    PyTypeObject *type = Py_TYPE(self);
    (void)PyObject_Init((PyObject *)self, type);
    Py_DECREF(type); /* the dead one's; the kept one has its own */
    handle_list_push(handle_list(loop, type), self);
    return true;
}

void
pyrsl_handle_recycle(LoopObject *loop, HandleObject *self)
{
    handle_wipe(loop, self);
    Py_DECREF(self->loop);
    handle_list_push(handle_list(loop, Py_TYPE(self)), self);
}
#endif

static void
handle_list_free(loop_free_handles *list, size_t number)
{
    while (number-- > 0 && list->first != NULL) {
        HandleObject *self = list->first;
        list->first = (HandleObject *)(void *)self->loop;
        list->count--;
        self->loop = NULL;
        Py_DECREF(self);
    }
}

void
pyrsl_handle_lists_clear(LoopObject *loop)
{
    handle_list_free(&loop->free_handles, SIZE_MAX);
    handle_list_free(&loop->free_threadsafe, SIZE_MAX);
    handle_list_free(&loop->free_timers, SIZE_MAX);
}

/* So many take about 100 us: nothing that is worth being late for. */
enum { HANDLES_FREED_AT_ONCE = 2048 };

static void
handle_list_trim(loop_free_handles *list)
{
    if (list->count > LOOP_FREE_HANDLES_KEPT) {
        size_t excess = list->count - LOOP_FREE_HANDLES_KEPT;
        handle_list_free(list, excess < HANDLES_FREED_AT_ONCE
                                   ? excess
                                   : HANDLES_FREED_AT_ONCE);
    }
}

void
pyrsl_handle_lists_trim(LoopObject *loop)
{
    handle_list_trim(&loop->free_handles);
    handle_list_trim(&loop->free_threadsafe);
    handle_list_trim(&loop->free_timers);
}

/* --- Arguments --- */

void
pyrsl_handle_clear_args(HandleObject *self)
{
    handle_drop_args(self, pyrsl_handle_tail(self));
}

static PyObject *
handle_tuple_of(PyObject *const *items, Py_ssize_t count)
{
    PyObject *tuple = PyTuple_New(count);
    if (tuple == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(items[i]));
    }
    return tuple;
}

static int
handle_set_args(HandleObject *self, module_state *st,
                const pyrsl_callback *callback)
{
    if (callback->nargs == 0) {
        self->args = Py_NewRef(st->empty_tuple);
        return 0;
    }
#ifndef Py_GIL_DISABLED
    if (callback->nargs <= HANDLE_ARGS_MAX) {
        handle_tail *tail = pyrsl_handle_tail(self);
        for (Py_ssize_t i = 0; i < callback->nargs; i++) {
            tail->args[i] = Py_NewRef(callback->args[i]);
        }
        tail->count = (uint8_t)callback->nargs;
        return 0;
    }
#endif
    self->args = handle_tuple_of(callback->args, callback->nargs);
    return self->args == NULL ? -1 : 0;
}

/* Move the arguments from the tail to a tuple; -1 with MemoryError. */
static int
handle_make_tuple(HandleObject *self, handle_tail *tail)
{
    Py_ssize_t count = tail->count;
    PyObject *tuple = PyTuple_New(count);
    if (tuple == NULL) {
        return -1;
    }
    if (tail->count != count) { /* a finalizer cancelled the handle */
        Py_DECREF(tuple);
        return 0;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(tuple, i, tail->args[i]);
    }
    tail->count = 0;
    self->args = tuple;
    return 0;
}

static PyObject *
handle_get_args(PyObject *object, void *Py_UNUSED(closure))
{
    HandleObject *self = (HandleObject *)object;
    handle_tail *tail = pyrsl_handle_tail(self);
    if (tail->count > 0 && handle_make_tuple(self, tail) < 0) {
        return NULL;
    }
    PyObject *args;
    Py_BEGIN_CRITICAL_SECTION(self);
    args = Py_XNewRef(self->args);
    Py_END_CRITICAL_SECTION();
    if (args == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_args");
    }
    return args;
}

static int
handle_assign_args(PyObject *object, PyObject *value, void *Py_UNUSED(closure))
{
    HandleObject *self = (HandleObject *)object;
    Py_BEGIN_CRITICAL_SECTION(self);
    pyrsl_handle_clear_args(self);
    Py_XSETREF(self->args, Py_XNewRef(value));
    Py_END_CRITICAL_SECTION();
    return 0;
}

static PyObject *
handle_get_context(PyObject *object, void *Py_UNUSED(closure))
{
    HandleObject *self = (HandleObject *)object;
    if (pyrsl_handle_own_context(self) < 0) {
        return NULL;
    }
    if (self->context == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_context");
        return NULL;
    }
    return Py_NewRef(self->context);
}

/* In front of asyncio's slots, which would show what is shared, and miss what
 * is in the tail. */
PyGetSetDef pyrsl_handle_getset[] = {
    {"_args", handle_get_args, handle_assign_args, NULL, NULL},
    {"_context", handle_get_context, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#if PY_VERSION_HEX >= 0x030C0000
const char pyrsl_handle_get_context_doc[] =
    PyDoc_STR("get_context($self, /)\n--\n\n"
              "The context that the callback runs in.");

PyObject *
pyrsl_handle_get_context(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return handle_get_context(self, NULL);
}
#endif

/* --- Making one --- */

static HandleObject *
handle_blank(LoopObject *loop, PyTypeObject *type)
{
    HandleObject *self = handle_reuse(loop, type);
    if (self != NULL) {
        return self;
    }
    self = PyObject_GC_New(HandleObject, type);
    if (self == NULL) {
        return NULL;
    }
    /* All but the head. */
    memset((char *)self + sizeof(PyObject), 0,
           (size_t)type->tp_basicsize - sizeof(PyObject));
    self->cancelled = Py_NewRef(Py_False);
    self->repr = Py_NewRef(Py_None);
    self->source_traceback = Py_NewRef(Py_None);
    if (type == loop->st->ThreadSafeHandleType) {
        pyrsl_threadsafe_handle_init((ThreadSafeHandleObject *)self);
    }
    return self;
}

/* Debug mode; -1 with an exception. */
static int
handle_note_source(LoopObject *loop, HandleObject *self)
{
    PyObject *stack = PyObject_CallNoArgs(loop->st->extract_stack);
    if (stack == NULL) {
        return -1;
    }
    Py_XSETREF(self->source_traceback, stack);
    return 0;
}

/* Not yet tracked by the garbage collector. */
static PyObject *
handle_make(LoopObject *loop, PyTypeObject *type,
            const pyrsl_callback *callback)
{
    bool shared = false;
    PyObject *context =
        callback->context == NULL
            ? pyrsl_contexts_of_now(&loop->contexts, loop->st, &shared)
            : Py_NewRef(callback->context);
    if (context == NULL) {
        return NULL;
    }
    HandleObject *self = handle_blank(loop, type);
    if (self == NULL) {
        Py_DECREF(context);
        return NULL;
    }
    self->callback = Py_NewRef(callback->function);
    self->context = context;
    pyrsl_handle_tail(self)->shares = shared;
    self->loop = Py_NewRef(loop);
    if (type == loop->st->TimerHandleType) {
        TimerHandleObject *timer = (TimerHandleObject *)self;
        timer->scheduled = Py_NewRef(Py_False);
    }
    if (handle_set_args(self, loop->st, callback) < 0
        || (loop->debug && handle_note_source(loop, self) < 0)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

void
pyrsl_handle_track(PyObject *handle)
{
    PyObject_GC_Track(handle);
    pyrsl_handle_tail((HandleObject *)handle)->tracked = true;
}

PyObject *
pyrsl_handle_new(LoopObject *loop, PyTypeObject *type,
                 const pyrsl_callback *callback)
{
    PyObject *self = handle_make(loop, type, callback);
    if (self != NULL) {
        pyrsl_handle_track(self);
    }
    return self;
}

PyObject *
pyrsl_handle_new_pending(LoopObject *loop, PyTypeObject *type,
                         const pyrsl_callback *callback)
{
#ifdef Py_GIL_DISABLED
    /* See handle_gc.c. */
    return pyrsl_handle_new(loop, type, callback);
#else
    return handle_make(loop, type, callback);
#endif
}
