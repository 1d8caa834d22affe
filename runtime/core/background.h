/* SPDX-License-Identifier: Apache-2.0 */
/* background.h - threads that give way to those of loops.
 *
 * Role:    how the kernel is told, and how many of them can run at once.
 * Thread:  the calling one.
 * Memory:  none. */
#ifndef RSL_CORE_BACKGROUND_H
#define RSL_CORE_BACKGROUND_H

/* From now on a loop's thread that wakes on this one's core has it at once, and
 * one that is never idle leaves it a quarter. A realtime thread, and one whose
 * kernel refuses, stays as it is. */
void rsl_background_enter(void);

/* On how many cores the calling thread may run. */
unsigned rsl_background_cores(void);

#endif
