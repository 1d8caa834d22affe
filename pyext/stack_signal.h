/* SPDX-License-Identifier: Apache-2.0 */
/* stack_signal.h - the Python stack of a thread, asked for without the GIL.
 *
 * Role:    a real-time signal for which faulthandler writes the stack of the
 *          thread that gets it; one for the process, however many ask.
 * Thread:  per function.
 * Memory:  between the first acquire and the last release, one memfd. */
#ifndef PYRSL_STACK_SIGNAL_H
#define PYRSL_STACK_SIGNAL_H

#include <sys/types.h>

#include "pycompat.h"

/* Have the signal handled; GIL held. -1 with an exception. */
int pyrsl_stack_signal_acquire(void);

/* GIL held; an exception that is set survives. */
void pyrsl_stack_signal_release(void);

/* No GIL needed. Write the stack of thread `tid` of this process to `text`,
 * at most `size` bytes; how many, or -1 when the thread did not answer. */
ssize_t pyrsl_stack_signal_ask(pid_t tid, char *text, size_t size);

#endif
