/* SPDX-License-Identifier: Apache-2.0 */
/* thread.h - the runtime thread: parked, or ticking on behalf of a busy loop.
 *
 * Role:    life of the native thread; what a tick does is tick.h's.
 * Thread:  the loop thread calls all of this.
 * Memory:  rsl_thread_new() .. rsl_thread_free(). */
#ifndef RSL_CORE_THREAD_H
#define RSL_CORE_THREAD_H

#include "core/runtime_impl.h"

/* Start the thread, parked, with every signal blocked. RSL_OS when the system
 * gives no thread. */
rsl_status rsl_thread_new(rsl_runtime *rt, rsl_thread **out, rsl_err *err);

/* Join. In a forked child, where the thread does not exist, only free. */
void rsl_thread_free(rsl_thread *thread, bool forked);

/* Whether it could run at the same time as the caller: not where both are bound
 * to one CPU. A system call, because that changes. */
bool rsl_thread_has_cpu(void);

/* Begin to tick. Ignored while it ticks, or while rt->stopping. */
void rsl_thread_kick(rsl_thread *thread);

/* Look at rt->rwatches again, and do nothing else. */
void rsl_thread_look(rsl_thread *thread);

/* Set rt->stopping and wait until the thread is parked. It stays so until
 * rsl_thread_allow(). */
void rsl_thread_park(rsl_thread *thread);
void rsl_thread_allow(rsl_thread *thread);

/* When rsl_runtime_note_busy() may kick next. */
int64_t rsl_thread_kick_after_ns(const rsl_thread *thread);

#endif
