/* SPDX-License-Identifier: Apache-2.0 */
/* pipe_queue.c - output that a pipe had no room for. */
#include "pipe_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* Pieces that one system call takes at most. */
#define PIPE_BATCH_MAX 64

void
pyrsl_pipe_queue_clear(pipe_queue *queue)
{
    pipe_queue old = *queue;
    *queue = (pipe_queue){0};
    for (size_t i = old.head; i < old.count; i++) {
        Py_DECREF(old.pieces[i].loan);
    }
    free(old.pieces);
}

/* Takes the piece's loan on success. */
static int
queue_push(pipe_queue *queue, pipe_piece piece)
{
    if (queue->count == queue->cap && queue->head > queue->cap / 2) {
        queue->count -= queue->head;
        memmove(queue->pieces, queue->pieces + queue->head,
                queue->count * sizeof(*queue->pieces));
        queue->head = 0;
    }
    if (queue->count == queue->cap) {
        size_t cap = queue->cap == 0 ? 4 : queue->cap * 2;
        pipe_piece *pieces = realloc(queue->pieces, cap * sizeof(*pieces));
        if (pieces == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        queue->pieces = pieces;
        queue->cap = cap;
    }
    queue->pieces[queue->count] = piece;
    queue->count++;
    queue->bytes += piece.size;
    return 0;
}

static void
queue_consume(pipe_queue *queue, size_t size)
{
    queue->bytes -= size;
    while (size > 0) {
        pipe_piece *piece = &queue->pieces[queue->head];
        size_t part = size < piece->size ? size : piece->size;
        piece->data += part;
        piece->size -= part;
        size -= part;
        if (piece->size == 0) {
            queue->head++;
            Py_DECREF(piece->loan);
        }
    }
    if (queue->bytes == 0) {
        pyrsl_pipe_queue_clear(queue);
    }
}

/* The bytes object behind `data`, when nobody can change it; borrowed. */
static PyObject *
queue_loan(PyObject *data)
{
    if (PyMemoryView_Check(data)) {
        data = PyMemoryView_GET_BASE(data);
    }
    return data != NULL && PyBytes_CheckExact(data) ? data : NULL;
}

int
pyrsl_pipe_queue_keep(pipe_queue *queue, PyObject *data, const char *rest,
                      size_t size)
{
    pipe_piece piece = {Py_XNewRef(queue_loan(data)), rest, size};
    if (piece.loan == NULL) {
        piece.loan = PyBytes_FromStringAndSize(rest, (Py_ssize_t)size);
        if (piece.loan == NULL) {
            return -1;
        }
        piece.data = PyBytes_AS_STRING(piece.loan);
    }
    if (queue_push(queue, piece) < 0) {
        Py_DECREF(piece.loan);
        return -1;
    }
    return 0;
}

int
pyrsl_pipe_queue_write(pipe_queue *queue, int fd)
{
    struct iovec parts[PIPE_BATCH_MAX];
    size_t offered = 0;
    int count = 0;
    for (size_t i = queue->head; i < queue->count && count < PIPE_BATCH_MAX;
         i++) {
        parts[count].iov_base = (void *)(uintptr_t)queue->pieces[i].data;
        parts[count].iov_len = queue->pieces[i].size;
        offered += queue->pieces[i].size;
        count++;
    }
    ssize_t size = writev(fd, parts, count);
    if (size < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            return 0;
        }
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    queue_consume(queue, (size_t)size);
    return (size_t)size == offered;
}
