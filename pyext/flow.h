/* SPDX-License-Identifier: Apache-2.0 */
/* flow.h - write flow control: when a protocol is told to pause and resume.
 *
 * Role:    asyncio's _FlowControlMixin as a value that a transport embeds.
 * Thread:  loop thread.
 * Memory:  embedded. */
#ifndef PYRSL_FLOW_H
#define PYRSL_FLOW_H

#include <stdbool.h>
#include <stddef.h>

#include "args.h"
#include "loop.h"

/* asyncio.constants' marks, high; low is a quarter of it. */
#define PYRSL_FLOW_HIGH           ((size_t)64 << 10)
#define PYRSL_FLOW_HIGH_TLS_WRITE ((size_t)512 << 10)
#define PYRSL_FLOW_HIGH_TLS_READ  ((size_t)256 << 10)

typedef struct pyrsl_flow {
    size_t high;
    size_t low;
    bool paused; /* pause_writing() was called and resume_writing() was not */
} pyrsl_flow;

/* PYRSL_FLOW_HIGH, and not paused. */
void pyrsl_flow_init(pyrsl_flow *flow);

/* The marks that asyncio has by default: `high`, and low a quarter of it. */
void pyrsl_flow_set_high(pyrsl_flow *flow, size_t high);

/* What set_read_buffer_limits() takes: high and low. */
extern const pyrsl_params pyrsl_flow_read_params;

/* Set the limits; NULL or None means what asyncio makes of the other one, or of
 * `default_high`. -1 with ValueError, or TypeError for what cannot be
 * compared. */
int pyrsl_flow_set_limits(pyrsl_flow *flow, PyObject *high, PyObject *low,
                          size_t default_high);

/* The front of set_write_buffer_limits() of `transport`: set the limits, and
 * let the loop's thread go on where another one calls. 1: go on with telling
 * the protocol; 0: done; -1: an exception. */
int pyrsl_flow_method(pyrsl_flow *flow, PyObject *transport, LoopObject *loop,
                      size_t default_high, const pyrsl_fastcall *call);

/* (low, high), a new reference. */
PyObject *pyrsl_flow_limits(const pyrsl_flow *flow);

/* The buffer has grown to `size`: call protocol.pause_writing() if it must
 * hear of that. Its exceptions are reported; -1 only for those that leave the
 * loop. The transport may be closed on return. */
int pyrsl_flow_grown(pyrsl_flow *flow, LoopObject *loop, PyObject *transport,
                     PyObject *protocol, size_t size);

/* The same for a buffer that has shrunk, and resume_writing(). */
int pyrsl_flow_shrunk(pyrsl_flow *flow, LoopObject *loop, PyObject *transport,
                      PyObject *protocol, size_t size);

#endif
